//! Operations by name: entries placed by the derive, erased execution, fingerprints.

mod column;
#[expect(clippy::module_inception, reason = "the registry of the registry room")]
mod registry;
mod step;

pub use column::Column;
pub use registry::{Registered, Registry, RegistryError};
pub use step::{CompiledStep, Failure, Fold, Refusal, StepFuture, StepReference, Verb};
