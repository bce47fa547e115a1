//! Opens a connection and keeps it open: the supervisor reconnects after every loss.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use lapin::Event;
use phalanx_core::broker::{BrokerError, ConnectError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    asked::Asked,
    backoff::backoff,
    declare,
    dial::{Dialed, dial},
    error::Failure,
    health::{CombinedHealth, LinkHealth, Purpose},
    session::{Link, Session},
    tls::Tls,
    topology::Namespace,
    url::AmqpUrl,
};

/// How long a connection that is open may take to be usable.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the status of the connection is polled, in case lapin emits no event when it is lost.
const STATUS_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The channels that one connection needs: for the queues of a leader, or of a worker with a few
/// pools, and for requests.
const LEAST_CHANNELS: u16 = 16;
/// The size of a frame in bytes that holds all properties of a message.
const LEAST_FRAME: u32 = 64 << 10;
/// The time limit of the closing handshake, which a blocked or hung broker never completes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The state that both connections of a process share.
pub(crate) struct Supervisor {
    pub(crate) url: AmqpUrl,
    /// The URL without its password, for errors and logs.
    pub(crate) display_url: String,
    /// `leader` or `worker`: part of the connection names that the broker's user interface shows.
    pub(crate) role: &'static str,
    pub(crate) namespace: Namespace,
    pub(crate) tls: Tls,
    /// The index of the host that each connection tries next, by purpose.
    pub(crate) next_hosts: [AtomicUsize; 2],
    pub(crate) health: CombinedHealth,
    /// Cancelled when the connections must close and stay closed.
    pub(crate) closing: CancellationToken,
}

impl Supervisor {
    /// Connects for the first time, until `deadline` while no host can be reached. A refusal is not
    /// retried. Then spawns a task on `tasks` that reconnects after every loss.
    pub(crate) async fn link(
        self: &Arc<Self>,
        purpose: Purpose,
        deadline: Instant,
        tasks: &TaskTracker,
    ) -> Result<Link, ConnectError> {
        let mut backoff = backoff();
        let first = loop {
            match self.try_hosts(purpose).await {
                Err(error @ ConnectError::Unreachable { .. }) => {
                    let delay = backoff.next().unwrap_or_default();
                    if Instant::now() + delay >= deadline {
                        return Err(error);
                    }
                    sleep(delay).await;
                }
                first => break first?,
            }
        };
        let (sender, sessions) = watch::channel(None);
        tasks.spawn(self.clone().supervise(purpose, first, sender));
        let link = Link::new(sessions);
        // The task publishes the first session before it awaits anything. A broker that ends each
        // connection as soon as it is open must not be waited for.
        match timeout(SETTLE_TIMEOUT, link.session()).await {
            Ok(_) => Ok(link),
            Err(_) => Err(self.unreachable(self.health.watch().borrow().lost_because().to_owned())),
        }
    }

    /// Tries each host once, and declares the exchanges on the first that accepts.
    ///
    /// Starts with the host after the one used last: a node that is cut off from its cluster
    /// accepts connections but serves none of them.
    async fn try_hosts(&self, purpose: Purpose) -> Result<Dialed, ConnectError> {
        let name = match purpose {
            Purpose::Publishing => format!("phalanx {} publishing", self.role),
            Purpose::Consuming => format!("phalanx {} consuming", self.role),
        };
        let hosts = &self.url.hosts;
        // Relaxed: each index belongs to one connection, and one task at a time dials for it.
        let next_host = &self.next_hosts[purpose as usize];
        let first = next_host.load(Ordering::Relaxed);
        let mut last_error = None;
        for index in (first..first + hosts.len()).map(|index| index % hosts.len()) {
            let host = &hosts[index];
            let dialed = match dial(&self.url, &self.display_url, &self.tls, host, &name).await {
                Ok(dialed) => self.set_up(purpose, dialed).await,
                failed => failed,
            };
            match dialed {
                Ok(dialed) => {
                    next_host.store(index + 1, Ordering::Relaxed);
                    return Ok(dialed);
                }
                Err(error @ ConnectError::Unreachable { .. }) => last_error = Some(error),
                // The other hosts belong to the same cluster and would refuse as well.
                Err(error) => return Err(error),
            }
        }
        Err(last_error.unwrap_or_else(|| self.unreachable("the URL names no host".to_owned())))
    }

    async fn set_up(&self, purpose: Purpose, dialed: Dialed) -> Result<Dialed, ConnectError> {
        let limits = dialed.connection.configuration();
        if let Err(source) = check_limits(limits.channel_max(), limits.frame_max()) {
            dialed.socket.shut_down();
            return Err(ConnectError::Setup { url: self.display_url.clone(), source });
        }
        if purpose == Purpose::Publishing {
            return Ok(dialed);
        }
        let limit = self.url.connection_timeout;
        let declared = declare::exchanges(&dialed.connection, &self.namespace);
        let error = match timeout(limit, declared).await {
            Ok(Ok(())) => return Ok(dialed),
            Ok(Err(Failure::Refused(source) | Failure::NodeDown(source))) => {
                ConnectError::Setup { url: self.display_url.clone(), source }
            }
            Ok(Err(Failure::Lost(error))) => self.unreachable(error.to_string()),
            Err(_) => self.unreachable(format!(
                "connected, but received no reply to a request within {limit:?}"
            )),
        };
        dialed.socket.shut_down();
        Err(error)
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable { url: self.display_url.clone(), reason, source: None }
    }

    async fn supervise(
        self: Arc<Self>,
        purpose: Purpose,
        first: Dialed,
        sessions: watch::Sender<Option<Arc<Session>>>,
    ) {
        let mut generation = 1;
        let mut next = Some(first);
        while let Some(dialed) = next {
            let channels = dialed.connection.configuration().channel_max();
            let session = Arc::new(Session {
                generation,
                requests: Session::bound_of_requests(channels),
                asked: Asked::default(),
                connection: dialed.connection,
                lost: CancellationToken::new(),
                socket: dialed.socket,
                greeting: dialed.greeting,
            });
            self.health.update(purpose, |link| {
                // The reason stays: a broker may end each connection as soon as it is open.
                let reason = link.reason.take();
                *link = LinkHealth { generation, connected: true, blocked: None, reason };
            });
            sessions.send_replace(Some(session.clone()));
            let reason = self.watch_session(purpose, &session).await;
            sessions.send_replace(None);
            self.health.update(purpose, |link| {
                link.connected = false;
                link.blocked = None;
                link.reason = Some(reason.clone());
            });
            session.lost.cancel();
            if self.closing.is_cancelled() {
                let closed = session.connection.close(200, "closed".into());
                let _ = timeout(CLOSE_TIMEOUT, closed).await;
                session.socket.shut_down();
                return;
            }
            session.socket.shut_down();
            tracing::warn!(
                url = self.display_url,
                ?purpose,
                generation,
                reason,
                "lost the connection to the broker; reconnecting"
            );
            next = self.reconnect(purpose).await;
            generation += 1;
        }
    }

    /// Follows a session until it is lost or the broker is closed on this side; returns the reason.
    async fn watch_session(&self, purpose: Purpose, session: &Session) -> String {
        let url = self.display_url.as_str();
        let mut events = session.connection.events_listener();
        let mut poll = tokio::time::interval(STATUS_POLL_INTERVAL);
        let mut reason = "the connection ended".to_owned();
        loop {
            // Cancel-safe: tokens, the event stream and `tick` lose nothing when they are dropped.
            tokio::select! {
                () = self.closing.cancelled() => return "closed on this side".to_owned(),
                () = session.lost.cancelled() => return "dropped after a timeout".to_owned(),
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        tracing::warn!(url, reason, "the broker has blocked publishing");
                        self.health.update(purpose, |link| link.blocked = Some(reason));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!(url, "the broker accepts messages again");
                        self.health.update(purpose, |link| link.blocked = None);
                    }
                    // Of the connection or of one of its channels: the status below decides.
                    Some(Event::Error(error)) => reason = error.to_string(),
                    Some(_) => {}
                    None => return reason,
                },
                _ = poll.tick() => {}
            }
            if !session.connection.status().connected() {
                return reason;
            }
        }
    }

    /// Retries until a host accepts; `None` if the broker is closed on this side first.
    async fn reconnect(&self, purpose: Purpose) -> Option<Dialed> {
        let url = self.display_url.as_str();
        let mut backoff = backoff();
        let mut last_logged = String::new();
        loop {
            let delay = backoff.next().unwrap_or_default();
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = sleep(delay) => {}
            }
            // Cancel-safe: `dial` limits how long a dropped attempt continues in lapin's thread.
            let attempt = tokio::select! {
                () = self.closing.cancelled() => return None,
                attempt = self.try_hosts(purpose) => attempt,
            };
            match attempt {
                Ok(dialed) => {
                    tracing::info!(url, ?purpose, "reconnected to the broker");
                    return Some(dialed);
                }
                Err(error) => {
                    // `Setup` displays only the URL; the refusal is in its source.
                    let error = match error {
                        ConnectError::Setup { source, .. } => source.to_string(),
                        error => error.to_string(),
                    };
                    // A broker may be away for days: each reason is logged once.
                    if error != last_logged {
                        self.health.update(purpose, |link| link.reason = Some(error.clone()));
                        tracing::warn!(url, ?purpose, error, "cannot reconnect yet");
                        last_logged = error;
                    }
                }
            }
        }
    }
}

/// Refuses limits of the broker with which a leader or worker cannot work; 0 means none.
fn check_limits(channels: u16, frame: u32) -> Result<(), BrokerError> {
    let too_small = |name: &str, value: u32, least: u32| BrokerError::Unusable {
        what: "the broker".to_owned(),
        reason: format!("its `{name}` is {value}; set it to {least} or more in its configuration"),
    };
    if (1..LEAST_CHANNELS).contains(&channels) {
        return Err(too_small("channel_max", channels.into(), LEAST_CHANNELS.into()));
    }
    if (1..LEAST_FRAME).contains(&frame) {
        return Err(too_small("frame_max", frame, LEAST_FRAME));
    }
    Ok(())
}

/// The index of the host that both connections of a process try first: the same for both, so that
/// each sees the queues that the other has declared, and random, so that a fleet spreads over its
/// cluster.
pub(crate) fn random_first_host(hosts: usize) -> [AtomicUsize; 2] {
    let first = RandomState::new().hash_one(hosts) as usize % hosts.max(1);
    [AtomicUsize::new(first), AtomicUsize::new(first)]
}
