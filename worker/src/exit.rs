//! The ways in which a worker can end.

use phalanx_core::{broker::BrokerError, registry::RegistryError};

/// How a worker ended; see [`Worker::finished`](crate::Worker::finished).
///
/// ```
/// use phalanx::worker::Exit;
///
/// fn is_success(exit: &Exit) -> bool {
///     matches!(exit, Exit::Drained)
/// }
/// assert!(!is_success(&Exit::Abandoned { threads: 4 }));
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Exit {
    /// The worker was asked to drain: it has finished or returned every task that it held.
    #[error("drained")]
    Drained,
    /// The worker was asked to stop at once, or its [`Worker`](crate::Worker) was dropped: the
    /// broker requeues the deliveries that it held.
    #[error("stopped at once")]
    Stopped,
    /// The worker drained because it has abandoned as many threads as it has slots. Each of them
    /// runs an operation that ignored its timeout and its cancellation.
    #[error("abandoned {threads} threads to operations that do not return; restart the worker")]
    Abandoned {
        /// The number of abandoned threads, at least [`slots`](crate::WorkerOptions::slots).
        threads: usize,
    },
    /// The worker did not start: the operations of the program cannot be registered, for example
    /// because two of them have the same name.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The worker drained because it cannot use a queue or an exchange, or because the broker was
    /// closed.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The worker did not start: the operating system refused to create its slot threads.
    #[error("could not create the slot threads: {reason}; lower `slots` or raise the thread limit")]
    Threads {
        /// The error of the operating system.
        reason: String,
    },
}

phalanx_core::__debug_as_report!(Exit);
