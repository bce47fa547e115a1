//! How a URL finds its broker.

use std::{future::Future, pin::Pin, sync::Arc};

use linkme::distributed_slice;

use super::{Broker, BrokerUrl, ConnectError};

/// The brokers that are part of this program, one entry for each runtime crate.
#[distributed_slice]
pub static PHALANX_BROKERS: [BrokerEntry];

/// One kind of broker.
#[derive(Debug)]
pub struct BrokerEntry {
    /// The schemes of its URLs.
    pub schemes: &'static [&'static str],
    /// Connects; resolves when the broker can be used.
    pub connect: fn(BrokerUrl, ConnectOptions) -> BrokerFuture,
}

/// What [`BrokerEntry::connect`] returns.
pub type BrokerFuture = Pin<Box<dyn Future<Output = Result<Arc<dyn Broker>, ConnectError>> + Send>>;

/// How to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The prefix of all exchanges and queues. Default: `phalanx`.
    pub namespace: String,
    /// Who connects.
    pub role: Role,
    /// Concurrent executions of the workers that an in-memory broker brings along; `None` is one
    /// for each core. Default: `None`.
    pub slots: Option<usize>,
    /// The type of task queues that do not exist yet. Default: quorum.
    pub queue_type: QueueType,
}

impl ConnectOptions {
    /// The defaults for this role.
    pub fn new(role: Role) -> Self {
        Self { namespace: "phalanx".to_owned(), role, slots: None, queue_type: QueueType::Quorum }
    }
}

/// The type of a task queue at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum QueueType {
    /// Replicated: survives the loss of a node of a cluster.
    #[default]
    Quorum,
    /// On one node: faster, and gone with its node.
    Classic,
}

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A runtime that drives jobs.
    Leader,
    /// A worker process.
    Worker,
}

/// Connects to the broker that `url` names.
///
/// # Errors
/// If this program has no broker for the scheme, or the broker refuses.
pub async fn connect(
    url: BrokerUrl,
    options: ConnectOptions,
) -> Result<Arc<dyn Broker>, ConnectError> {
    let Some(entry) = PHALANX_BROKERS.iter().find(|entry| entry.schemes.contains(&url.scheme()))
    else {
        return Err(unknown_scheme(&url));
    };
    (entry.connect)(url, options).await
}

fn unknown_scheme(url: &BrokerUrl) -> ConnectError {
    let feature = match url.scheme() {
        "amqp" => Some("amqp"),
        "amqps" => Some("tls"),
        "memory" => Some("inmemory"),
        _ => None,
    };
    let known: Vec<&str> =
        PHALANX_BROKERS.iter().flat_map(|entry| entry.schemes).copied().collect();
    ConnectError::Scheme {
        scheme: url.scheme().to_owned(),
        advice: match feature {
            Some(feature) => format!("add the feature `{feature}` to the dependency on `phalanx`"),
            None => format!("it knows {known:?}"),
        },
    }
}
