//! Why there is no node.

use std::io;
use std::time::Duration;

/// Why a private node could not be started, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// This machine has no RabbitMQ.
    #[error(
        "no rabbitmq-server on this machine: install the package `rabbitmq-server`, or set \
             PHALANX_TEST_RABBITMQ_IMAGE to an image such as `rabbitmq:4.3-management`"
    )]
    NotInstalled,
    /// Something needed to run a node failed.
    #[error("cannot {what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The node ended before it was ready.
    #[error("rabbitmq ended before it was ready; it said:\n{console}")]
    Ended {
        /// The end of what the node printed.
        console: String,
    },
    /// The node did not become ready in time.
    #[error("rabbitmq was not ready after {waited:?}; it said:\n{console}")]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
        /// The end of what the node printed.
        console: String,
    },
    /// The node did not do what it was told.
    #[error("rabbitmqctl failed; it said:\n{said}")]
    Refused {
        /// What it printed.
        said: String,
    },
    /// All ports that were tried are taken.
    #[error("found no free ports on 127.0.0.1")]
    NoPorts,
}

impl NodeError {
    /// Names what failed, for `map_err`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
