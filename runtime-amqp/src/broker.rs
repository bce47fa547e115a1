//! The broker: two connections, two publishers and any number of consumers.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConnectError, ConnectOptions, ConsumeOptions,
    Consumer, DeclaredQueue, Exchange, Health, Message, PublishError, QueueAction, QueueSpec, Role,
    ShuffleQueue,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acker::AckPolicy,
    connection::{Supervisor, random_first_host},
    declare,
    error::Failure,
    health::{CombinedHealth, Purpose},
    in_flight::silence_limit,
    manage,
    outgoing::Window,
    publisher::Publisher,
    session::{Link, Session},
    subscription::subscribe,
    tls::Tls,
    topology::{Namespace, QueueShape},
    url::AmqpUrl,
};

/// How long `close` waits for publishers and consumers, and again for the connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to RabbitMQ 3.10 or later, or to a cluster.
///
/// Programs normally select the broker by its URL and never use this type:
///
/// ```no_run
/// use phalanx::prelude::*;
///
/// #[operation]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), phalanx::Error> {
///     let url = "amqp://user:password@one.example,two.example/vhost?heartbeat=5";
///     let runtime = Runtime::builder().url(url).connect().await?;
///     let squares = IndexedStream::from(0..10u64).map(Square).collect(&runtime).await?;
///     assert_eq!(squares[3], 9);
///     runtime.close().await;
///     Ok(())
/// }
/// ```
///
/// # URL
///
/// `amqp[s]://[user[:password]@]host[:port][,host[:port]…][/vhost][?parameter=value&…]`
///
/// - The user and the password default to `guest`, the port to 5672 (`amqps`: 5671), the virtual
///   host to `/`.
/// - For a cluster, list every node: a process starts with a random one and moves on when a node
///   fails.
/// - `heartbeat`: the interval in seconds, default 10. A connection is lost after two intervals
///   without data from the broker.
/// - `connection_timeout`: the limit of one attempt to connect to one host in milliseconds, default
///   10,000.
/// - `cacertfile`: a PEM file of certificates to trust instead of the system's (`amqps` only).
///
/// # Connections
///
/// A process opens two connections: one to publish, one to consume and declare. Acks and
/// declarations therefore work even while the broker, short of memory or disk space, blocks
/// publishers. Both reconnect by themselves, after 0.1 s to 2 s, until the broker is closed on this
/// side; operations wait until then. Up to 512 messages or 32 MiB are unconfirmed at once. If no
/// confirm arrives for the interval of a heartbeat, or one takes longer than 30 s, the connection
/// is replaced. Time for which the broker blocks publishing does not count.
pub struct AmqpBroker {
    url: BrokerUrl,
    namespace: Namespace,
    policy: AckPolicy,
    supervisor: Arc<Supervisor>,
    consuming: Link,
    publisher: Publisher,
    /// Publishes mandatory messages, on a channel of its own.
    mandatory_publisher: Publisher,
    /// Publishes blocks, on a channel of its own, so that no reply waits behind them.
    block_publisher: Publisher,
    /// Cancelled when publishers and consumers must finish; the connections close after them.
    closing: CancellationToken,
    /// The tasks of publishers and consumers.
    users: TaskTracker,
    /// The tasks of the two connections.
    supervisors: TaskTracker,
}

impl AmqpBroker {
    /// Opens both connections and declares the exchanges of the namespace in `options`.
    ///
    /// Tries the hosts of the URL in turn, from a random one on, each for at most 10 s
    /// (`connection_timeout` in the URL). If no host can be reached, it retries for
    /// [`ConnectOptions::connect_timeout`].
    ///
    /// # Errors
    /// If the URL is malformed, if no host can be reached, if TLS fails, or if the broker refuses
    /// the user, the virtual host or the exchanges.
    pub async fn connect(url: BrokerUrl, options: ConnectOptions) -> Result<Self, ConnectError> {
        let display_url = url.to_string();
        let namespace = Namespace::new(&options)
            .map_err(|source| ConnectError::Setup { url: display_url.clone(), source })?;
        let role = match options.role {
            Role::Leader => "leader",
            _ => "worker",
        };
        let parsed = AmqpUrl::parse(&url)?;
        let tls = Tls::of(&parsed).await;
        let supervisor = Arc::new(Supervisor {
            tls: tls.map_err(|reason| ConnectError::Tls { url: display_url.clone(), reason })?,
            next_hosts: random_first_host(parsed.hosts.len()),
            url: parsed,
            display_url,
            role,
            namespace: namespace.clone(),
            health: CombinedHealth::new(),
            closing: CancellationToken::new(),
        });
        let (users, supervisors) = (TaskTracker::new(), TaskTracker::new());
        // Closes the connections if this future fails or is dropped.
        let unless_connected = supervisor.closing.clone().drop_guard();
        let deadline = Instant::now() + options.connect_timeout;
        // Consuming first: it declares the exchanges that publishing needs.
        let consuming = supervisor.link(Purpose::Consuming, deadline, &supervisors).await?;
        let publishing = supervisor.link(Purpose::Publishing, deadline, &supervisors).await?;
        unless_connected.disarm();

        let closing = CancellationToken::new();
        let silence_limit = silence_limit(supervisor.url.heartbeat);
        let publisher = |window| {
            let (link, namespace) = (publishing.clone(), namespace.clone());
            Publisher::spawn(link, namespace, window, silence_limit, closing.clone(), &users)
        };
        Ok(Self {
            publisher: publisher(Window::ORDINARY),
            mandatory_publisher: publisher(Window::MANDATORY),
            block_publisher: publisher(Window::BLOCKS),
            url,
            namespace,
            policy: AckPolicy::of(options.role),
            supervisor,
            consuming,
            closing,
            users,
            supervisors,
        })
    }
}

#[async_trait]
impl Broker for AmqpBroker {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        self.ensure_open()?;
        let declare = async |session: Arc<Session>| {
            let (connection, generation) = (&session.connection, session.generation);
            let shape = self.shape(queue, &session).await?;
            declare::ensure_dead_letter_queue(connection, generation, &self.namespace, queue)
                .await?;
            declare::queue(connection, &shape).await
        };
        self.consuming.retry(declare).await
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        self.publisher.publish(address, message).await.map(drop)
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        let publisher = match address.exchange {
            Exchange::Shuffle => &self.block_publisher,
            _ => &self.mandatory_publisher,
        };
        publisher.publish(address, message).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        self.ensure_open()?;
        let consumer = subscribe(
            self.supervisor.clone(),
            self.consuming.clone(),
            queue.clone(),
            options,
            self.policy,
            self.closing.clone(),
            &self.users,
        );
        Ok(Box::new(consumer.await?))
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        if let Err(error) = self.ensure_open() {
            return queues.iter().map(|_| Err(error.clone())).collect();
        }
        manage::manage(&self.consuming, &self.namespace, action, queues).await
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        self.ensure_open()?;
        let delete = async |session: Arc<Session>| {
            let shape = self.namespace.queue(queue, session.generation, None);
            declare::delete(&session.connection, &shape.map_err(Failure::Refused)?).await
        };
        self.consuming.retry(delete).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.supervisor.health.watch()
    }

    async fn close(&self) {
        self.closing.cancel();
        self.users.close();
        let _ = timeout(CLOSE_TIMEOUT, self.users.wait()).await;
        self.supervisor.closing.cancel();
        self.supervisors.close();
        let _ = timeout(CLOSE_TIMEOUT, self.supervisors.wait()).await;
    }
}

impl AmqpBroker {
    fn ensure_open(&self) -> Result<(), BrokerError> {
        if self.closing.is_cancelled() { Err(BrokerError::Closed) } else { Ok(()) }
    }

    async fn shape(&self, queue: &QueueSpec, session: &Session) -> Result<QueueShape, Failure> {
        let version = session.version_for(queue).await?;
        self.namespace.queue(queue, session.generation, version).map_err(Failure::Refused)
    }
}

impl Drop for AmqpBroker {
    /// Does not wait: unconfirmed messages and unsent acks may be lost.
    /// Use [`close`](Broker::close) to wait for them.
    fn drop(&mut self) {
        self.closing.cancel();
        self.supervisor.closing.cancel();
    }
}

impl fmt::Debug for AmqpBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpBroker").field("url", &self.url).finish_non_exhaustive()
    }
}
