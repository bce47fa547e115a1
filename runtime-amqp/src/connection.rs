//! One of the two connections of a process, and the supervisor that brings it back.

use std::{
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt;
use lapin::{Connection, Event};
use phalanx_core::broker::{BrokerError, ConnectError, Health};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    declare,
    dial::{Dialed, Socket, dial},
    error::Failure,
    tls::Tls,
    topology::Namespace,
    url::AmqpUrl,
};

/// How long the first connection is tried for while nobody answers. What the broker refuses is not
/// tried again.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// lapin tells of a loss at once; this is the net beneath.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// RabbitMQ itself looks for a minute for the node of a queue, before it says no.
const LONGEST_ANSWER: Duration = Duration::from_secs(90);
/// For good-byes: a broker that blocks or hangs never answers them.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// What a connection is for. They are two, because a broker that is short of memory stops reading
/// from those that publish: acks must not wait behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Publishing,
    /// Declaring, too: it must work while publishing is blocked.
    Consuming,
}

/// One connection from its beginning to its end.
pub(crate) struct Session {
    /// Counts the connections of this link, from 1.
    pub(crate) generation: u64,
    pub(crate) connection: Connection,
    /// Fires when the connection has ended; firing it ends the connection.
    pub(crate) lost: CancellationToken,
    socket: Socket,
}

impl Session {
    /// Waits before something that failed is tried again: until the connection is lost, but not
    /// for long, as it may have been the channel alone.
    pub(crate) async fn pause(&self) {
        let _ = timeout(Duration::from_millis(100), self.lost.cancelled()).await;
    }

    /// Asks the broker something; `None` when the connection was lost meanwhile. It is given up when
    /// there is no answer: heartbeats alone are no life. Only a broker that takes nothing may be slow.
    pub(crate) async fn answered<T>(&self, question: impl Future<Output = T>) -> Option<T> {
        let mut question = pin!(self.unless_lost(question));
        loop {
            if let Ok(answer) = timeout(LONGEST_ANSWER, &mut question).await {
                return answer;
            }
            if !self.connection.status().blocked() {
                tracing::warn!("a question is not answered: the connection is given up");
                self.lost.cancel();
            }
        }
    }

    /// Does something on the connection; `None` when that was lost meanwhile. lapin may never
    /// answer who asks while the connection dies.
    pub(crate) async fn unless_lost<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.lost.cancelled() => None,
        }
    }
}

/// A connection that comes back by itself.
#[derive(Clone)]
pub(crate) struct Link {
    sessions: watch::Receiver<Option<Arc<Session>>>,
}

impl Link {
    /// The present session, or the next one; `None` when the broker was closed on this side.
    pub(crate) async fn session(&self) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.clone();
        let session = sessions.wait_for(|session| {
            session.as_ref().is_some_and(|session| !session.lost.is_cancelled())
        });
        session.await.ok().and_then(|session| session.clone())
    }
}

/// What both links of a process share.
pub(crate) struct Supervisor {
    pub(crate) url: AmqpUrl,
    /// The URL as it may be shown.
    pub(crate) shown: String,
    /// `leader` or `worker`, for the names of the connections.
    pub(crate) role: &'static str,
    pub(crate) namespace: Namespace,
    pub(crate) tls: Tls,
    /// With which host each link begins.
    pub(crate) turns: [AtomicUsize; 2],
    pub(crate) health: HealthBoard,
    /// Fires when the connections are to be closed for good.
    pub(crate) closing: CancellationToken,
}

impl Supervisor {
    /// Connects for the first time, and keeps the connection up from then on.
    pub(crate) async fn link(
        self: &Arc<Self>,
        purpose: Purpose,
        tasks: &TaskTracker,
    ) -> Result<Link, ConnectError> {
        let give_up = Instant::now() + FIRST_PATIENCE;
        let mut backoff = backoff();
        let first = loop {
            match self.sweep(purpose).await {
                Err(error @ ConnectError::Unreachable { .. }) => {
                    let delay = backoff.next().unwrap_or(FIRST_PATIENCE);
                    if Instant::now() + delay >= give_up {
                        return Err(error);
                    }
                    sleep(delay).await;
                }
                first => break first?,
            }
        };
        let (sender, sessions) = watch::channel(None);
        tasks.spawn(self.clone().run(purpose, first, sender));
        let link = Link { sessions };
        // The task sets the first session before it waits for anything.
        link.session().await;
        Ok(link)
    }

    /// Tries each host once, and makes sure that the exchanges are there. Begins behind the host
    /// that this link had last: a node that is cut off from its cluster takes connections, and
    /// serves nobody.
    async fn sweep(&self, purpose: Purpose) -> Result<Dialed, ConnectError> {
        let name = match purpose {
            Purpose::Publishing => format!("phalanx {} publishing", self.role),
            Purpose::Consuming => format!("phalanx {} consuming", self.role),
        };
        let hosts = &self.url.hosts;
        let turn = &self.turns[purpose as usize];
        let first = turn.load(Ordering::Relaxed);
        let mut last = None;
        for at in (first..first + hosts.len()).map(|at| at % hosts.len()) {
            let dialed = match dial(&self.url, &self.shown, &self.tls, &hosts[at], &name).await {
                Ok(dialed) => self.set_up(purpose, dialed).await,
                unreached => unreached,
            };
            match dialed {
                Ok(dialed) => {
                    turn.store(at + 1, Ordering::Relaxed);
                    return Ok(dialed);
                }
                Err(error @ ConnectError::Unreachable { .. }) => last = Some(error),
                // The other hosts are of the same cluster: they would say the same.
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| self.unreachable("no host to try".to_owned())))
    }

    async fn set_up(&self, purpose: Purpose, dialed: Dialed) -> Result<Dialed, ConnectError> {
        if purpose == Purpose::Publishing {
            return Ok(dialed);
        }
        let declared = declare::exchanges(&dialed.connection, &self.namespace);
        let error = match timeout(self.url.connection_timeout, declared).await {
            Ok(Ok(())) => return Ok(dialed),
            Ok(Err(Failure::Refused(source) | Failure::Away(source))) => {
                ConnectError::Setup { url: self.shown.clone(), source }
            }
            Ok(Err(Failure::Lost(error))) => self.unreachable(error.to_string()),
            Err(_) => self.unreachable("the broker does not answer".to_owned()),
        };
        dialed.socket.hang_up();
        Err(error)
    }

    fn unreachable(&self, reason: String) -> ConnectError {
        ConnectError::Unreachable { url: self.shown.clone(), reason, source: None }
    }

    async fn run(
        self: Arc<Self>,
        purpose: Purpose,
        first: Dialed,
        sessions: watch::Sender<Option<Arc<Session>>>,
    ) {
        let mut generation = 1;
        let mut next = Some(first);
        while let Some(dialed) = next {
            let session = Arc::new(Session {
                generation,
                connection: dialed.connection,
                lost: CancellationToken::new(),
                socket: dialed.socket,
            });
            self.health.set(purpose, |link| {
                *link = LinkHealth { generation, connected: true, blocked: None };
            });
            sessions.send_replace(Some(session.clone()));
            let reason = self.attend(purpose, &session).await;
            sessions.send_replace(None);
            self.health.set(purpose, |link| {
                link.connected = false;
                link.blocked = None;
            });
            session.lost.cancel();
            if self.closing.is_cancelled() {
                let _ = timeout(GOOD_BYE, session.connection.close(200, "closed".into())).await;
                session.socket.hang_up();
                return;
            }
            session.socket.hang_up();
            tracing::warn!(url = self.shown, ?purpose, generation, reason, "connection lost");
            next = self.reconnect(purpose).await;
            generation += 1;
        }
    }

    /// Follows a session until it is lost, and says why, or until the broker is closed.
    async fn attend(&self, purpose: Purpose, session: &Session) -> String {
        let mut events = session.connection.events_listener();
        let mut check = tokio::time::interval(CHECK_EVERY);
        let mut reason = "the connection ended".to_owned();
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return "closed".to_owned(),
                () = session.lost.cancelled() => return "given up by its user".to_owned(),
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(why)) => {
                        tracing::warn!(url = self.shown, reason = why, "the broker blocks publishing");
                        self.health.set(purpose, |link| link.blocked = Some(why));
                    }
                    Some(Event::ConnectionUnblocked) => {
                        tracing::info!(url = self.shown, "the broker takes messages again");
                        self.health.set(purpose, |link| link.blocked = None);
                    }
                    // Of the connection or of one of its channels: the status tells which.
                    Some(Event::Error(error)) => reason = error.to_string(),
                    Some(_) => {}
                    None => return reason,
                },
                _ = check.tick() => {}
            }
            if !session.connection.status().connected() {
                return reason;
            }
        }
    }

    /// Tries until it succeeds; `None` when the broker was closed meanwhile.
    async fn reconnect(&self, purpose: Purpose) -> Option<Dialed> {
        let mut backoff = backoff();
        loop {
            let delay = backoff.next().unwrap_or_default();
            tokio::select! {
                () = self.closing.cancelled() => return None,
                () = sleep(delay) => {}
            }
            let attempt = tokio::select! {
                () = self.closing.cancelled() => return None,
                attempt = self.sweep(purpose) => attempt,
            };
            match attempt {
                Ok(dialed) => {
                    tracing::info!(url = self.shown, ?purpose, "connected again");
                    return Some(dialed);
                }
                Err(error) => {
                    // The text of a refused set-up stands in its source.
                    let error = match error {
                        ConnectError::Setup { source, .. } => source.to_string(),
                        error => error.to_string(),
                    };
                    tracing::warn!(url = self.shown, ?purpose, error, "no connection yet");
                }
            }
        }
    }
}

/// The first hosts of the links of a process: the same for both, so that what one of them declares is
/// there for the other, and any of them, so that a fleet spreads over its cluster.
pub(crate) fn first_turns(hosts: usize) -> [AtomicUsize; 2] {
    let first = RandomState::new().hash_one(hosts) as usize % hosts.max(1);
    [AtomicUsize::new(first), AtomicUsize::new(first)]
}

/// From 100 ms to 2 s (the jitter adds up to as much again), for ever.
pub(crate) fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
        .build()
}

#[derive(Debug, Clone, Default)]
pub(crate) struct LinkHealth {
    generation: u64,
    connected: bool,
    blocked: Option<String>,
}

/// The health of both links, as one.
pub(crate) struct HealthBoard {
    links: Mutex<[LinkHealth; 2]>,
    health: watch::Sender<Health>,
}

impl HealthBoard {
    pub(crate) fn new() -> Self {
        Self { links: Mutex::default(), health: watch::Sender::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// How many times either link has come up, beyond the first time of both.
    pub(crate) fn generation(&self) -> u64 {
        self.health.borrow().generation
    }

    fn set(&self, purpose: Purpose, change: impl FnOnce(&mut LinkHealth)) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut links[purpose as usize]);
        let [publishing, consuming] = &*links;
        // Published under the lock: else an older state could overtake a newer one.
        self.health.send_modify(|health| {
            let both = publishing.generation > 0 && consuming.generation > 0;
            let sum = publishing.generation + consuming.generation;
            health.generation = if both { sum - 1 } else { 0 };
            health.connected = publishing.connected && consuming.connected;
            health.blocked = publishing.blocked.clone().or_else(|| consuming.blocked.clone());
        });
    }
}

/// Does something on a connection until it is done or refused; a lost connection is waited for.
///
/// # Errors
/// When it is refused, or the broker was closed.
pub(crate) async fn until_done<T, F>(
    link: &Link,
    attempt: impl Fn(Arc<Session>) -> F,
) -> Result<T, BrokerError>
where
    F: Future<Output = Result<T, Failure>>,
{
    /// The broker ends connections for what it cannot stand; doing it again would do it again.
    const MAX_ENDED: u32 = 5;
    let mut ended = 0;
    loop {
        let session = link.session().await.ok_or(BrokerError::Closed)?;
        let Some(attempted) = session.answered(attempt(session.clone())).await else { continue };
        match attempted {
            Ok(done) => return Ok(done),
            Err(Failure::Refused(error) | Failure::Away(error)) => return Err(error),
            Err(Failure::Lost(error)) => {
                ended += u32::from(error.is_amqp_hard_error());
                if ended > MAX_ENDED {
                    return Err(BrokerError::Lost { reason: error.to_string() });
                }
                session.pause().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_stay_within_their_bounds() {
        let delays: Vec<Duration> = backoff().take(100).collect();
        assert_eq!(delays.len(), 100);
        assert!(delays[0] < Duration::from_millis(201), "{:?}", delays[0]);
        assert!(delays.iter().all(|d| (100..=2_000).contains(&d.as_millis())), "{delays:?}");
    }

    #[test]
    fn health_is_that_of_both_links() {
        let board = HealthBoard::new();
        let up = |generation| LinkHealth { generation, connected: true, blocked: None };
        board.set(Purpose::Consuming, |link| *link = up(1));
        assert_eq!(*board.watch().borrow(), Health::default());
        board.set(Purpose::Publishing, |link| *link = up(1));
        assert_eq!(board.generation(), 1);
        assert!(board.watch().borrow().is_well());
        board.set(Purpose::Publishing, |link| link.blocked = Some("memory".to_owned()));
        assert!(board.watch().borrow().connected && !board.watch().borrow().is_well());
        board.set(Purpose::Publishing, |link| *link = up(2));
        assert_eq!(board.generation(), 2);
        board.set(Purpose::Consuming, |link| link.connected = false);
        assert!(!board.watch().borrow().connected);
    }
}
