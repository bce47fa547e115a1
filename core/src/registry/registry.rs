//! The operations of this program, by name.

use std::time::Duration;

use super::{CompiledStep, Refusal, StepReference, Verb};
use crate::operation::RemoteExecute;

/// The operations of this program, by name.
#[derive(Debug)]
pub struct Registry {}

/// One registered operation.
#[derive(Debug)]
pub struct Registered {}

/// Why an operation cannot be used in a plan, or the registry not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Stub.
    #[error("stub")]
    Stub,
}

#[expect(clippy::unimplemented, clippy::missing_panics_doc, unused_variables, reason = "stub")]
impl Registry {
    /// The registry of this program; made at the first call.
    pub fn global() -> Result<&'static Self, RegistryError> {
        unimplemented!()
    }
    /// The operation of this name.
    pub fn get(&self, name: &str) -> Option<&Registered> {
        unimplemented!()
    }
    /// All, sorted by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Registered> {
        unimplemented!()
    }
    /// What travels of an operation (found by its `TypeId`), checked to be usable for `verb`.
    pub fn reference<O: RemoteExecute>(
        &self,
        operation: &O,
        verb: Verb,
    ) -> Result<(StepReference, &Registered), RegistryError> {
        unimplemented!()
    }
    /// Binds a step to its state.
    pub fn compile(&self, step: &StepReference) -> Result<Box<dyn CompiledStep>, Refusal> {
        unimplemented!()
    }
}

#[expect(clippy::unimplemented, clippy::missing_panics_doc, reason = "stub")]
impl Registered {
    /// Its name.
    pub fn name(&self) -> &'static str {
        unimplemented!()
    }
    /// Hash of version and structure.
    pub fn fingerprint(&self) -> u64 {
        unimplemented!()
    }
    /// The pool that it asks for.
    pub fn pool(&self) -> Option<&'static str> {
        unimplemented!()
    }
    /// The timeout of one element.
    pub fn timeout(&self) -> Option<Duration> {
        unimplemented!()
    }
    /// Retries of one element after transient errors and timeouts (default 3).
    pub fn retries(&self) -> u32 {
        unimplemented!()
    }
    /// Whether it is asynchronous.
    pub fn is_async(&self) -> bool {
        unimplemented!()
    }
}
