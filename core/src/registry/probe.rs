//! What a type can do, found out at compile time where the derive is expanded.
//!
//! An inherent method whose bounds hold hides the method of the same name of a trait. So each
//! probe is a pair: an inherent method with bounds, and a trait without that answers `None`. It
//! works on concrete types only, which is what an expansion has.

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

/// Asks what `T` can do.
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
    /// A user's own error travels as itself.
    pub fn operation_error(&self, error: E) -> OperationError {
        OperationError::typed(error)
    }
}

/// Answers for the errors that do not travel as themselves.
pub trait OtherError<E> {
    /// The error as a text.
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

/// What an operation may fail with.
#[diagnostic::on_unimplemented(
    message = "an operation cannot fail with `{Self}`",
    label = "not an error that can travel",
    note = "implement `std::error::Error` for it (with `Send` and `Sync`), or return \
            `OperationError`"
)]
pub trait ErrorOfOperation: Into<OperationError> {}

#[diagnostic::do_not_recommend]
impl<E: Into<OperationError>> ErrorOfOperation for E {}

/// Answers where the bounds do not hold.
pub trait Otherwise: Sized {
    /// 1 if it is an [`Operation`].
    const OPERATION: u8 = 0;
    /// 1 if it is an [`AsyncOperation`].
    const ASYNC_OPERATION: u8 = 0;
    /// 1 if it is a [`Monoid`].
    const MONOID: u8 = 0;

    /// What an [`Operation`] can do.
    fn operation(&self) -> Option<Description> {
        None
    }
    /// What an [`AsyncOperation`] can do.
    fn async_operation(&self) -> Option<Description> {
        None
    }
    /// What a [`Monoid`] can do.
    fn monoid(&self) -> Option<Description> {
        None
    }
    /// As a `filter`.
    fn filter(&self) -> Option<VerbEntry> {
        None
    }
    /// As an asynchronous `filter`.
    fn async_filter(&self) -> Option<VerbEntry> {
        None
    }
    /// As a `flat_map`.
    fn flat_map(&self) -> Option<VerbEntry> {
        None
    }
    /// As an asynchronous `flat_map`.
    fn async_flat_map(&self) -> Option<VerbEntry> {
        None
    }
    /// As a `reduce`.
    fn reduce(&self) -> Option<VerbEntry> {
        None
    }
}

impl<T: ?Sized> Otherwise for TypeProbe<T> {}

impl<O: Operation> TypeProbe<O> {
    /// 1 if it is an [`Operation`].
    pub const OPERATION: u8 = 1;

    /// What an [`Operation`] can do.
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

    /// What an [`AsyncOperation`] can do.
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

    /// What a [`Monoid`] can do.
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
    /// As a `filter`.
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
    /// As an asynchronous `filter`.
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
    /// As a `flat_map`.
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
    /// As an asynchronous `flat_map`.
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
    /// As a `reduce`.
    pub fn reduce(&self) -> Option<VerbEntry> {
        Some(VerbEntry {
            input: ColumnCodec::of::<T>(),
            output: ColumnCodec::of::<T>(),
            bind: |state| Ok(Body::Fold(Box::new(ReduceOperation(codec::decode::<O>(state)?)))),
        })
    }
}
