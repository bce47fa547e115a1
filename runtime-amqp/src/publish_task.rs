//! The task that owns the channel of a publisher.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use lapin::{Channel, options::ConfirmSelectOptions};
use phalanx_core::broker::PublishError;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    declare,
    error::{Failure, NOT_FOUND, Refusal},
    in_flight::{InFlight, Resolved, TICK},
    outgoing::{Outgoing, Window, check_size},
    session::{Link, Session},
    topology::Namespace,
    verdict::verdicts,
};

/// How long the last confirms may take after the broker was closed on this side.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes queued messages, and opens a new channel whenever one is closed.
pub(crate) struct PublishTask {
    pub(crate) link: Link,
    pub(crate) namespace: Namespace,
    pub(crate) window: Window,
    /// See [`silence_limit`](crate::in_flight::silence_limit).
    pub(crate) silence_limit: usize,
    pub(crate) queue: mpsc::Receiver<Outgoing>,
    /// A message taken from the queue that does not fit into the window yet.
    pub(crate) deferred: Option<Outgoing>,
    /// How many messages to publish one at a time: the broker has closed the channel for one of
    /// them without identifying it, and the next refusal must identify it.
    pub(crate) one_by_one: usize,
    /// Shared with the [`Publisher`](crate::publisher::Publisher), where its memory ordering is
    /// explained.
    pub(crate) size_limit: Arc<AtomicU64>,
    pub(crate) closing: CancellationToken,
}

/// Why a channel is no longer used.
enum ChannelEnd {
    /// The broker was closed on this side, and nothing is in flight any more.
    Drained,
    /// The channel or its connection is lost.
    Failed,
}

impl PublishTask {
    pub(crate) async fn run(mut self) {
        loop {
            // Cancel-safe: both only observe.
            let session = tokio::select! {
                session = self.link.session() => session,
                () = self.closing.cancelled() => None,
            };
            let Some(session) = session else { break };
            // The broker may have been restarted with another limit.
            self.size_limit.store(u64::MAX, Ordering::Relaxed);
            while !session.lost.is_cancelled() {
                match self.use_channel(&session).await {
                    Ok(ChannelEnd::Drained) => return,
                    Ok(ChannelEnd::Failed) => {}
                    Err(error) => {
                        tracing::debug!(%error, "cannot open a channel for publishing yet");
                        session.pause().await;
                    }
                }
            }
        }
        self.queue.close();
        let queued = std::iter::from_fn(|| self.queue.try_recv().ok());
        for outgoing in self.deferred.take().into_iter().chain(queued) {
            let _ = outgoing.done.send(Err(PublishError::Closed));
        }
    }

    /// Opens a channel and publishes on it until it fails, or until everything is confirmed after
    /// the broker was closed on this side.
    async fn use_channel(&mut self, session: &Session) -> Result<ChannelEnd, lapin::Error> {
        let Some(channel) = session.rpc(open(session)).await else {
            return Ok(ChannelEnd::Failed);
        };
        let channel = Arc::new(channel?);
        let mut in_flight = InFlight::new(self.silence_limit);
        let (end, failed) = self.pump(session, &channel, &mut in_flight).await;
        if let ChannelEnd::Failed = end {
            self.resolve_failed(session, in_flight, failed).await;
        }
        Ok(end)
    }

    /// Publishes and resolves confirms. Also returns the message whose confirm revealed the
    /// failure, if one did.
    async fn pump(
        &mut self,
        session: &Session,
        channel: &Arc<Channel>,
        in_flight: &mut InFlight,
    ) -> (ChannelEnd, Option<Resolved>) {
        let mut ticks = interval(TICK);
        // After a suspension, the missed ticks were no time in which confirms could arrive.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain_deadline: Option<Instant> = None;
        loop {
            let closing = drain_deadline.is_some();
            let has_room = self.has_room(in_flight);
            // Cancel-safe: a confirm stays in its set, `tick` keeps its deadline, and
            // `next_outgoing` takes nothing before it returns.
            tokio::select! {
                biased;
                Some(resolved) = in_flight.confirms.next(), if !in_flight.confirms.is_empty() => {
                    // All others that have arrived are resolved in the same turn of the loop.
                    let mut arrived = Some(resolved);
                    while let Some(resolved) = arrived {
                        in_flight.remove(&resolved.0);
                        let (sent, Ok(confirmation)) = resolved else {
                            return (ChannelEnd::Failed, Some(resolved));
                        };
                        self.one_by_one = self.one_by_one.saturating_sub(1);
                        let outcome = in_flight.outcome(&sent, confirmation);
                        let _ = sent.done.send(outcome);
                        arrived = in_flight.confirms.next().now_or_never().flatten();
                    }
                }
                () = session.lost.cancelled() => return (ChannelEnd::Failed, None),
                _ = ticks.tick() => {
                    if drain_deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return (ChannelEnd::Drained, None);
                    }
                    // The clock pauses while the broker blocks the connection.
                    if !session.connection.status().blocked() && in_flight.tick() {
                        tracing::warn!("a confirm is overdue; dropping the connection");
                        session.lost.cancel();
                        return (ChannelEnd::Failed, None);
                    }
                }
                () = self.closing.cancelled(), if !closing => {
                    self.queue.close();
                    drain_deadline = Some(Instant::now() + DRAIN_TIMEOUT);
                }
                outgoing = next_outgoing(&mut self.deferred, &mut self.queue), if has_room => {
                    match outgoing {
                        Some(outgoing) => self.send_all(channel, in_flight, outgoing),
                        None if in_flight.confirms.is_empty() => {
                            return (ChannelEnd::Drained, None);
                        }
                        None => self.drain(session, in_flight).await,
                    }
                }
            }
        }
    }

    /// Publishes `first` and the queued messages after it, as far as the window allows.
    fn send_all(&mut self, channel: &Arc<Channel>, in_flight: &mut InFlight, first: Outgoing) {
        self.send(channel, in_flight, first);
        while self.has_room(in_flight) {
            let next = self.deferred.take().or_else(|| self.queue.try_recv().ok());
            let Some(next) = next else { break };
            self.send(channel, in_flight, next);
        }
    }

    /// Awaits the last confirms after the queue was closed.
    async fn drain(&self, session: &Session, in_flight: &mut InFlight) {
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while !in_flight.confirms.is_empty() && !session.lost.is_cancelled() {
            let Ok(Some((sent, result))) = timeout_at(deadline, in_flight.confirms.next()).await
            else {
                break;
            };
            in_flight.remove(&sent);
            let confirmed = result.map_err(|_| PublishError::Lost);
            let outcome = confirmed.and_then(|confirmation| in_flight.outcome(&sent, confirmation));
            let _ = sent.done.send(outcome);
        }
        // Dropping the rest resolves it as `Lost`.
        in_flight.confirms.clear();
    }

    fn has_room(&self, in_flight: &InFlight) -> bool {
        let deferred = self.deferred.as_ref().map_or(0, |outgoing| outgoing.body.len());
        let limit = if self.one_by_one > 0 { 1 } else { self.window.messages };
        let fits = in_flight.bytes + deferred <= self.window.bytes || in_flight.confirms.is_empty();
        in_flight.confirms.len() < limit && fits
    }

    fn send(&mut self, channel: &Arc<Channel>, in_flight: &mut InFlight, outgoing: Outgoing) {
        if outgoing.done.is_closed() {
            return; // Its caller has dropped the future.
        }
        let size = outgoing.body.len();
        if let Err(error) = check_size(size, self.size_limit.load(Ordering::Relaxed)) {
            let _ = outgoing.done.send(Err(error));
            return;
        }
        if in_flight.bytes + size > self.window.bytes && !in_flight.confirms.is_empty() {
            self.deferred = Some(outgoing);
            return;
        }
        let confirm = outgoing.publish(channel.clone(), self.window.mandatory, in_flight);
        in_flight.confirms.push(confirm);
    }

    /// Resolves the messages that were in flight when the channel failed. `first` is the one that
    /// revealed it.
    async fn resolve_failed(
        &mut self,
        session: &Session,
        mut in_flight: InFlight,
        first: Option<Resolved>,
    ) {
        let mut failed = Vec::new();
        let mut refusal = None;
        // lapin fails all of them at once. If it leaves one out, dropping that one resolves it as
        // `Lost`.
        let deadline = Instant::now() + TICK;
        let mut next = first;
        loop {
            let resolved = match next.take() {
                Some(resolved) => Some(resolved),
                None => timeout_at(deadline, in_flight.confirms.next()).await.ok().flatten(),
            };
            match resolved {
                Some((sent, Ok(confirmation))) => {
                    let outcome = in_flight.outcome(&sent, confirmation);
                    let _ = sent.done.send(outcome);
                }
                Some((sent, Err(error))) => {
                    refusal = refusal.take().or_else(|| Refusal::on_channel(&error));
                    failed.push(sent);
                }
                None => break,
            }
        }
        let Some(refusal) = refusal else {
            // The connection was lost: the broker may or may not have the messages.
            return failed
                .into_iter()
                .for_each(|sent| drop(sent.done.send(Err(PublishError::Lost))));
        };
        tracing::warn!(
            reason = refusal.text,
            in_flight = failed.len(),
            "the broker refused a message and closed the channel"
        );
        if let Some(limit) = refusal.size_limit() {
            self.size_limit.store(limit, Ordering::Relaxed);
        }
        let redeclared = refusal.code == NOT_FOUND && self.redeclare_exchanges(session).await;
        let verdicts: Vec<_> = {
            let sizes = failed.iter().map(|sent| (sent.exchange.as_str(), sent.size as u64));
            verdicts(&refusal, redeclared, sizes.collect())
        };
        let refused = verdicts.iter().flatten().count();
        self.one_by_one = match refused {
            0 if !redeclared => failed.len(),
            _ => self.one_by_one.saturating_sub(refused),
        };
        for (sent, verdict) in failed.into_iter().zip(verdicts) {
            let _ = sent.done.send(Err(verdict.unwrap_or(PublishError::Lost)));
        }
    }

    /// Declares the exchanges again after one was deleted; `false` if the broker refuses.
    async fn redeclare_exchanges(&self, session: &Session) -> bool {
        // Cancel-safe: the next connection repeats a declaration that is dropped before it
        // completes.
        let declared = tokio::select! {
            declared = declare::exchanges(&session.connection, &self.namespace) => declared,
            () = session.lost.cancelled() => return true,
        };
        match declared {
            Ok(()) => true,
            Err(Failure::Lost(_)) => true, // The next connection declares them.
            Err(Failure::Refused(error) | Failure::NodeDown(error)) => {
                tracing::warn!(%error, "an exchange was deleted and cannot be declared again");
                false
            }
        }
    }
}

async fn open(session: &Session) -> Result<Channel, lapin::Error> {
    let channel = session.connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// The deferred message if there is one, otherwise the next of the queue; `None` when that is
/// closed and empty.
///
/// Cancel-safe: `recv` is, and the deferred message is returned without an await.
async fn next_outgoing(
    deferred: &mut Option<Outgoing>,
    queue: &mut mpsc::Receiver<Outgoing>,
) -> Option<Outgoing> {
    match deferred.take() {
        Some(outgoing) => Some(outgoing),
        None => queue.recv().await,
    }
}
