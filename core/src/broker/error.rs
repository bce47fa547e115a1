//! Errors of brokers.

use std::error::Error as StdError;

/// Why publishing a message failed.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The connection or channel was lost before the broker confirmed the message, which may or may
    /// not have been published.
    #[error("the connection was lost before the broker confirmed the message")]
    Lost,
    /// The broker refused the message, but may take it later (a full queue, a node in trouble).
    #[error("the broker refused the message: {reason}")]
    Nacked {
        /// The message of the broker, if it sent one.
        reason: String,
    },
    /// The message is larger than the limit of the broker.
    #[error("a message of {size} bytes exceeds the limit of the broker, {limit} bytes")]
    TooLarge {
        /// The size of the message, in bytes.
        size: u64,
        /// The broker's limit, in bytes.
        limit: u64,
    },
    /// The broker permanently refuses such messages from this user, or at this address.
    #[error("the broker refused to publish: {reason}")]
    Refused {
        /// The message of the broker.
        reason: String,
    },
    /// This side has closed the connection.
    #[error("the connection to the broker was closed")]
    Closed,
}

/// Why a broker operation other than publishing failed.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The user lacks the permission.
    #[error("the broker refused access to {what}: {reason}")]
    Denied {
        /// The queue or exchange.
        what: String,
        /// The message of the broker.
        reason: String,
    },
    /// The queue or exchange does not exist, or exists with other arguments.
    #[error("cannot use {what}: {reason}")]
    Unusable {
        /// The queue or exchange.
        what: String,
        /// The message of the broker.
        reason: String,
    },
    /// The queue does not exist, and was not to be declared.
    #[error("{what} does not exist: {reason}")]
    Absent {
        /// The queue.
        what: String,
        /// The message of the broker.
        reason: String,
    },
    /// Another consumer is exclusive, or an exclusive consumer finds another one.
    #[error("{what} is in use by another consumer: {reason}")]
    InUse {
        /// The queue.
        what: String,
        /// The message of the broker.
        reason: String,
    },
    /// The broker has taken deliveries back because they were unsettled for too long.
    #[error("deliveries from {what} were unsettled for too long: {reason}")]
    AckTimeout {
        /// The queue.
        what: String,
        /// The message of the broker, with the timeout.
        reason: String,
    },
    /// The queue is on a node of the cluster that is down.
    #[error("{what} is unavailable until its node is back: {reason}")]
    NodeDown {
        /// The queue.
        what: String,
        /// The message of the broker.
        reason: String,
    },
    /// The connection was lost before the broker replied.
    #[error("lost the connection to the broker: {reason}")]
    Lost {
        /// The message of the broker or of the operating system.
        reason: String,
    },
    /// This side has closed the connection.
    #[error("the connection to the broker was closed")]
    Closed,
}

/// Converts the error for a message whose queue could not be declared.
impl From<BrokerError> for PublishError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Denied { .. }
            | BrokerError::Unusable { .. }
            | BrokerError::Absent { .. } => Self::Refused { reason: error.to_string() },
            BrokerError::NodeDown { .. }
            | BrokerError::InUse { .. }
            | BrokerError::AckTimeout { .. } => Self::Nacked { reason: error.to_string() },
            BrokerError::Lost { .. } => Self::Lost,
            BrokerError::Closed => Self::Closed,
        }
    }
}

/// Why connecting failed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is malformed.
    #[error("`{url}` is not a broker URL: {reason}")]
    Url {
        /// The URL, without secrets.
        url: String,
        /// The mistake in the URL, and how to write it.
        reason: String,
    },
    /// No broker for the scheme of the URL is linked into this program.
    #[error("no broker for `{scheme}://` in this program: {advice}")]
    Scheme {
        /// The scheme of the URL.
        scheme: String,
        /// The feature to enable, or the schemes that are available.
        advice: String,
    },
    /// The broker cannot be reached.
    #[error("cannot reach the broker at {url}: {reason}")]
    Unreachable {
        /// The URL, without secrets.
        url: String,
        /// The last error, of the last host that was tried.
        reason: String,
        /// The error of the operating system, if there was one.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The user or the password is wrong.
    #[error("{url} refused the user `{user}`: {reason}")]
    Credentials {
        /// The URL, without secrets.
        url: String,
        /// The user's name.
        user: String,
        /// The message of the broker.
        reason: String,
    },
    /// The virtual host does not exist, or the user has no access to it.
    #[error("{url} refused the user `{user}` access to the virtual host `{vhost}`: {reason}")]
    VirtualHost {
        /// The URL, without secrets.
        url: String,
        /// The virtual host.
        vhost: String,
        /// The user's name.
        user: String,
        /// The message of the broker.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake with {url} failed: {reason}")]
    Tls {
        /// The URL, without secrets.
        url: String,
        /// The error of the handshake.
        reason: String,
    },
    /// The connection works, but exchanges that Phalanx needs do not exist and cannot be declared.
    #[error("{url} lacks the exchanges of Phalanx, and they cannot be declared: {source}")]
    Setup {
        /// The URL, without secrets.
        url: String,
        /// The error of the declaration.
        #[source]
        source: BrokerError,
    },
}

crate::__debug_as_report!(PublishError, BrokerError, ConnectError);
