//! Descriptions of operations: their kind, types and verbs, with the types erased.

use std::any::TypeId;

use super::{
    Verb,
    execution::{Runner, State},
    order::TypeOrder,
    structure::{self, Trace, Visit},
    type_codec::{InputCodec, OutputCodec},
};
use crate::{
    codec::{self, CodecError, Verify},
    operation::{Data, RemoteExecute},
};

/// The kind, the types and the verbs of an operation. Made at compile time, by probing its type.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The trait that it implements.
    pub kind: OperationKind,
    pub(super) state: TypeRole,
    pub(super) input: TypeRole,
    pub(super) output: TypeRole,
    /// Decodes the state.
    pub(super) bind: fn(&[u8]) -> Result<Box<State>, CodecError>,
    /// `map` of operations, `fold` of monoids.
    pub(super) main: VerbEntry,
    pub(super) filter: Option<VerbEntry>,
    pub(super) flat_map: Option<VerbEntry>,
    pub(super) reduce: Option<VerbEntry>,
}

/// The trait that an operation implements.
///
/// ```
/// # use phalanx::prelude::*;
/// use phalanx::registry::{OperationKind, Registry};
///
/// #[operation(name = "wait")]
/// async fn wait(milliseconds: u64) {
///     tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
/// }
///
/// let registry = Registry::global()?;
/// assert_eq!(registry.get("wait").unwrap().kind(), OperationKind::Asynchronous);
/// # Ok::<(), phalanx::registry::RegistryError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// [`Operation`](crate::operation::Operation).
    Blocking,
    /// [`AsyncOperation`](crate::operation::AsyncOperation).
    Asynchronous,
    /// [`Monoid`](crate::operation::Monoid).
    Monoid,
}

impl Description {
    /// The description that the probes of a type found, with the entries of the verbs that its
    /// types allow, and the orders of outputs, of inputs that are kept, and of items. `None` if the
    /// type implements none of the traits.
    pub const fn of(
        kinds: [Option<Self>; 3],
        filter: [Option<VerbEntry>; 2],
        flat_map: [Option<VerbEntry>; 2],
        reduce: Option<VerbEntry>,
        orders: [[Option<TypeOrder>; 2]; 3],
    ) -> Option<Self> {
        let [outputs, inputs, items] = orders;
        match kinds {
            [Some(found), _, _] | [None, Some(found), _] | [None, None, Some(found)] => {
                let main = VerbEntry { order: either(outputs), ..found.main };
                let filter = in_order(either(filter), either(inputs));
                let flat_map = in_order(either(flat_map), either(items));
                Some(Self { main, filter, flat_map, reduce, ..found })
            }
            [None, None, None] => None,
        }
    }

    /// The types of the outputs under all verbs: the values in them are values of the roles.
    pub(super) fn outputs(&self) -> impl Iterator<Item = TypeId> {
        let entries = [Some(self.main), self.filter, self.flat_map, self.reduce];
        entries.into_iter().flatten().map(|entry| entry.output.type_id())
    }

    pub(super) fn verb(&self, verb: Verb) -> Option<VerbEntry> {
        let folds = self.kind == OperationKind::Monoid;
        match verb {
            Verb::Map | Verb::MapValues | Verb::FilterValues | Verb::FilterKeys | Verb::KeyBy
                if !folds =>
            {
                Some(self.main)
            }
            Verb::TryMap if !folds => Some(self.main.with_results()),
            Verb::Fold | Verb::FoldByKey if folds => Some(self.main),
            Verb::Filter => self.filter,
            Verb::FlatMap | Verb::FlatMapValues => self.flat_map,
            Verb::Reduce | Verb::ReduceByKey => self.reduce,
            Verb::Map
            | Verb::TryMap
            | Verb::Fold
            | Verb::FoldByKey
            | Verb::MapValues
            | Verb::FilterValues
            | Verb::FilterKeys
            | Verb::KeyBy
            | Verb::Keys
            | Verb::Values
            | Verb::Swap
            | Verb::Sample => None,
        }
    }
}

/// How an operation runs under one verb.
#[derive(Debug, Clone, Copy)]
pub struct VerbEntry {
    pub(super) input: InputCodec,
    pub(super) output: OutputCodec,
    pub(super) runner: Runner,
    /// That of the outputs, if they have one.
    pub(super) order: Option<TypeOrder>,
}

impl VerbEntry {
    /// The same with outputs that are encoded as `Ok(output)`.
    fn with_results(mut self) -> Self {
        self.output = self.output.as_results();
        self
    }
}

const fn in_order(entry: Option<VerbEntry>, order: Option<TypeOrder>) -> Option<VerbEntry> {
    match entry {
        Some(entry) => Some(VerbEntry { order, ..entry }),
        None => None,
    }
}

const fn either<T: Copy>(probed: [Option<T>; 2]) -> Option<T> {
    match probed {
        [Some(found), _] => Some(found),
        [None, other] => other,
    }
}

/// Decodes the state of an operation.
pub(super) fn bind<O: RemoteExecute>(state: &[u8]) -> Result<Box<State>, CodecError> {
    Ok(Box::new(codec::decode::<O>(state)?))
}

/// The state, input or output type of an operation, whose structure is part of the fingerprint.
#[derive(Debug, Clone, Copy)]
pub(super) struct TypeRole {
    pub(super) type_name: fn() -> &'static str,
    pub(super) type_id: fn() -> TypeId,
    pub(super) verify: Verify,
    visit: Visit,
}

impl TypeRole {
    pub(super) const fn data<T: Data>() -> Self {
        Self {
            type_name: std::any::type_name::<T>,
            type_id: TypeId::of::<T>,
            verify: structure::verify::<T>,
            visit: structure::visit::<T>,
        }
    }

    pub(super) const fn state<O: RemoteExecute>() -> Self {
        Self {
            type_name: std::any::type_name::<O>,
            type_id: TypeId::of::<O>,
            verify: structure::verify::<O>,
            visit: structure::visit::<O>,
        }
    }

    pub(super) fn trace(&self) -> Trace {
        structure::trace(self.visit)
    }
}
