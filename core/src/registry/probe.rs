//! Probes: determine, at compile time and at the place where the derive is expanded, which traits a
//! type implements.
//!
//! If the bounds of an inherent method hold, it takes precedence over a trait method of the same
//! name. So each probe is a pair: an inherent method with bounds, and a trait method without bounds
//! that returns `None`. This works only for concrete types, which the expansion has.

use std::{error::Error as StdError, marker::PhantomData};

use super::{
    Description, OperationKind, Verb, VerbEntry,
    description::{ColumnCodec, TypeRole},
    execution::{
        AsyncFilter, AsyncFlatMap, AsyncMap, AsyncTryMap, Body, Filter, FlatMap, FoldMonoid, Map,
        ReduceOperation, TryMap,
    },
};
use crate::{
    codec,
    operation::{AsyncOperation, Data, Monoid, Operation, OperationError},
};

/// The probes of the type `T`.
#[derive(Debug)]
pub struct TypeProbe<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> TypeProbe<T> {
    /// A probe of `T`.
    #[expect(clippy::new_without_default, reason = "nothing is defaulted")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> TypeProbe<T> {
    /// A probe of the type of a value.
    pub fn of(_: &T) -> Self {
        Self::new()
    }
}

impl<E: StdError + Data> TypeProbe<E> {
    /// Converts an error that serializes: it keeps its type.
    pub fn operation_error(&self, error: E) -> OperationError {
        OperationError::typed(error)
    }
}

/// The fallback for errors that do not serialize.
pub trait OtherError<E> {
    /// Converts the error to its messages.
    fn operation_error(&self, error: E) -> OperationError
    where
        E: ErrorOfOperation;
}

impl<E> OtherError<E> for TypeProbe<E> {
    fn operation_error(&self, error: E) -> OperationError
    where
        E: ErrorOfOperation,
    {
        error.into()
    }
}

/// An error that an operation can return.
#[diagnostic::on_unimplemented(
    message = "an operation cannot fail with `{Self}`",
    label = "not an error type that can be sent to the leader",
    note = "implement `std::error::Error` for it (with `Send` and `Sync`), or return \
            `OperationError`"
)]
pub trait ErrorOfOperation: Into<OperationError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<OperationError>> ErrorOfOperation for E {}

/// The fallbacks for types whose bounds do not hold.
pub trait Otherwise: Sized {
    /// 1 if it is an [`Operation`].
    const OPERATION: u8 = 0;
    /// 1 if it is an [`AsyncOperation`].
    const ASYNC_OPERATION: u8 = 0;
    /// 1 if it is a [`Monoid`].
    const MONOID: u8 = 0;

    /// The description of the type as an [`Operation`].
    fn operation(&self) -> Option<Description> {
        None
    }
    /// The description of the type as an [`AsyncOperation`].
    fn async_operation(&self) -> Option<Description> {
        None
    }
    /// The description of the type as a [`Monoid`].
    fn monoid(&self) -> Option<Description> {
        None
    }
    /// The entry for `filter` with a blocking operation.
    fn filter(&self) -> Option<VerbEntry> {
        None
    }
    /// The entry for `filter` with an asynchronous operation.
    fn async_filter(&self) -> Option<VerbEntry> {
        None
    }
    /// The entry for `flat_map` with a blocking operation.
    fn flat_map(&self) -> Option<VerbEntry> {
        None
    }
    /// The entry for `flat_map` with an asynchronous operation.
    fn async_flat_map(&self) -> Option<VerbEntry> {
        None
    }
    /// The entry for `reduce` with a blocking operation.
    fn reduce(&self) -> Option<VerbEntry> {
        None
    }
}

impl<T: ?Sized> Otherwise for TypeProbe<T> {}

impl<O: Operation> TypeProbe<O> {
    /// 1 if it is an [`Operation`].
    pub const OPERATION: u8 = 1;

    /// The description of the type as an [`Operation`].
    pub fn operation(&self) -> Option<Description> {
        let input = ColumnCodec::of::<O::Input>();
        let map = VerbEntry {
            input,
            output: ColumnCodec::of::<O::Output>(),
            bind: |state| Ok(Body::Blocking(Box::new(Map(codec::decode::<O>(state)?)))),
        };
        let try_map = VerbEntry {
            input,
            output: ColumnCodec::of_results::<O::Output>(),
            bind: |state| Ok(Body::Blocking(Box::new(TryMap(codec::decode::<O>(state)?)))),
        };
        Some(Description {
            kind: OperationKind::Blocking,
            state: TypeRole::state::<O>(),
            input: TypeRole::data::<O::Input>(),
            output: TypeRole::data::<O::Output>(),
            verbs: vec![(Verb::Map, map), (Verb::TryMap, try_map)],
        })
    }
}

impl<O: AsyncOperation> TypeProbe<O> {
    /// 1 if it is an [`AsyncOperation`].
    pub const ASYNC_OPERATION: u8 = 1;

    /// The description of the type as an [`AsyncOperation`].
    pub fn async_operation(&self) -> Option<Description> {
        let input = ColumnCodec::of::<O::Input>();
        let map = VerbEntry {
            input,
            output: ColumnCodec::of::<O::Output>(),
            bind: |state| Ok(Body::Asynchronous(Box::new(AsyncMap(codec::decode::<O>(state)?)))),
        };
        let try_map = VerbEntry {
            input,
            output: ColumnCodec::of_results::<O::Output>(),
            bind: |state| Ok(Body::Asynchronous(Box::new(AsyncTryMap(codec::decode::<O>(state)?)))),
        };
        Some(Description {
            kind: OperationKind::Asynchronous,
            state: TypeRole::state::<O>(),
            input: TypeRole::data::<O::Input>(),
            output: TypeRole::data::<O::Output>(),
            verbs: vec![(Verb::Map, map), (Verb::TryMap, try_map)],
        })
    }
}

impl<M: Monoid> TypeProbe<M> {
    /// 1 if it is a [`Monoid`].
    pub const MONOID: u8 = 1;

    /// The description of the type as a [`Monoid`].
    pub fn monoid(&self) -> Option<Description> {
        let fold = VerbEntry {
            input: ColumnCodec::of::<M::Elem>(),
            output: ColumnCodec::of::<M::Elem>(),
            bind: |state| Ok(Body::Fold(Box::new(FoldMonoid(codec::decode::<M>(state)?)))),
        };
        Some(Description {
            kind: OperationKind::Monoid,
            state: TypeRole::state::<M>(),
            input: TypeRole::data::<M::Elem>(),
            output: TypeRole::data::<M::Elem>(),
            verbs: vec![(Verb::Fold, fold)],
        })
    }
}

impl<O: Operation<Output = bool>> TypeProbe<O>
where
    O::Input: Clone,
{
    /// The entry for `filter` with a blocking operation.
    pub fn filter(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<O::Input>(),
            output: ColumnCodec::of::<O::Input>(),
            bind: |state| Ok(Body::Blocking(Box::new(Filter(codec::decode::<O>(state)?)))),
        })
    }
}

impl<O: AsyncOperation<Output = bool>> TypeProbe<O>
where
    O::Input: Clone,
{
    /// The entry for `filter` with an asynchronous operation.
    pub fn async_filter(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<O::Input>(),
            output: ColumnCodec::of::<O::Input>(),
            bind: |state| Ok(Body::Asynchronous(Box::new(AsyncFilter(codec::decode::<O>(state)?)))),
        })
    }
}

impl<O: Operation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    /// The entry for `flat_map` with a blocking operation.
    pub fn flat_map(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<O::Input>(),
            output: ColumnCodec::of::<<O::Output as IntoIterator>::Item>(),
            bind: |state| Ok(Body::Blocking(Box::new(FlatMap(codec::decode::<O>(state)?)))),
        })
    }
}

impl<O: AsyncOperation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    /// The entry for `flat_map` with an asynchronous operation.
    pub fn async_flat_map(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<O::Input>(),
            output: ColumnCodec::of::<<O::Output as IntoIterator>::Item>(),
            bind: |state| {
                Ok(Body::Asynchronous(Box::new(AsyncFlatMap(codec::decode::<O>(state)?))))
            },
        })
    }
}

impl<T: Data, O: Operation<Input = (T, T), Output = T>> TypeProbe<O> {
    /// The entry for `reduce` with a blocking operation.
    pub fn reduce(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<T>(),
            output: ColumnCodec::of::<T>(),
            bind: |state| Ok(Body::Fold(Box::new(ReduceOperation(codec::decode::<O>(state)?)))),
        })
    }
}
