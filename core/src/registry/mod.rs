//! Operations by name: entries placed by the derive, erased execution, fingerprints.

#[expect(clippy::module_inception, reason = "the registry of the registry room")]
mod registry;
mod step;

pub use registry::{Registered, Registry, RegistryError};
pub use step::{
    Column, CompiledStep, Failure, Fold, Outputs, Refusal, StepFuture, StepReference, Verb,
};
