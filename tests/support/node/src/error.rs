//! The errors of nodes.

use std::io;
use std::time::Duration;

/// Why a private node could not be started, stopped or controlled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// RabbitMQ is not installed on this machine.
    #[error(
        "no rabbitmq-server on this machine: install the package `rabbitmq-server`, or set \
             PHALANX_TEST_RABBITMQ_IMAGE to an image such as `rabbitmq:4.3-management`"
    )]
    NotInstalled,
    /// A system call that is needed to run a node failed.
    #[error("cannot {what}")]
    Io {
        /// What failed, as the rest of a sentence that begins with `cannot`.
        what: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The node exited before it was ready.
    #[error("rabbitmq exited before it was ready; its output:\n{console}")]
    Ended {
        /// The last lines that the node printed.
        console: String,
    },
    /// The node did not become ready in time.
    #[error("rabbitmq was not ready after {waited:?}; its output:\n{console}")]
    Timeout {
        /// The time limit.
        waited: Duration,
        /// The last lines that the node printed.
        console: String,
    },
    /// A `rabbitmqctl` command failed.
    #[error("rabbitmqctl failed; its output:\n{output}")]
    Refused {
        /// What the command printed.
        output: String,
    },
    /// All ports that were tried are in use.
    #[error("found no free ports on 127.0.0.1")]
    NoPorts,
}

impl NodeError {
    /// Adds what failed to a system error, for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
