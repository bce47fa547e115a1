//! Run your own Rust code on a fleet of workers, through RabbitMQ or in memory.
//!
//! You write *operations* (plain functions), compose them over an [`IndexedStream`] with
//! directives such as [`map`](IndexedStream::map), [`filter`](IndexedStream::filter) and
//! [`reduce`](IndexedStream::reduce), and a [`Runtime`] runs the program: on the cores of this
//! machine, or on workers that are connected to a RabbitMQ broker. Messages carry the name of an
//! operation, its state and its input, never code.
//!
//! ```
//! use phalanx::prelude::*;
//!
//! #[operation]
//! fn square(n: u64) -> u64 {
//!     n * n
//! }
//!
//! #[operation]
//! fn add(a: u64, b: u64) -> u64 {
//!     a + b
//! }
//!
//! # #[cfg(feature = "inmemory")]
//! #[tokio::main]
//! async fn main() -> Result<(), phalanx::Error> {
//!     // Connects to the broker in `PHALANX_URL`; by default, to workers in this process.
//!     let runtime = Runtime::from_env().await?;
//!     let squares = IndexedStream::from(1..=1000u64).map(Square);
//!     let sum = squares.reduce(Add).run(&runtime).await?;
//!     assert_eq!(sum, Some(333_833_500));
//!     Ok(())
//! }
//! # #[cfg(not(feature = "inmemory"))]
//! # fn main() {}
//! ```
//!
//! # Where to find what
//!
//! | you want to | look at |
//! | --- | --- |
//! | write an operation | [`#[operation]`](macro@operation), [`Operation`], [`AsyncOperation`], [`Monoid`], [`TaskContext`](operation::TaskContext) |
//! | compose a program | [`IndexedStream`]: its sources, directives, settings and ends |
//! | run it | [`Runtime`] and [`RuntimeBuilder`]; [`Results`] for a stream, [`ValueFuture`] for one value; [`Runtime::call`] for one element |
//! | watch or cancel a job | [`Job`], [`JobEvents`], [`JobEvent`], [`Progress`], [`Stall`] |
//! | serve tasks | `phalanx::worker` (feature `worker`) |
//! | handle errors | [`Error`], [`OperationError`](operation::OperationError), [`bail`] and [`ensure`] in operations, [`Failure`] after `try_map` |
//! | inspect elements that failed permanently | [`Runtime::dead_letters`], [`dead_letters`] |
//! | test against a faulty broker | `phalanx::inmemory` (feature `inmemory`) |
//! | use your own broker | [`broker`] |
//!
//! Most programs begin with `use phalanx::prelude::*;`.
//!
//! # Guarantees
//!
//! Workers and connections can fail mid-run: failed work is retried, and every element counts
//! exactly once in the results of its job. An operation itself can run more than once on an
//! element; [`TaskContext::element_key`](operation::TaskContext::element_key) is an idempotency key
//! for side effects. An element that crashes its process takes down at most one worker. The [list
//! of guarantees](https://github.com/phalanx-rs/phalanx/blob/main/docs/guarantees.md) names the
//! test of each.
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `inmemory` | yes | the URL `memory://`: leader and workers in one process |
//! | `amqp` | no | the URL `amqp://`: RabbitMQ |
//! | `tls` | no | the URL `amqps://`: RabbitMQ over TLS; includes `amqp` |
//! | `worker` | no | the module `worker`, which serves tasks and has a command line |
//! | `log` | yes | with `worker`: workers log to standard error what `PHALANX_LOG` selects |
//! | `json` | no | [`Json`], for types that need a format with names, such as `serde_json::Value` |

pub use phalanx_core::{
    __private::operation,
    AsyncOperation, Error, Monoid, Operation, RemoteExecute, bail, ensure,
    leader::{
        Call, ExchangeProgress, Job, JobEvent, JobEvents, Progress, Results, Runtime,
        RuntimeBuilder, StageProgress, Stall, ValueFuture,
    },
    operation::Failure,
    plan::{FoldProgram, IndexedStream, OnFailure, PlanError, ValueProgram},
    register,
};

#[cfg(feature = "json")]
pub use phalanx_core::operation::Json;

/// The building blocks of operations: their traits, context and errors.
///
/// The attribute [`#[operation]`](macro@crate::operation) has the same path and turns a function
/// into an operation.
pub mod operation {
    pub use phalanx_core::operation::{
        AsyncOperation, Asynchronous, Blocking, Data, ElementKey, ErrorKind, Failure, Monoid,
        Operation, OperationError, RemoteExecute, Result, ResultExt, Step, TaskContext,
    };
}

/// The errors of a program that runs jobs, by phase. [`Error`] wraps all the others.
pub mod error {
    pub use phalanx_core::{
        broker::{BrokerError, ConnectError, PublishError},
        dead_letters::DeadLetterError,
        error::{
            Error, ExecuteError, Group, KeyPrefix, RefusedError, ShuffleError, ShuffleFailure,
        },
        operation::{ErrorKind, Failure, OperationError},
        plan::PlanError,
        registry::{Refusal, RegistryError},
        wire::ReturnReason,
    };
}

/// The identities in errors, events and logs.
pub mod id {
    pub use phalanx_core::id::{
        CopyId, DeadLetterId, InvalidCopyId, JobId, LeaderId, TaskNumber, WorkerId,
    };
}

/// Messages between leaders and workers, and the trait to implement for your own broker.
///
/// Implement [`Broker`](broker::Broker) for the connection to your broker, and
/// [`Consumer`](broker::Consumer) and [`Settler`](broker::Settler) for its deliveries. Then pass an
/// `Arc` of it to [`RuntimeBuilder::lead`] and to the workers (`phalanx::worker::Worker::start`).
/// The [trait](broker::Broker) has a complete example.
///
/// These traits may change in any release before 1.0, together with the protocol between leaders
/// and workers.
pub mod broker {
    pub use phalanx_core::broker::{
        Address, Broker, BrokerError, BrokerUrl, ConnectError, ConnectOptions, ConsumeOptions,
        Consumer, Consumption, DeclaredQueue, Delivery, Exchange, Health, Message, MessageKind,
        Pool, PoolNameError, Properties, PublishError, QueueAction, QueueSpec, QueueType, Role,
        Settle, Settler, ShuffleQueue, Topic,
    };
}

/// Elements that failed permanently and were kept by the broker; see
/// [`Runtime::dead_letters`].
pub mod dead_letters {
    pub use phalanx_core::{
        broker::MessageKind,
        dead_letters::{
            DeadLetterContent, DeadLetterEntry, DeadLetterError, DeadLetters, UnreadableDeadLetter,
        },
        error::{ExecuteError, Group, KeyPrefix},
        id::DeadLetterId,
        registry::{StepReference, Verb},
        wire::{DeadLetterHeader, LeftOut},
    };
}

/// The operations that are linked into this program.
pub mod registry {
    pub use phalanx_core::registry::{OperationKind, Registered, Registry, RegistryError};
}

/// Serving tasks: the worker of a fleet, and its command line.
///
#[cfg(feature = "worker")]
#[doc(inline)]
pub use phalanx_worker as worker;

/// The broker in memory, for more than the URL `memory://` offers: several leaders in one process,
/// and tests against a faulty broker.
///
#[cfg(feature = "inmemory")]
#[doc(inline)]
pub use phalanx_inmemory as inmemory;

// The broker crate has to be linked: the scheme of a URL then finds it in the slice of brokers.
#[cfg(feature = "amqp")]
use phalanx_amqp as _;

/// What most programs need: `use phalanx::prelude::*;`.
///
/// It also brings in serde's `Serialize` and `Deserialize`; their derives need `serde` in your
/// `Cargo.toml`. It brings in no extension traits of streams, so that it goes together with those
/// of `futures` and `tokio_stream`.
pub mod prelude {
    pub use phalanx_core::{
        __private::operation,
        AsyncOperation, Monoid, Operation, RemoteExecute,
        leader::{Job, JobEvent, Results, Runtime},
        operation::{OperationError, Result, ResultExt, TaskContext},
        plan::{IndexedStream, OnFailure},
    };
    pub use serde::{Deserialize, Serialize};
}

#[doc(hidden)]
pub use phalanx_core::__private;

// Some linkers reject an empty slice, which a program without operations would have.
#[__private::linkme::distributed_slice(__private::PHALANX_OPERATIONS)]
#[linkme(crate = __private::linkme)]
static PLACEHOLDER: __private::OperationEntry = __private::OperationEntry::PLACEHOLDER;

/// Runs the programs of the README as doc tests.
#[cfg(all(doctest, feature = "inmemory"))]
#[doc = include_str!("../README.md")]
struct Readme;
