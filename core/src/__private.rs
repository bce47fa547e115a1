//! The items that macro expansions name. Not part of the public interface: they change without
//! notice, together with the macros.

pub use linkme;
pub use serde;

/// The attribute alone: `phalanx_core::operation` is also a module.
pub use phalanx_macros::operation;

pub use crate::{
    __place_operation as place_operation,
    operation::{
        AsyncOperation, Items, Operation, Parameter, RemoteExecute, Result, ResultType,
        TaskContext, copied,
    },
    registry::Verb,
    registry::private::{
        Declaration, Description, EntryName, ErrorOfOperation, FingerprintMode, HasDeclaration,
        OperationEntry, OtherError, Otherwise, PHALANX_OPERATIONS, TypeProbe, VerbEntry,
    },
};
