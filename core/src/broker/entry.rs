//! Finding the broker for a URL.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use linkme::distributed_slice;

use super::{Broker, BrokerUrl, ConnectError};

/// The kinds of brokers that are linked into this program, one entry for each broker crate. Not
/// part of the public interface.
#[distributed_slice]
pub static PHALANX_BROKERS: [BrokerEntry];

/// One kind of broker: the schemes of its URLs, and how to connect. For the broker crates of
/// Phalanx.
#[derive(Debug)]
pub struct BrokerEntry {
    /// The schemes of its URLs, without `://`.
    pub schemes: &'static [&'static str],
    /// Connects to the broker at a URL; resolves when the connection is usable.
    pub connect: fn(BrokerUrl, ConnectOptions) -> BrokerFuture,
}

/// The future of [`BrokerEntry::connect`].
pub type BrokerFuture = Pin<Box<dyn Future<Output = Result<Arc<dyn Broker>, ConnectError>> + Send>>;

/// Options of a connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The prefix of all exchanges and queues. Default: `phalanx`.
    pub namespace: String,
    /// Whether a leader or a worker connects.
    pub role: Role,
    /// The number of blocking operations that the workers of an in-memory broker run at once;
    /// `None` is the number of cores. Default: `None`.
    pub slots: Option<usize>,
    /// The number of elements of asynchronous operations that each of these workers runs at once;
    /// `None` is 256. Default: `None`.
    pub async_slots: Option<usize>,
    /// The type of task queues that do not exist yet. Default: quorum.
    pub queue_type: QueueType,
    /// How long the first connection is retried while no host can be reached; zero is one attempt
    /// at each. Default: 5 s.
    pub connect_timeout: Duration,
}

impl ConnectOptions {
    /// The default options of a leader or a worker.
    pub fn new(role: Role) -> Self {
        Self {
            namespace: "phalanx".to_owned(),
            role,
            slots: None,
            async_slots: None,
            queue_type: QueueType::Quorum,
            connect_timeout: Duration::from_secs(5),
        }
    }
}

/// The type of a task queue in RabbitMQ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum QueueType {
    /// Replicated: survives the loss of a node of a cluster. The default.
    #[default]
    Quorum,
    /// On one node: faster, but unavailable while that node is down.
    Classic,
}

/// The side of the protocol that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A leader, which runs jobs.
    Leader,
    /// A worker, which runs tasks.
    Worker,
}

/// Connects to the broker at `url`, through the broker crate of its scheme.
///
/// # Errors
/// If no broker crate for the scheme is linked, or the broker cannot be reached or refuses.
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
            None => format!("available schemes: {}", known.join(", ")),
        },
    }
}
