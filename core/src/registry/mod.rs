//! The registry: operations by name, their fingerprints, and their execution with types erased.

mod column;
mod description;
mod entry;
mod error;
mod execution;
mod largest;
mod lookup;
mod order;
mod place;
mod probe;
mod sample;
mod step;
mod structure;
mod type_codec;
mod values;

use description::Description;
use entry::{FingerprintMode, OperationEntry, PHALANX_OPERATIONS};

pub use column::Column;
pub use description::OperationKind;
pub use error::RegistryError;
#[doc(hidden)]
pub use execution::treat_exit_as_crash;
pub(crate) use execution::{caught_async, running_operation};
pub(crate) use largest::Largest;
pub(crate) use lookup::DEFAULT_RETRIES;
pub use lookup::{Registered, Registry};
pub use order::Order;
pub use sample::Sample;
pub use step::{
    Accumulators, CompiledStep, FailedElement, Fold, Refusal, StepFuture, StepReference, Verb,
};

/// Named by expansions of the macros; not part of the public interface.
#[doc(hidden)]
pub mod private {
    pub use super::{
        description::{Description, VerbEntry},
        entry::{
            Declaration, EntryName, FingerprintMode, HasDeclaration, OperationEntry,
            PHALANX_OPERATIONS,
        },
        order::TypeOrder,
        probe::{ErrorOfOperation, OtherError, Otherwise, TypeProbe},
    };
}
