//! The broker itself: two connections, two publishers, any number of consumers.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use phalanx_core::broker::{
    Address, Broker, BrokerError, BrokerUrl, ConnectError, ConnectOptions, Consumer, DeclaredQueue,
    Health, Message, PublishError, QueueSpec, Role,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acker::AckPolicy,
    connection::{HealthBoard, Link, Purpose, Supervisor, first_turns, until_done},
    consumer, declare,
    error::Failure,
    publisher::{Publisher, Window},
    tls::Tls,
    topology::Namespace,
    url::AmqpUrl,
};

/// How long closing waits for confirms, acks and good-byes.
const CLOSING_PATIENCE: Duration = Duration::from_secs(10);

/// A RabbitMQ, or a cluster of them, from 3.10 on.
pub struct AmqpBroker {
    url: BrokerUrl,
    namespace: Namespace,
    policy: AckPolicy,
    supervisor: Arc<Supervisor>,
    consuming: Link,
    publisher: Publisher,
    /// For messages that may have no queue: on a channel of its own, one at a time.
    prober: Publisher,
    /// Fires when publishers and consumers are to finish; the connections follow.
    closing: CancellationToken,
    users: TaskTracker,
    supervisors: TaskTracker,
}

impl AmqpBroker {
    /// Connects; resolves when the broker can be used.
    ///
    /// Hosts are tried in turn, beginning with any, each for at most 10 s (`connection_timeout` in
    /// the URL), all of them again for 5 s while nobody answers.
    ///
    /// # Errors
    /// When the URL is none, nobody answers, or the broker refuses user, virtual host or topology.
    pub async fn connect(url: BrokerUrl, options: ConnectOptions) -> Result<Self, ConnectError> {
        let shown = url.to_string();
        let namespace = Namespace::new(&options)
            .map_err(|source| ConnectError::Setup { url: shown.clone(), source })?;
        let role = match options.role {
            Role::Leader => "leader",
            _ => "worker",
        };
        let parsed = AmqpUrl::parse(&url)?;
        let tls = Tls::of(&parsed).await;
        let supervisor = Arc::new(Supervisor {
            tls: tls.map_err(|reason| ConnectError::Tls { url: shown.clone(), reason })?,
            turns: first_turns(parsed.hosts.len()),
            url: parsed,
            shown,
            role,
            namespace: namespace.clone(),
            health: HealthBoard::new(),
            closing: CancellationToken::new(),
        });
        let (users, supervisors) = (TaskTracker::new(), TaskTracker::new());
        // Stops what was begun when this future fails or is dropped half-way.
        let unless_connected = supervisor.closing.clone().drop_guard();
        // Consuming first: it makes the exchanges that publishing needs.
        let consuming = supervisor.link(Purpose::Consuming, &supervisors).await?;
        let publishing = supervisor.link(Purpose::Publishing, &supervisors).await?;
        unless_connected.disarm();

        let closing = CancellationToken::new();
        let publisher = |window| {
            let (link, namespace) = (publishing.clone(), namespace.clone());
            Publisher::spawn(link, namespace, window, closing.clone(), &users)
        };
        Ok(Self {
            publisher: publisher(Window::PIPELINED),
            prober: publisher(Window::MANDATORY),
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
        self.open()?;
        until_done(&self.consuming, async |session| {
            let shape =
                self.namespace.queue(queue, session.generation).map_err(Failure::Refused)?;
            declare::net(&session.connection, session.generation, &self.namespace, queue).await?;
            declare::queue(&session.connection, &shape).await
        })
        .await
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        self.publisher.publish(address, message).await.map(drop)
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.prober.publish(address, message).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        self.open()?;
        let consumer = consumer::consume(
            self.supervisor.clone(),
            self.consuming.clone(),
            queue.clone(),
            prefetch,
            self.policy,
            self.closing.clone(),
            &self.users,
        );
        Ok(Box::new(consumer.await?))
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        self.open()?;
        until_done(&self.consuming, async |session| {
            let shape =
                self.namespace.queue(queue, session.generation).map_err(Failure::Refused)?;
            declare::delete(&session.connection, &shape).await
        })
        .await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.supervisor.health.watch()
    }

    async fn close(&self) {
        self.closing.cancel();
        self.users.close();
        let _ = timeout(CLOSING_PATIENCE, self.users.wait()).await;
        self.supervisor.closing.cancel();
        self.supervisors.close();
        let _ = timeout(CLOSING_PATIENCE, self.supervisors.wait()).await;
    }
}

impl AmqpBroker {
    fn open(&self) -> Result<(), BrokerError> {
        if self.closing.is_cancelled() { Err(BrokerError::Closed) } else { Ok(()) }
    }
}

impl Drop for AmqpBroker {
    /// Without [`close`](Broker::close) nothing is waited for.
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
