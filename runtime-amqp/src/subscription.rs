//! The task of a consumer: consumes from one queue, and consumes again after every interruption,
//! unless it is passive.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use phalanx_core::broker::{BrokerError, ConsumeOptions, QueueSpec};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    acker::{AckPolicy, ChannelSettler},
    backoff::backoff,
    close_on_drop::CloseOnDrop,
    connection::Supervisor,
    consumer::{AmqpConsumer, ChannelGeneration, Command, Item},
    consumer_channel::{Cancel, ConsumerChannel},
    declare,
    error::{Failure, Refusal, node_down, refused},
    manage,
    session::{Link, Session},
};

/// A subscription that has received nothing for this long restarts its consumers: if a queue is
/// deleted and declared again within a moment, the broker may drop a consumer without cancelling
/// it. It also declares and binds a queue of its own again.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a subscription declares and binds a queue of its own again, whatever it receives. An
/// exchange that somebody has deleted and a publisher has declared again has lost its bindings, and
/// what is published to it is confirmed and gone (rule 16).
const REBIND_INTERVAL: Duration = Duration::from_secs(60);
/// After this long without a delivery, none is likely to be on its way, and cancelling a consumer
/// hardly ever makes one come back as redelivered.
const QUIET: Duration = Duration::from_secs(1);

/// Declares the queue, consumes from it, and spawns the task that keeps doing so on `tasks`.
pub(crate) async fn subscribe(
    supervisor: Arc<Supervisor>,
    link: Link,
    spec: QueueSpec,
    options: ConsumeOptions,
    policy: AckPolicy,
    closing: CancellationToken,
    tasks: &TaskTracker,
) -> Result<AmqpConsumer, BrokerError> {
    let (items, received) = mpsc::unbounded_channel();
    let (commands, received_commands) = mpsc::channel(1);
    let current = ChannelGeneration::first();
    let subscription = Subscription {
        supervisor,
        spec,
        options,
        prefetch: Arc::new(AtomicU16::new(options.prefetch)),
        policy,
        items,
        current: current.clone(),
        error: Arc::default(),
    };
    let error = subscription.error.clone();
    let channel = link.retry(|session| subscription.open(session)).await?;
    let queue = channel.queue.clone();
    let dropped = CancellationToken::new();
    let stop = StopSignals { closing, dropped: dropped.clone() };
    tasks.spawn(subscription.run(link, channel, received_commands, stop));
    let _dropped = dropped.drop_guard();
    let is_exclusive = options.exclusive;
    Ok(AmqpConsumer {
        queue,
        items: received,
        commands,
        current,
        is_exclusive,
        is_cancelled: false,
        error,
        _dropped,
    })
}

/// The state that the task of a consumer keeps across channels.
struct Subscription {
    supervisor: Arc<Supervisor>,
    spec: QueueSpec,
    options: ConsumeOptions,
    /// The prefetch that the consumer asks for. Relaxed: written by this task alone; the settlers
    /// of its channels read it as a hint for the size of batches.
    prefetch: Arc<AtomicU16>,
    policy: AckPolicy,
    items: mpsc::UnboundedSender<Item>,
    current: ChannelGeneration,
    /// Why a passive consumer has ended.
    error: Arc<OnceLock<BrokerError>>,
}

/// The external events that end a subscription.
struct StopSignals {
    /// Cancelled when the broker is closed on this side.
    closing: CancellationToken,
    /// Cancelled when the consumer is dropped.
    dropped: CancellationToken,
}

impl StopSignals {
    /// Cancel-safe: tokens are.
    async fn any(&self) {
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = self.dropped.cancelled() => {}
        }
    }
}

/// Why a channel is no longer consumed from.
enum ChannelEnd {
    /// The user has cancelled the consumer, and may still settle its deliveries.
    Cancelled,
    /// The broker was closed on this side, or the consumer was dropped.
    Stopped,
    /// The channel or its queue is gone; with the refusal if the broker has closed the channel.
    Interrupted(Option<Refusal>),
}

impl Subscription {
    async fn run(
        self,
        link: Link,
        mut channel: ConsumerChannel,
        mut commands: mpsc::Receiver<Command>,
        stop: StopSignals,
    ) {
        loop {
            match self.pump(&mut channel, &mut commands, &stop).await {
                ChannelEnd::Cancelled => {
                    // Ends the stream of items: the consumer yields its buffer, then `None`.
                    drop(self);
                    let lost = channel.session.lost.clone();
                    // The channel stays open until everything handed out is settled, even if the
                    // consumer is dropped meanwhile. Cancel-safe: all three only observe.
                    tokio::select! {
                        () = channel.all_settled() => {}
                        () = stop.closing.cancelled() => {}
                        () = lost.cancelled() => {}
                    }
                    return channel.close().await;
                }
                ChannelEnd::Stopped => {
                    // The broker requeues the deliveries in the buffer when the channel closes.
                    self.current.advance();
                    // A reader that is cancelled first would make way for the next before its own
                    // deliveries are back, and that one would read them behind the others.
                    if !self.options.exclusive {
                        let session = channel.session.clone();
                        session.unless_lost(channel.stop(0, drop)).await;
                    }
                    return channel.close().await;
                }
                ChannelEnd::Interrupted(refusal) => {
                    // From here on, no buffered delivery of the old channel is handed out.
                    self.current.advance();
                    let old = channel.channel.clone();
                    // If only the consumer was cancelled, the channel is still open. Closing it
                    // makes the broker requeue what it delivered, so that a stale settlement finds
                    // nothing.
                    tokio::spawn(async move { old.close(200, "consumer lost".into()).await });
                    if self.options.passive {
                        // Cancel-safe: the check holds nothing.
                        tokio::select! {
                            error = self.reason(&channel, refusal) => {
                                let _ = self.error.set(error);
                            }
                            () = stop.any() => {}
                        }
                        return;
                    }
                    match self.reopen(&link, &mut commands, &stop).await {
                        Some(reopened) => channel = reopened,
                        None => return,
                    }
                    let generation = self.supervisor.health.generation();
                    // An error means that the consumer was dropped, which `pump` notices next.
                    let _ = self.items.send(Item::Resumed { generation });
                }
            }
        }
    }

    /// Why a passive consumer was interrupted.
    async fn reason(&self, channel: &ConsumerChannel, refusal: Option<Refusal>) -> BrokerError {
        if let Some(refusal) = refusal {
            return refused(&format!("queue `{}`", channel.queue), refusal);
        }
        // The broker cancels a consumer if its queue is deleted, and if its node goes down.
        let session = &channel.session;
        let shape = self.supervisor.namespace.queue(&self.spec, session.generation, None);
        let checked = match shape {
            Ok(shape) => manage::check(session, shape).await,
            Err(error) => Some(error),
        };
        checked.unwrap_or_else(|| {
            let reason = match session.lost.is_cancelled() {
                true => self.supervisor.health.watch().borrow().lost_because().to_owned(),
                false => "the broker has ended the consumer".to_owned(),
            };
            BrokerError::Lost { reason }
        })
    }

    /// Declares the queue, unless the consumer is passive, and consumes from it on a new channel.
    async fn open(&self, session: Arc<Session>) -> Result<ConsumerChannel, Failure> {
        let namespace = &self.supervisor.namespace;
        let shape = match self.options.passive {
            false => declare::for_consumer(&session, namespace, &self.spec).await?,
            true => {
                let shape = namespace.queue(&self.spec, session.generation, None);
                shape.map_err(Failure::Refused)?
            }
        };
        if self.options.passive && session.waits_for_node(&shape.name, None) {
            return Err(Failure::NodeDown(node_down(&shape.name)));
        }
        let channel = session.connection.create_channel().await?;
        // If this future is dropped from here on, a consumer without a reader would swallow
        // messages.
        let unless_opened = CloseOnDrop::new(channel.clone());
        let prefetch = self.prefetch.clone();
        let settler = ChannelSettler::spawn(channel.clone(), self.policy, prefetch);
        let exclusive = self.options.exclusive;
        let mut channel =
            ConsumerChannel::new(Arc::clone(&session), shape.name, channel, exclusive, settler);
        let (queue, is_passive) = (channel.queue.clone(), self.options.passive);
        let prefetch = usize::from(self.prefetch.load(Ordering::Relaxed)).max(1);
        let start = async move {
            let started = channel.start(prefetch).await;
            started.map(|()| (channel, unless_opened))
        };
        // A consumer that is not passive has just declared its queue. That may be a quorum queue,
        // whose next leader may take longer to be elected.
        let started = match is_passive {
            false => start.await,
            true => {
                let waiting = session.asked.begin(&queue, None);
                let asked = session.ask(|sender| async move {
                    let _waiting = waiting;
                    // If nobody waits for it any more, the channel is closed.
                    let _ = sender.send(start.await);
                });
                let started = match asked.await {
                    Some(mut replies) => session.reply(&mut replies).await?,
                    None => None,
                };
                started.ok_or_else(|| Failure::NodeDown(node_down(&queue)))?
            }
        };
        let (channel, unless_opened) =
            started.map_err(|error| match Refusal::on_channel(&error) {
                Some(refusal) => Failure::Refused(refused(&format!("queue `{queue}`"), refusal)),
                None => error.into(),
            })?;
        unless_opened.keep();
        Ok(channel)
    }

    /// Opens a new channel, and retries until that succeeds; `None` if the subscription ends first.
    async fn reopen(
        &self,
        link: &Link,
        commands: &mut mpsc::Receiver<Command>,
        stop: &StopSignals,
    ) -> Option<ConsumerChannel> {
        let reopen = async {
            let mut backoff = backoff();
            let mut last_logged = String::new();
            loop {
                let error = match link.retry(|session| self.open(session)).await {
                    Ok(channel) => return Some(channel),
                    Err(BrokerError::Closed) => return None,
                    Err(error) => error.to_string(),
                };
                // A refusal may last for days, and is logged only once.
                if error != last_logged {
                    tracing::warn!(queue = ?self.spec, error, "cannot consume again yet");
                    last_logged = error;
                }
                let delay = sleep(backoff.next().unwrap_or_default());
                link.session().await?.unless_lost(delay).await;
            }
        };
        tokio::pin!(reopen);
        loop {
            // Cancel-safe: `reopen` is pinned outside and continues in the next turn; when it is
            // dropped in the end, it closes its channel. `recv` is cancel-safe.
            tokio::select! {
                channel = &mut reopen => return channel,
                () = stop.any() => return None,
                command = commands.recv() => match command? {
                    Command::SetPrefetch(prefetch, done) => {
                        self.prefetch.store(prefetch, Ordering::Relaxed);
                        let _ = done.send(());
                    }
                    Command::Cancel(done) => {
                        let _ = done.send(());
                        return None;
                    }
                },
            }
        }
    }

    /// Whether this process alone declares and binds the queue. A task queue is bound again by the
    /// leaders whose probes are unroutable.
    fn owns_queue(&self) -> bool {
        !self.options.passive
            && !matches!(self.spec, QueueSpec::Task { .. } | QueueSpec::Dead { .. })
    }

    /// Declares and binds the queue again; `false` if the connection is lost. A refusal changes
    /// nothing: the consumer goes on with what the queue gets.
    async fn bind_again(&self, session: &Session) -> bool {
        let bind = async {
            let version = session.version_for(&self.spec).await?;
            let namespace = &self.supervisor.namespace;
            let shape = namespace.queue(&self.spec, session.generation, version);
            declare::queue(&session.connection, &shape.map_err(Failure::Refused)?).await
        };
        match session.rpc(bind).await {
            Some(Ok(_)) => true,
            Some(Err(Failure::Refused(error) | Failure::NodeDown(error))) => {
                tracing::warn!(queue = ?self.spec, %error, "cannot bind a queue again");
                true
            }
            Some(Err(Failure::Lost(_))) | None => false,
        }
    }

    /// Passes deliveries on and executes commands until the channel ends.
    async fn pump(
        &self,
        channel: &mut ConsumerChannel,
        commands: &mut mpsc::Receiver<Command>,
        stop: &StopSignals,
    ) -> ChannelEnd {
        let generation = self.current.get();
        let session = channel.session.clone();
        // An error means that the consumer was dropped, which `stop` reports.
        let pass = |item| drop(self.items.send(item));
        let freed = channel.freed();
        let mut idle_since = Instant::now();
        let mut bound_at = idle_since;
        loop {
            let mut prefetch = self.prefetch.load(Ordering::Relaxed);
            let exceeds = channel.exceeds(prefetch);
            // Which consumers to cancel if the prefetch is to be adjusted, and who waits for that.
            let (mut adjust, mut adjusted) = (None, None);
            // Cancel-safe: `next`, `notified` and `recv` are, the others hold no state. Everything
            // that is not cancel-safe runs in the handlers.
            tokio::select! {
                item = channel.next(generation) => {
                    idle_since = Instant::now();
                    let mut arrived = Some(item);
                    // All others that have arrived are passed on in the same turn of the loop.
                    while let Some(item) = arrived {
                        match item {
                            Some(Ok(item)) => pass(item),
                            Some(Err(error)) => {
                                return ChannelEnd::Interrupted(Refusal::on_channel(&error));
                            }
                            None => return ChannelEnd::Interrupted(None),
                        }
                        arrived = channel.next(generation).now_or_never();
                    }
                    adjust = exceeds.then_some(Cancel::Full);
                }
                () = freed.notified() => adjust = Some(Cancel::Full),
                command = commands.recv() => match command {
                    Some(Command::SetPrefetch(wanted, done)) => {
                        prefetch = wanted;
                        self.prefetch.store(wanted, Ordering::Relaxed);
                        (adjust, adjusted) = (Some(Cancel::Full), Some(done));
                    }
                    Some(Command::Cancel(done)) => {
                        session.rpc(channel.stop(generation, pass)).await;
                        let _ = done.send(());
                        return ChannelEnd::Cancelled;
                    }
                    None => return ChannelEnd::Stopped,
                },
                () = sleep_until(idle_since + QUIET), if exceeds => adjust = Some(Cancel::All),
                () = sleep_until(bound_at + REBIND_INTERVAL), if self.owns_queue() => {
                    if !self.bind_again(&session).await {
                        return ChannelEnd::Interrupted(None);
                    }
                    bound_at = Instant::now();
                }
                // A passive consumer has a queue that is never declared again once it is deleted.
                () = sleep_until(idle_since + IDLE_TIMEOUT), if !self.options.passive => {
                    if self.owns_queue() && !self.bind_again(&session).await {
                        return ChannelEnd::Interrupted(None);
                    }
                    bound_at = Instant::now();
                    let restart = channel.restart(prefetch, generation, pass);
                    let Some(Ok(())) = session.rpc(restart).await else {
                        return ChannelEnd::Interrupted(None);
                    };
                    idle_since = Instant::now();
                }
                () = session.lost.cancelled() => return ChannelEnd::Interrupted(None),
                () = stop.any() => return ChannelEnd::Stopped,
            }
            if let Some(cancel) = adjust {
                let adjusting = channel.adjust(prefetch, cancel, generation, pass);
                let Some(Ok(())) = session.rpc(adjusting).await else {
                    return ChannelEnd::Interrupted(None);
                };
            }
            if let Some(adjusted) = adjusted {
                let _ = adjusted.send(());
            }
        }
    }
}
