//! Run your own Rust code on a fleet.
//!
//! You write operations, compose them over an [`IndexedStream`] with directives (map, filter,
//! fold, …), and a [`Runtime`] runs the program: on the cores of this machine, or on workers
//! behind RabbitMQ. What travels is the name of an operation, its state and its input, never code.
//!
//! Begin with `use phalanx::prelude::*;`.

pub use phalanx_core::{
    AsyncOperation, Error, Monoid, Operation, RemoteExecute,
    leader::{
        Job, JobEvent, JobEvents, Progress, Results, Runtime, RuntimeBuilder, Stall, ValueFuture,
    },
    operation,
    plan::{FoldProgram, IndexedStream, OnFailure, PlanError, ValueProgram},
    register,
};

/// What can go wrong, by phase. [`Error`] holds the rest of them.
pub mod error {
    pub use phalanx_core::{
        broker::{BrokerError, ConnectError, PublishError},
        error::{Error, ExecuteError},
        operation::{ErrorKind, OperationError},
        plan::PlanError,
        registry::{Refusal, RegistryError},
    };
}

/// The identities that appear in errors, events and logs.
pub mod id {
    pub use phalanx_core::id::{CopyId, JobId, LeaderId, TaskNumber, WorkerId};
}

/// What carries messages, for those who bring a broker of their own to
/// [`RuntimeBuilder::lead`](crate::RuntimeBuilder::lead).
pub mod broker {
    pub use phalanx_core::broker::{Broker, BrokerUrl, Health, Pool, PoolNameError, QueueType};
}

/// The elements that failed for good, kept by the broker:
/// [`Runtime::dead_letters`](crate::Runtime::dead_letters).
pub mod dead_letters {
    pub use phalanx_core::{
        broker::MessageKind,
        dead_letters::{
            DeadLetterContent, DeadLetterEntry, DeadLetterError, DeadLetters, UnreadableDeadLetter,
        },
        id::DeadLetterId,
        registry::{StepReference, Verb},
        wire::DeadLetterHeader,
    };
}

/// The registry: which operations this program knows.
pub mod registry {
    pub use phalanx_core::registry::{Kind, Registered, Registry, RegistryError};
}

/// Serving tasks: the worker of a fleet.
#[cfg(feature = "worker")]
pub use phalanx_worker as worker;

/// The broker in memory, for more than the URL `memory://` says: several leaders in one process,
/// and tests against a broker that misbehaves.
#[cfg(feature = "inmemory")]
pub use phalanx_inmemory as inmemory;

// Its broker is found by the scheme of a URL, once it is linked.
#[cfg(feature = "amqp")]
use phalanx_amqp as _;

/// What most programs need: `use phalanx::prelude::*;`.
pub mod prelude {
    pub use futures::{StreamExt as _, TryStreamExt as _};
    pub use phalanx_core::{
        AsyncOperation, Monoid, Operation, RemoteExecute,
        leader::{Job, JobEvent, Results, Runtime},
        operation,
        operation::{OperationError, Result, ResultExt, TaskContext},
        plan::{IndexedStream, OnFailure},
    };
    pub use serde::{Deserialize, Serialize};
}

#[doc(hidden)]
pub use phalanx_core::__private;

// Some linkers do not take an empty slice, which is what a program without operations has.
#[__private::linkme::distributed_slice(__private::PHALANX_OPERATIONS)]
#[linkme(crate = __private::linkme)]
static PLACEHOLDER: __private::OperationEntry = __private::OperationEntry::PLACEHOLDER;

/// The programs of the README are run as they stand there.
#[cfg(all(doctest, feature = "inmemory"))]
#[doc = include_str!("../README.md")]
struct Readme;
