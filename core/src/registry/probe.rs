//! Probes: determine, at compile time and at the place where the derive is expanded, which traits a
//! type implements.
//!
//! If the bounds of an inherent item hold, it takes precedence over a trait's item of the same
//! name. So each probe is a pair: an inherent constant with bounds, and a trait's constant without
//! bounds that is `None`. Constants rather than methods: an entry of the registry then is data, and
//! costs the compiler no code. This works only for concrete types, which the expansion has.

use std::{error::Error as StdError, marker::PhantomData};

use super::{
    Description, OperationKind,
    description::{TypeRole, VerbEntry, bind},
    execution::{self, GroupRunner, Runner},
    order::TypeOrder,
    type_codec::{InputCodec, OutputCodec},
};
use crate::operation::{AsyncOperation, Data, Monoid, Operation, OperationError};

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
    const BLOCKING: Option<Description> = None;
    /// The description of the type as an [`AsyncOperation`].
    const ASYNCHRONOUS: Option<Description> = None;
    /// The description of the type as a [`Monoid`].
    const FOLDING: Option<Description> = None;
    /// The entry for `filter` with a blocking operation.
    const FILTER: Option<VerbEntry> = None;
    /// The entry for `filter` with an asynchronous operation.
    const ASYNC_FILTER: Option<VerbEntry> = None;
    /// The entry for `flat_map` with a blocking operation.
    const FLAT_MAP: Option<VerbEntry> = None;
    /// The entry for `flat_map` with an asynchronous operation.
    const ASYNC_FLAT_MAP: Option<VerbEntry> = None;
    /// The entry for `reduce` with a blocking operation.
    const REDUCE: Option<VerbEntry> = None;
    /// The order of the outputs of a blocking operation.
    const OUTPUT_ORDER: Option<TypeOrder> = None;
    /// The order of the outputs of an asynchronous operation.
    const ASYNC_OUTPUT_ORDER: Option<TypeOrder> = None;
    /// The order of the inputs that `filter` keeps with a blocking operation.
    const INPUT_ORDER: Option<TypeOrder> = None;
    /// The order of the inputs that `filter` keeps with an asynchronous operation.
    const ASYNC_INPUT_ORDER: Option<TypeOrder> = None;
    /// The order of the items of the outputs of a blocking operation.
    const ITEM_ORDER: Option<TypeOrder> = None;
    /// The order of the items of the outputs of an asynchronous operation.
    const ASYNC_ITEM_ORDER: Option<TypeOrder> = None;
}

impl<T: ?Sized> Otherwise for TypeProbe<T> {}

impl<O: Operation> TypeProbe<O> {
    /// 1 if it is an [`Operation`].
    pub const OPERATION: u8 = 1;

    /// The description of the type as an [`Operation`].
    pub const BLOCKING: Option<Description> = Some(Description {
        kind: OperationKind::Blocking,
        state: TypeRole::state::<O>(),
        input: TypeRole::data::<O::Input>(),
        output: TypeRole::data::<O::Output>(),
        bind: bind::<O>,
        main: VerbEntry {
            input: InputCodec::of::<O::Input>(),
            output: OutputCodec::of::<O::Output>(),
            runner: Runner::Blocking { run: execution::map::<O>, encode: None },
            order: None,
        },
        filter: None,
        flat_map: None,
        reduce: None,
    });
}

impl<O: AsyncOperation> TypeProbe<O> {
    /// 1 if it is an [`AsyncOperation`].
    pub const ASYNC_OPERATION: u8 = 1;

    /// The description of the type as an [`AsyncOperation`].
    pub const ASYNCHRONOUS: Option<Description> = Some(Description {
        kind: OperationKind::Asynchronous,
        state: TypeRole::state::<O>(),
        input: TypeRole::data::<O::Input>(),
        output: TypeRole::data::<O::Output>(),
        bind: bind::<O>,
        main: VerbEntry {
            input: InputCodec::of::<O::Input>(),
            output: OutputCodec::of::<O::Output>(),
            runner: Runner::Asynchronous {
                start: execution::start::<O>,
                finish: execution::finish::<O::Output>,
            },
            order: None,
        },
        filter: None,
        flat_map: None,
        reduce: None,
    });
}

impl<M: Monoid> TypeProbe<M> {
    /// 1 if it is a [`Monoid`].
    pub const MONOID: u8 = 1;

    /// The description of the type as a [`Monoid`].
    pub const FOLDING: Option<Description> = Some(Description {
        kind: OperationKind::Monoid,
        state: TypeRole::state::<M>(),
        input: TypeRole::data::<M::Elem>(),
        output: TypeRole::data::<M::Elem>(),
        bind: bind::<M>,
        main: VerbEntry {
            input: InputCodec::of::<M::Elem>(),
            output: OutputCodec::of::<M::Elem>(),
            runner: Runner::Fold {
                combine: execution::fold::<M>,
                rest: execution::rest::<M::Elem>,
                groups: GroupRunner::fold::<M>(),
            },
            order: None,
        },
        filter: None,
        flat_map: None,
        reduce: None,
    });
}

impl<O: Operation<Output = bool>> TypeProbe<O>
where
    O::Input: Clone,
{
    /// The entry for `filter` with a blocking operation.
    pub const FILTER: Option<VerbEntry> = Some(VerbEntry {
        input: InputCodec::of::<O::Input>(),
        output: OutputCodec::of::<O::Input>(),
        runner: Runner::Blocking { run: execution::filter::<O>, encode: None },
        order: None,
    });
}

impl<O: AsyncOperation<Output = bool>> TypeProbe<O>
where
    O::Input: Clone,
{
    /// The entry for `filter` with an asynchronous operation.
    pub const ASYNC_FILTER: Option<VerbEntry> = Some(VerbEntry {
        input: InputCodec::of::<O::Input>(),
        output: OutputCodec::of::<O::Input>(),
        runner: Runner::Asynchronous {
            start: execution::start_filter::<O>,
            finish: execution::finish_all::<Option<O::Input>>,
        },
        order: None,
    });
}

impl<O: Operation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    /// The entry for `flat_map` with a blocking operation.
    pub const FLAT_MAP: Option<VerbEntry> = Some(VerbEntry {
        input: InputCodec::of::<O::Input>(),
        output: OutputCodec::of::<<O::Output as IntoIterator>::Item>(),
        runner: Runner::Blocking {
            run: execution::flat_map::<O>,
            encode: Some(execution::flat_map_encoded::<O>),
        },
        order: None,
    });
}

impl<O: AsyncOperation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data>,
{
    /// The entry for `flat_map` with an asynchronous operation.
    pub const ASYNC_FLAT_MAP: Option<VerbEntry> = Some(VerbEntry {
        input: InputCodec::of::<O::Input>(),
        output: OutputCodec::of::<<O::Output as IntoIterator>::Item>(),
        runner: Runner::Asynchronous {
            start: execution::start::<O>,
            finish: execution::finish_all::<O::Output>,
        },
        order: None,
    });
}

impl<T: Data, O: Operation<Input = (T, T), Output = T>> TypeProbe<O> {
    /// The entry for `reduce` with a blocking operation.
    pub const REDUCE: Option<VerbEntry> = Some(VerbEntry {
        input: InputCodec::of::<T>(),
        output: OutputCodec::of::<T>(),
        runner: Runner::Fold {
            combine: execution::reduce::<T, O>,
            rest: execution::rest::<T>,
            groups: GroupRunner::reduce::<T, O>(),
        },
        order: None,
    });
}

impl<O: Operation<Output: Ord>> TypeProbe<O> {
    /// The order of the outputs of a blocking operation.
    pub const OUTPUT_ORDER: Option<TypeOrder> = Some(TypeOrder::of::<O::Output>());
}

impl<O: AsyncOperation<Output: Ord>> TypeProbe<O> {
    /// The order of the outputs of an asynchronous operation.
    pub const ASYNC_OUTPUT_ORDER: Option<TypeOrder> = Some(TypeOrder::of::<O::Output>());
}

impl<O: Operation<Output = bool, Input: Ord>> TypeProbe<O> {
    /// The order of the inputs that `filter` keeps with a blocking operation.
    pub const INPUT_ORDER: Option<TypeOrder> = Some(TypeOrder::of::<O::Input>());
}

impl<O: AsyncOperation<Output = bool, Input: Ord>> TypeProbe<O> {
    /// The order of the inputs that `filter` keeps with an asynchronous operation.
    pub const ASYNC_INPUT_ORDER: Option<TypeOrder> = Some(TypeOrder::of::<O::Input>());
}

impl<O: Operation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data + Ord>,
{
    /// The order of the items of the outputs of a blocking operation.
    pub const ITEM_ORDER: Option<TypeOrder> =
        Some(TypeOrder::of::<<O::Output as IntoIterator>::Item>());
}

impl<O: AsyncOperation> TypeProbe<O>
where
    O::Output: IntoIterator<Item: Data + Ord>,
{
    /// The order of the items of the outputs of an asynchronous operation.
    pub const ASYNC_ITEM_ORDER: Option<TypeOrder> =
        Some(TypeOrder::of::<<O::Output as IntoIterator>::Item>());
}
