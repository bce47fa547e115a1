//! Publishes with confirms: one task owns one channel.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use phalanx_core::broker::{Address, Message, PublishError};
use tokio::{
    sync::{mpsc, oneshot},
    task::coop::unconstrained,
    time::{Instant, interval, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    connection::{Link, Session},
    declare,
    error::{ACCESS_REFUSED, Failure, NOT_FOUND, Refusal},
    properties,
    topology::Namespace,
};

/// What may be unconfirmed at once on a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    messages: usize,
    /// Of bodies; a larger one travels alone.
    bytes: usize,
    mandatory: bool,
}

impl Window {
    pub(crate) const PIPELINED: Self = Self { messages: 512, bytes: 32 << 20, mandatory: false };
    /// lapin attaches a returned message to whichever confirm comes next: only where there is one
    /// alone is it the right one.
    pub(crate) const MANDATORY: Self = Self { messages: 1, bytes: 0, mandatory: true };
}

/// Messages that wait for the window, all of them owned by callers that wait too; beyond them,
/// callers wait without a place in the order.
const QUEUED: usize = 16_384;
/// Healthy seconds (connected, not blocked) that a confirm may take.
const DEADLINE_TICKS: usize = 30;
const TICK: Duration = Duration::from_secs(1);
/// What is still unconfirmed when the broker is closed on this side gets so long.
const CLOSING_PATIENCE: Duration = Duration::from_secs(5);

/// Hands messages to the task that owns the channel.
pub(crate) struct Publisher {
    namespace: Namespace,
    jobs: mpsc::Sender<Job>,
    /// The largest message that the broker takes, as far as it has said so.
    limit: Arc<AtomicU64>,
    closing: CancellationToken,
}

struct Job {
    exchange: ShortString,
    key: ShortString,
    properties: BasicProperties,
    body: Bytes,
    done: oneshot::Sender<Result<bool, PublishError>>,
}

impl Publisher {
    pub(crate) fn spawn(
        link: Link,
        namespace: Namespace,
        window: Window,
        closing: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUED);
        let limit = Arc::new(AtomicU64::new(u64::MAX));
        let task = Task {
            link,
            namespace: namespace.clone(),
            window,
            queue,
            held: None,
            careful: 0,
            limit: limit.clone(),
            closing: closing.clone(),
        };
        tasks.spawn(task.run());
        Self { namespace, jobs, limit, closing }
    }

    /// Resolves when the broker has taken responsibility: whether any queue got the message (said
    /// of mandatory ones alone).
    pub(crate) async fn publish(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        if self.closing.is_cancelled() {
            return Err(PublishError::Closed);
        }
        check_size(message.body.len(), self.limit.load(Ordering::Relaxed))?;
        let refused = |reason: &str| PublishError::Refused { reason: reason.to_owned() };
        let exchange = self.namespace.exchange(address.exchange);
        let exchange =
            exchange.ok_or_else(|| refused("this runtime does not know the exchange"))?;
        let key = ShortString::try_new(address.key.as_str())
            .map_err(|_| refused("the routing key is longer than 255 bytes"))?;
        let properties = properties::to_amqp(&message.properties);
        let (done, confirmed) = oneshot::channel();
        let job = Job { exchange: exchange.into(), key, properties, body: message.body, done };
        // The first poll takes a place in the order. Without `unconstrained`, tokio would now and
        // then make it wait for its turn, and let it come back behind those that came later.
        let queued = unconstrained(self.jobs.send(job)).await;
        queued.map_err(|_| PublishError::Closed)?;
        // A sender that is dropped unused was given up with its connection.
        confirmed.await.unwrap_or(Err(PublishError::Lost))
    }
}

fn check_size(size: usize, limit: u64) -> Result<(), PublishError> {
    match size as u64 {
        size if size > limit => Err(PublishError::TooLarge { size, limit }),
        _ => Ok(()),
    }
}

/// A message on its way: what is needed when it comes back, without its body.
struct Sent {
    exchange: ShortString,
    size: usize,
    tick: u64,
    done: oneshot::Sender<Result<bool, PublishError>>,
}

type Outcome = (Sent, Result<Confirmation, lapin::Error>);

struct Task {
    link: Link,
    namespace: Namespace,
    window: Window,
    queue: mpsc::Receiver<Job>,
    /// Taken from the queue, and too large for the window as it is.
    held: Option<Job>,
    /// How many messages are to be published one by one: the broker closed the channel without
    /// saying for which one, and the next time there must be no doubt.
    careful: usize,
    limit: Arc<AtomicU64>,
    closing: CancellationToken,
}

/// Why a channel is used no more.
enum End {
    Closed,
    Failed,
}

impl Task {
    async fn run(mut self) {
        loop {
            let session = tokio::select! {
                session = self.link.session() => session,
                () = self.closing.cancelled() => None,
            };
            let Some(session) = session else { break };
            // A broker that was restarted may have been told another limit.
            self.limit.store(u64::MAX, Ordering::Relaxed);
            while !session.lost.is_cancelled() {
                match self.one_channel(&session).await {
                    Ok(End::Closed) => return,
                    Ok(End::Failed) => {}
                    Err(error) => {
                        tracing::debug!(%error, "no channel for publishing");
                        session.pause().await;
                    }
                }
            }
        }
        self.queue.close();
        for job in
            self.held.take().into_iter().chain(std::iter::from_fn(|| self.queue.try_recv().ok()))
        {
            let _ = job.done.send(Err(PublishError::Closed));
        }
    }

    /// Opens a channel and publishes on it until it fails or all is done and closed.
    async fn one_channel(&mut self, session: &Session) -> Result<End, lapin::Error> {
        let Some(channel) = session.answered(open(session)).await else {
            return Ok(End::Failed);
        };
        let channel = Arc::new(channel?);
        let mut flight = Flight::default();
        let (end, first) = self.pump(session, &channel, &mut flight).await;
        if let End::Failed = end {
            self.account(session, flight, first).await;
        }
        Ok(end)
    }

    /// Returns the outcome that told of the failure, if one did.
    async fn pump(
        &mut self,
        session: &Session,
        channel: &Arc<Channel>,
        flight: &mut Flight,
    ) -> (End, Option<Outcome>) {
        let mut ticks = interval(TICK);
        let mut give_up: Option<Instant> = None;
        loop {
            let closing = give_up.is_some();
            let room = self.room(flight);
            tokio::select! {
                biased;
                Some(outcome) = flight.messages.next(), if !flight.messages.is_empty() => {
                    // Those that are here already need no turn of the loop each.
                    let mut here = Some(outcome);
                    while let Some(outcome) = here {
                        flight.landed(&outcome.0);
                        let (sent, Ok(confirmation)) = outcome else {
                            return (End::Failed, Some(outcome));
                        };
                        self.careful = self.careful.saturating_sub(1);
                        let _ = sent.done.send(answer(confirmation));
                        here = flight.messages.next().now_or_never().flatten();
                    }
                }
                () = session.lost.cancelled() => return (End::Failed, None),
                _ = ticks.tick() => {
                    if give_up.is_some_and(|give_up| Instant::now() >= give_up) {
                        return (End::Closed, None);
                    }
                    // The deadline stands still while the broker takes nothing.
                    if !session.connection.status().blocked() && flight.tick() {
                        tracing::warn!("a confirm is overdue: the connection is given up");
                        session.lost.cancel();
                        return (End::Failed, None);
                    }
                }
                () = self.closing.cancelled(), if !closing => {
                    self.queue.close();
                    give_up = Some(Instant::now() + CLOSING_PATIENCE);
                }
                job = next_job(&mut self.held, &mut self.queue), if room => match job {
                    Some(job) => {
                        self.send(channel, flight, job);
                        while self.room(flight) {
                            let job = self.held.take().or_else(|| self.queue.try_recv().ok());
                            let Some(job) = job else { break };
                            self.send(channel, flight, job);
                        }
                    }
                    None if flight.messages.is_empty() => return (End::Closed, None),
                    // Closed, with confirms to come.
                    None => self.rest(session, flight).await,
                },
            }
        }
    }

    /// Waits for the last confirms; nothing is published any more.
    async fn rest(&self, session: &Session, flight: &mut Flight) {
        let give_up = Instant::now() + CLOSING_PATIENCE;
        while !flight.messages.is_empty() && !session.lost.is_cancelled() {
            let Ok(Some((sent, outcome))) = timeout_at(give_up, flight.messages.next()).await
            else {
                break;
            };
            flight.landed(&sent);
            let _ = sent.done.send(outcome.map_err(|_| PublishError::Lost).and_then(answer));
        }
        // What is left is dropped, which says `Lost`.
        flight.messages.clear();
    }

    fn room(&self, flight: &Flight) -> bool {
        let waiting = self.held.as_ref().map_or(0, |job| job.body.len());
        let limit = if self.careful > 0 { 1 } else { self.window.messages };
        let fits = flight.bytes + waiting <= self.window.bytes || flight.messages.is_empty();
        flight.messages.len() < limit && fits
    }

    fn send(&mut self, channel: &Arc<Channel>, flight: &mut Flight, job: Job) {
        if job.done.is_closed() {
            return; // Nobody waits for it any more.
        }
        if let Err(error) = check_size(job.body.len(), self.limit.load(Ordering::Relaxed)) {
            let _ = job.done.send(Err(error));
            return;
        }
        if flight.bytes + job.body.len() > self.window.bytes && !flight.messages.is_empty() {
            self.held = Some(job);
            return;
        }
        let Job { exchange, key, properties, body, done } = job;
        let sent = Sent { exchange: exchange.clone(), size: body.len(), tick: flight.now, done };
        flight.launched(&sent);
        let channel = channel.clone();
        let options = BasicPublishOptions { mandatory: self.window.mandatory, immediate: false };
        // lapin numbers a message and queues its frames in the first poll, under two locks: this
        // task alone polls, in the order of this set, so no other message can come between.
        flight.messages.push(
            async move {
                let published = channel.basic_publish(exchange, key, options, &body, properties);
                let outcome = match published.await {
                    Ok(confirm) => {
                        drop(body); // lapin has its own copy.
                        confirm.await
                    }
                    Err(error) => Err(error),
                };
                (sent, outcome)
            }
            .boxed(),
        );
    }

    /// The channel is dead: says what became of each message that was under way.
    async fn account(&mut self, session: &Session, mut flight: Flight, first: Option<Outcome>) {
        let mut failed = Vec::new();
        let mut refusal = None;
        let mut take = |(sent, outcome): Outcome| match outcome {
            Ok(confirmation) => {
                let _ = sent.done.send(answer(confirmation));
            }
            Err(error) => {
                refusal = refusal.take().or_else(|| declare::soft(&error));
                failed.push(sent);
            }
        };
        first.into_iter().for_each(&mut take);
        // lapin fails them all at once; those that it forgets are lost by being dropped.
        let give_up = Instant::now() + TICK;
        while let Ok(Some(outcome)) = timeout_at(give_up, flight.messages.next()).await {
            take(outcome);
        }
        let Some(refusal) = refusal else {
            // The connection: nobody knows.
            return failed
                .into_iter()
                .for_each(|sent| drop(sent.done.send(Err(PublishError::Lost))));
        };
        tracing::warn!(reason = refusal.text, messages = failed.len(), "publishing was refused");
        if let Some(limit) = refusal.size_limit() {
            self.limit.store(limit, Ordering::Relaxed);
        }
        let made_again = refusal.code == NOT_FOUND && self.make_exchanges(session).await;
        let verdicts: Vec<_> = {
            let sizes = failed.iter().map(|sent| (sent.exchange.as_str(), sent.size as u64));
            verdicts(&refusal, made_again, sizes.collect())
        };
        let culprits = verdicts.iter().flatten().count();
        self.careful = match culprits {
            0 if !made_again => failed.len(),
            _ => self.careful.saturating_sub(culprits),
        };
        for (sent, verdict) in failed.into_iter().zip(verdicts) {
            let _ = sent.done.send(Err(verdict.unwrap_or(PublishError::Lost)));
        }
    }

    async fn make_exchanges(&self, session: &Session) -> bool {
        let made = tokio::select! {
            made = declare::exchanges(&session.connection, &self.namespace) => made,
            () = session.lost.cancelled() => return true,
        };
        match made {
            Ok(()) => true,
            Err(Failure::Lost(_)) => true, // They will be made by the next connection.
            Err(Failure::Refused(error) | Failure::Away(error)) => {
                tracing::warn!(%error, "an exchange is gone");
                false
            }
        }
    }
}

/// Who is to blame for a refusal that closed the channel: an error for each culprit.
///
/// The innocent may have been taken or not. Alone, a message is always the culprit, unless what it
/// lacked has been made: so nothing is tried for ever.
fn verdicts(
    refusal: &Refusal,
    made_again: bool,
    messages: Vec<(&str, u64)>,
) -> Vec<Option<PublishError>> {
    let refused = || PublishError::Refused { reason: refusal.text.clone() };
    let alone = messages.len() == 1;
    let judge = |(exchange, size)| match (refusal.code, refusal.size_limit(), refusal.exchange()) {
        (_, Some(limit), _) if size > limit => Some(PublishError::TooLarge { size, limit }),
        (NOT_FOUND, _, _) if made_again => None,
        (ACCESS_REFUSED | NOT_FOUND, _, Some(at_fault)) if at_fault == exchange => Some(refused()),
        _ if alone => Some(refused()),
        _ => None,
    };
    messages.into_iter().map(judge).collect()
}

async fn open(session: &Session) -> Result<Channel, lapin::Error> {
    let channel = session.connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// Cancel-safe: `recv` is.
async fn next_job(held: &mut Option<Job>, queue: &mut mpsc::Receiver<Job>) -> Option<Job> {
    match held.take() {
        Some(job) => Some(job),
        None => queue.recv().await,
    }
}

fn answer(confirmation: Confirmation) -> Result<bool, PublishError> {
    match confirmation {
        Confirmation::Ack(returned) => Ok(returned.is_none()),
        Confirmation::Nack(_) => Err(PublishError::Nacked {
            reason: "its queue is full or going, or on a node in trouble".to_owned(),
        }),
        // Never in confirm mode; and if it were, nobody would know.
        Confirmation::NotRequested => Err(PublishError::Lost),
    }
}

/// What is under way on one channel.
#[derive(Default)]
struct Flight {
    messages: FuturesUnordered<BoxFuture<'static, Outcome>>,
    bytes: usize,
    /// Healthy ticks of this channel.
    now: u64,
    /// How many messages were launched in each of the last ticks and have not landed; the present
    /// tick is the last.
    launched: VecDeque<usize>,
}

impl Flight {
    fn launched(&mut self, sent: &Sent) {
        self.bytes += sent.size;
        if self.launched.is_empty() {
            self.launched.push_back(0);
        }
        if let Some(launched) = self.launched.back_mut() {
            *launched += 1;
        }
    }

    fn landed(&mut self, sent: &Sent) {
        self.bytes -= sent.size;
        let age = (self.now - sent.tick) as usize;
        let slot = self.launched.len().checked_sub(1 + age);
        if let Some(launched) = slot.and_then(|slot| self.launched.get_mut(slot)) {
            *launched -= 1;
        }
    }

    /// One healthy tick has gone by: is a message overdue?
    fn tick(&mut self) -> bool {
        self.now += 1;
        self.launched.push_back(0);
        if self.launched.len() <= DEADLINE_TICKS {
            return false;
        }
        self.launched.pop_front().is_some_and(|unconfirmed| unconfirmed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(flight: &Flight) -> Sent {
        let (done, _) = oneshot::channel();
        Sent { exchange: "e".into(), size: 10, tick: flight.now, done }
    }

    #[test]
    fn a_message_is_overdue_after_thirty_healthy_seconds_and_no_sooner() {
        let mut flight = Flight::default();
        let early = sent(&flight);
        flight.launched(&early);
        for _ in 0..DEADLINE_TICKS - 1 {
            assert!(!flight.tick());
            let confirmed_soon = sent(&flight);
            flight.launched(&confirmed_soon);
            flight.landed(&confirmed_soon);
        }
        assert!(flight.tick(), "the others' confirms do not excuse the first");
        assert_eq!(flight.bytes, 10);
    }

    #[test]
    fn a_confirmed_message_is_never_overdue() {
        let mut flight = Flight::default();
        for _ in 0..3 * DEADLINE_TICKS {
            let late = sent(&flight);
            flight.launched(&late);
            for _ in 0..DEADLINE_TICKS - 1 {
                assert!(!flight.tick());
            }
            flight.landed(&late);
            assert!(!flight.tick());
        }
        assert_eq!(flight.bytes, 0);
        assert!(flight.launched.len() <= DEADLINE_TICKS);
    }

    fn judged(code: u16, text: &str, made_again: bool, messages: &[(&str, u64)]) -> Vec<String> {
        let refusal = Refusal { code, text: text.to_owned() };
        let verdicts = verdicts(&refusal, made_again, messages.to_vec());
        let name = |verdict| match verdict {
            None => "lost".to_owned(),
            Some(PublishError::TooLarge { size, limit }) => format!("{size} > {limit}"),
            Some(_) => "refused".to_owned(),
        };
        verdicts.into_iter().map(name).collect()
    }

    #[test]
    fn only_the_offender_pays_for_a_message_that_is_too_large() {
        let text = "PRECONDITION_FAILED - message size 9 is larger than configured max size 5";
        assert_eq!(
            judged(406, text, false, &[("e", 3), ("e", 9), ("f", 5)]),
            ["lost", "9 > 5", "lost"]
        );
    }

    #[test]
    fn only_the_exchange_at_fault_is_refused() {
        let text = "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'";
        assert_eq!(judged(403, text, false, &[("e", 1), ("f", 1)]), ["refused", "lost"]);
        let text = "NOT_FOUND - no exchange 'e' in vhost '/'";
        assert_eq!(judged(404, text, false, &[("e", 1), ("f", 1)]), ["refused", "lost"]);
        assert_eq!(judged(404, text, true, &[("e", 1), ("f", 1)]), ["lost", "lost"]);
        assert_eq!(judged(404, text, true, &[("e", 1)]), ["lost"]);
    }

    #[test]
    fn what_is_refused_for_unknown_reasons_is_found_by_being_alone() {
        assert_eq!(
            judged(406, "PRECONDITION_FAILED", false, &[("e", 1), ("e", 9)]),
            ["lost", "lost"]
        );
        assert_eq!(judged(406, "PRECONDITION_FAILED", false, &[("e", 9)]), ["refused"]);
    }
}
