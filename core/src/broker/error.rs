//! What a broker can refuse.

use std::error::Error as StdError;

/// Why a message was not taken by the broker.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The connection or channel was lost before the broker confirmed: it may have the message.
    #[error("the connection was lost before the broker confirmed the message")]
    Lost,
    /// The broker refused the message for now (a full queue, a node in trouble).
    #[error("the broker did not take the message: {reason}")]
    Nacked {
        /// In the broker's words where it has any.
        reason: String,
    },
    /// The message is larger than the broker takes.
    #[error("a message of {size} bytes is larger than the {limit} bytes that the broker takes")]
    TooLarge {
        /// The size of the message, in bytes.
        size: u64,
        /// The broker's limit, in bytes.
        limit: u64,
    },
    /// The broker will not take such messages from this user, or not at that address.
    #[error("the broker refused to publish: {reason}")]
    Refused {
        /// In the broker's words.
        reason: String,
    },
    /// The broker was closed on this side.
    #[error("the broker was closed")]
    Closed,
}

/// Why the broker could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The user may not do that.
    #[error("the broker refused access to {what}: {reason}")]
    Denied {
        /// The queue or exchange.
        what: String,
        /// In the broker's words.
        reason: String,
    },
    /// What is asked for does not exist, or exists in another shape.
    #[error("{what} is not usable: {reason}")]
    Unusable {
        /// The queue or exchange.
        what: String,
        /// In the broker's words.
        reason: String,
    },
    /// It is on a node of the cluster that is down.
    #[error("{what} is away until its node is back: {reason}")]
    Away {
        /// The queue.
        what: String,
        /// In the broker's words.
        reason: String,
    },
    /// The connection was lost on the way.
    #[error("the connection to the broker was lost: {reason}")]
    Lost {
        /// In the broker's or the system's words.
        reason: String,
    },
    /// The broker was closed on this side.
    #[error("the broker was closed")]
    Closed,
}

/// A queue that cannot be declared takes no messages.
impl From<BrokerError> for PublishError {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::Denied { .. } | BrokerError::Unusable { .. } => {
                Self::Refused { reason: error.to_string() }
            }
            BrokerError::Away { .. } => Self::Nacked { reason: error.to_string() },
            BrokerError::Lost { .. } => Self::Lost,
            BrokerError::Closed => Self::Closed,
        }
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Not a URL that names a broker.
    #[error("`{url}` is not a broker URL: {reason}")]
    Url {
        /// As given, without secrets.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No runtime for this scheme is part of the program.
    #[error("no runtime for `{scheme}://` in this program: {advice}")]
    Scheme {
        /// The scheme of the URL.
        scheme: String,
        /// What to do.
        advice: String,
    },
    /// Nobody answers there.
    #[error("no broker answers at {url}: {reason}")]
    Unreachable {
        /// Without secrets.
        url: String,
        /// The last reason, of the last host tried.
        reason: String,
        /// What the system said.
        #[source]
        source: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// The broker does not know this user or password.
    #[error("{url} refused the user `{user}`: {reason}")]
    Credentials {
        /// Without secrets.
        url: String,
        /// The user's name.
        user: String,
        /// In the broker's words.
        reason: String,
    },
    /// The virtual host does not exist, or the user may not enter it.
    #[error("{url} refused the virtual host `{vhost}` to the user `{user}`: {reason}")]
    VirtualHost {
        /// Without secrets.
        url: String,
        /// The virtual host.
        vhost: String,
        /// The user's name.
        user: String,
        /// In the broker's words.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("no TLS session with {url}: {reason}")]
    Tls {
        /// Without secrets.
        url: String,
        /// What the handshake said.
        reason: String,
    },
    /// Connected, but what Phalanx needs is not there and may not be made.
    #[error("{url} cannot be used")]
    Setup {
        /// Without secrets.
        url: String,
        /// What was refused.
        #[source]
        source: BrokerError,
    },
}
