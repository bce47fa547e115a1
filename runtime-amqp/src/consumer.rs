//! Consumes from one queue, and comes back after every interruption.

use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    options::{BasicCancelOptions, BasicConsumeOptions},
    types::FieldTable,
};
use phalanx_core::broker::{
    BrokerError, Consumer, Consumption, Delivery, Message, QueueSpec, Settle, Settler,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    acker::{AckPolicy, ChannelSettler},
    connection::{Link, Session, Supervisor, backoff, until_done},
    declare,
    error::{Failure, refused},
    properties,
};

/// A consumer to which nothing came for so long begins anew: a queue that is deleted and made again in
/// one moment can leave it behind, with a broker that does not know it any more and does not say so.
const ANEW_AFTER: Duration = Duration::from_secs(30);
/// A leader does without what is in its reply queue, but not lightly.
const REPLIES_PATIENCE: Duration = Duration::from_secs(10);

/// A stream of deliveries, fed by a task that owns channel and connection matters.
pub(crate) struct AmqpConsumer {
    queue: String,
    /// Bounded by the prefetch: the broker sends no more before something is settled.
    items: mpsc::UnboundedReceiver<Item>,
    commands: mpsc::Sender<Command>,
    /// The epoch of the present channel. What is buffered of an earlier one has been taken back by
    /// the broker and is coming again: it is skipped.
    epoch: Arc<AtomicU64>,
    /// Tells the task that nobody holds the consumer any more.
    _gone: DropGuard,
}

enum Item {
    Delivery {
        epoch: u64,
        settler: Arc<ChannelSettler>,
        tag: u64,
        redelivered: bool,
        message: Message,
    },
    Resumed {
        generation: u64,
    },
}

enum Command {
    Prefetch(u16, oneshot::Sender<()>),
    Cancel(oneshot::Sender<()>),
}

impl AmqpConsumer {
    fn consumption(&self, item: Item) -> Option<Consumption> {
        match item {
            Item::Resumed { generation } => Some(Consumption::Resumed { generation }),
            Item::Delivery { epoch, .. } if epoch != self.epoch.load(Ordering::Acquire) => None,
            Item::Delivery { settler, tag, redelivered, message, .. } => {
                Some(Consumption::Delivery(Delivery::new(message, redelivered, tag, settler)))
            }
        }
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (done, obeyed) = oneshot::channel();
        if self.commands.send(command(done)).await.is_ok() {
            // An error means that the task has ended: nothing is consumed any more.
            let _ = obeyed.await;
        }
    }
}

#[async_trait]
impl Consumer for AmqpConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        loop {
            // Cancel-safe: `recv` is, and nothing is awaited between it and the return.
            let item = self.items.recv().await?;
            if let Some(consumption) = self.consumption(item) {
                return Some(consumption);
            }
        }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        loop {
            let item = self.items.try_recv().ok()?;
            if let Some(consumption) = self.consumption(item) {
                return Some(consumption);
            }
        }
    }

    async fn set_prefetch(&mut self, prefetch: u16) {
        self.command(|done| Command::Prefetch(prefetch, done)).await;
    }

    async fn cancel(&mut self) {
        self.command(Command::Cancel).await;
    }
}

impl Drop for AmqpConsumer {
    /// What nobody took goes back. (Where the consumer was not cancelled, so does the rest, with
    /// its channel.)
    fn drop(&mut self) {
        while let Ok(item) = self.items.try_recv() {
            if let Item::Delivery { settler, tag, .. } = item {
                settler.settle(tag, Settle::Requeue);
            }
        }
    }
}

impl fmt::Debug for AmqpConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpConsumer").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// Declares the queue, consumes from it and starts the task that keeps doing so.
pub(crate) async fn consume(
    supervisor: Arc<Supervisor>,
    link: Link,
    spec: QueueSpec,
    prefetch: u16,
    policy: AckPolicy,
    closing: CancellationToken,
    tasks: &TaskTracker,
) -> Result<AmqpConsumer, BrokerError> {
    let (items, received) = mpsc::unbounded_channel();
    let (commands, orders) = mpsc::channel(1);
    let epoch = Arc::new(AtomicU64::new(1));
    let source = Source {
        supervisor,
        spec,
        prefetch: Arc::new(AtomicU16::new(prefetch)),
        policy,
        items,
        epoch: epoch.clone(),
    };
    let attached = until_done(&link, |session| source.attach(session)).await?;
    let queue = attached.queue.clone();
    let gone = CancellationToken::new();
    tasks.spawn(run(source, link, attached, orders, Ends { closing, gone: gone.clone() }));
    Ok(AmqpConsumer { queue, items: received, commands, epoch, _gone: gone.drop_guard() })
}

/// Where deliveries come from and go to.
struct Source {
    supervisor: Arc<Supervisor>,
    spec: QueueSpec,
    prefetch: Arc<AtomicU16>,
    policy: AckPolicy,
    items: mpsc::UnboundedSender<Item>,
    epoch: Arc<AtomicU64>,
}

/// A channel that consumes.
struct Attached {
    session: Arc<Session>,
    queue: String,
    channel: Channel,
    settler: Arc<ChannelSettler>,
    /// One, or two after a change of the prefetch: see [`Attached::grant`].
    streams: Vec<lapin::Consumer>,
    /// The sum of their prefetches.
    granted: u16,
    /// The last delivery of this channel.
    last_tag: u64,
    /// Fires when room comes back that deliveries of earlier streams still hold.
    room: Option<oneshot::Receiver<usize>>,
}

/// Closes a channel, unless it is kept.
struct CloseOnDrop(Option<Channel>);

impl CloseOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Without a runtime there is no connection either.
        if let (Some(channel), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { channel.close(200, "not wanted".into()).await });
        }
    }
}

/// What a consumer ends with.
struct Ends {
    /// Fires when the broker is closed on this side.
    closing: CancellationToken,
    /// Fires when the consumer was dropped.
    gone: CancellationToken,
}

impl Ends {
    async fn reached(&self) {
        tokio::select! {
            () = self.closing.cancelled() => {}
            () = self.gone.cancelled() => {}
        }
    }
}

/// Why a channel is not consumed from any more.
enum End {
    /// By the user, who may still settle what was delivered.
    Cancelled,
    /// The broker was closed on this side, or the consumer dropped.
    Over,
    /// By anything else: the channel is gone, or will be.
    Interrupted,
}

async fn run(
    source: Source,
    link: Link,
    mut attached: Attached,
    mut commands: mpsc::Receiver<Command>,
    ends: Ends,
) {
    loop {
        match source.pump(&mut attached, &mut commands, &ends).await {
            End::Cancelled => {
                // What is buffered still comes out, and then the end.
                drop(source);
                let lost = attached.session.lost.clone();
                // The channel stays until all that was handed out is settled, consumer or not. (An
                // error means that it is gone already.)
                let settled = attached.settler.drained(attached.last_tag, 1);
                tokio::select! {
                    _ = settled => {}
                    () = ends.closing.cancelled() => {}
                    () = lost.cancelled() => {}
                }
                return attached.close().await;
            }
            End::Over => {
                // What is buffered goes back with the channel.
                source.epoch.fetch_add(1, Ordering::Release);
                let session = attached.session.clone();
                session.unless_lost(attached.stop(drop, 0)).await;
                return attached.close().await;
            }
            End::Interrupted => {
                // From here on, nothing buffered of the old channel is handed out.
                source.epoch.fetch_add(1, Ordering::Release);
                let channel = attached.channel.clone();
                // Alive when only the consumer was cancelled: closing it returns what was
                // delivered, so that a stale settle has nothing to settle.
                tokio::spawn(async move { channel.close(200, "consumer lost".into()).await });
                match source.reattach(&link, &mut commands, &ends).await {
                    Some(again) => attached = again,
                    None => return,
                }
                let generation = source.supervisor.health.generation();
                // An error means that the consumer was dropped, which the next turn sees.
                let _ = source.items.send(Item::Resumed { generation });
            }
        }
    }
}

impl Source {
    fn now(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Declares and consumes on a channel of its own.
    async fn attach(&self, session: Arc<Session>) -> Result<Attached, Failure> {
        let namespace = &self.supervisor.namespace;
        let (connection, generation) = (&session.connection, session.generation);
        declare::net(connection, generation, namespace, &self.spec).await?;
        let patience = match self.spec {
            // Where it cannot be had, another one will do.
            QueueSpec::Reply { .. } => REPLIES_PATIENCE,
            _ => Duration::MAX,
        };
        let mut left = None;
        let shape = loop {
            let shape = namespace.queue(&self.spec, generation).map_err(Failure::Refused)?;
            match declare::queue_or_away(connection, &shape, patience).await {
                Ok(()) => break shape,
                Err(Failure::Away(error)) if matches!(self.spec, QueueSpec::Reply { .. }) => {
                    tracing::warn!(queue = shape.name, %error, "left behind: its node is down");
                    namespace.next_reply_queue();
                    left = Some(shape);
                }
                Err(failure) => return Err(failure),
            }
        };
        if let Some(left) = left {
            // It would get a copy of everything when it is back. Where that is refused, or takes too
            // long, it gets them until it expires.
            let unbound = timeout(patience, declare::unbind(connection, &left)).await;
            unbound.unwrap_or(Ok(()))?;
        }
        let channel = connection.create_channel().await?;
        // A consumer that comes about when nobody wants it any more would swallow tasks.
        let unless_attached = CloseOnDrop(Some(channel.clone()));
        let prefetch = self.prefetch.clone();
        let settler = ChannelSettler::spawn(channel.clone(), self.policy, prefetch);
        let mut attached = Attached {
            session,
            queue: shape.name,
            channel,
            settler,
            streams: Vec::new(),
            granted: 0,
            last_tag: 0,
            room: None,
        };
        let granted = attached.grant(self.prefetch.load(Ordering::Relaxed), 0).await;
        granted.map_err(|error| match declare::soft(&error) {
            Some(refusal) => {
                Failure::Refused(refused(&format!("queue `{}`", attached.queue), refusal))
            }
            None => error.into(),
        })?;
        unless_attached.keep();
        Ok(attached)
    }

    /// Attaches again, however long it takes. `None`: it is not wanted any more.
    async fn reattach(
        &self,
        link: &Link,
        commands: &mut mpsc::Receiver<Command>,
        ends: &Ends,
    ) -> Option<Attached> {
        let attach = async {
            let mut backoff = backoff();
            let mut said = String::new();
            loop {
                let error = match until_done(link, |session| self.attach(session)).await {
                    Ok(attached) => return Some(attached),
                    Err(BrokerError::Closed) => return None,
                    Err(error) => error.to_string(),
                };
                // A refusal may last for days: once is enough.
                if error != said {
                    tracing::warn!(queue = ?self.spec, error, "cannot consume again yet");
                    said = error;
                }
                let pause = sleep(backoff.next().unwrap_or_default());
                link.session().await?.unless_lost(pause).await;
            }
        };
        tokio::pin!(attach);
        loop {
            tokio::select! {
                attached = &mut attach => return attached,
                () = ends.reached() => return None,
                command = commands.recv() => match command? {
                    Command::Prefetch(prefetch, done) => {
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

    /// Passes deliveries on until something else happens.
    async fn pump(
        &self,
        attached: &mut Attached,
        commands: &mut mpsc::Receiver<Command>,
        ends: &Ends,
    ) -> End {
        let epoch = self.now();
        let session = attached.session.clone();
        let mut silent_since = Instant::now();
        loop {
            tokio::select! {
                delivery = next(&mut attached.streams) => {
                    silent_since = Instant::now();
                    let mut here = Some(delivery);
                    // Those that are here already need no turn of the loop each.
                    while let Some(delivery) = here {
                        let Some(Ok(delivery)) = delivery else { return End::Interrupted };
                        // An error means that the consumer was dropped, which is seen below.
                        let _ = self.items.send(attached.item(epoch, delivery));
                        here = next(&mut attached.streams).now_or_never();
                    }
                }
                out = room(&mut attached.room) => {
                    let prefetch = self.prefetch.load(Ordering::Relaxed);
                    // Without an answer, the acker has ended with its channel.
                    let Some(out) = out else { return End::Interrupted };
                    let granted = session.answered(attached.grant(prefetch, out)).await;
                    let Some(Ok(())) = granted else { return End::Interrupted };
                }
                command = commands.recv() => match command {
                    Some(Command::Prefetch(prefetch, done)) => {
                        self.prefetch.store(prefetch, Ordering::Relaxed);
                        let change = self.change_prefetch(attached, epoch, prefetch);
                        let changed = session.answered(change).await;
                        let _ = done.send(());
                        let Some(Ok(())) = changed else { return End::Interrupted };
                        silent_since = Instant::now();
                    }
                    Some(Command::Cancel(done)) => {
                        let stop = attached.stop(|item| drop(self.items.send(item)), epoch);
                        session.answered(stop).await;
                        let _ = done.send(());
                        return End::Cancelled;
                    }
                    None => return End::Over,
                },
                () = sleep_until(silent_since + ANEW_AFTER) => {
                    let prefetch = self.prefetch.load(Ordering::Relaxed);
                    let change = self.change_prefetch(attached, epoch, prefetch);
                    let Some(Ok(())) = session.answered(change).await else {
                        return End::Interrupted;
                    };
                    silent_since = Instant::now();
                }
                () = session.lost.cancelled() => return End::Interrupted,
                () = ends.reached() => return End::Over,
            }
        }
    }

    /// The broker fixes the prefetch of a consumer when it begins. So it begins again, on the same
    /// channel, where what was delivered can still be settled.
    async fn change_prefetch(
        &self,
        attached: &mut Attached,
        epoch: u64,
        prefetch: u16,
    ) -> Result<(), lapin::Error> {
        attached.stop(|item| drop(self.items.send(item)), epoch).await;
        // To the broker, what earlier consumers have out is not this one's. To us it is.
        let out = attached.settler.drained(attached.last_tag, usize::MAX).await;
        attached.grant(prefetch, out.unwrap_or(0)).await
    }
}

/// The next delivery of any stream; `None` or an error when one of them has ended.
///
/// Cancel-safe: a stream's `poll_next` is.
async fn next(
    streams: &mut [lapin::Consumer],
) -> Option<Result<lapin::message::Delivery, lapin::Error>> {
    let next = poll_fn(|cx| {
        let ready = streams.iter_mut().find_map(|stream| match stream.poll_next_unpin(cx) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        });
        ready.map_or(Poll::Pending, Poll::Ready)
    });
    next.await
}

/// Resolves when there is room to be granted, with how much of the prefetch is still not; with `None`
/// when nobody will ever say so.
async fn room(room: &mut Option<oneshot::Receiver<usize>>) -> Option<usize> {
    let Some(receiver) = room else { return std::future::pending().await };
    let out = receiver.await;
    *room = None;
    out.ok()
}

impl Attached {
    /// Consumes as much as the prefetch leaves beside `out` deliveries of earlier streams, and
    /// arranges for the rest.
    ///
    /// The rest gets a consumer of its own when the last of those deliveries is settled. Or, where
    /// there is no room at all, both wait for the first bit of it.
    async fn grant(&mut self, prefetch: u16, out: usize) -> Result<(), lapin::Error> {
        let prefetch = prefetch.max(1);
        let held = u16::try_from(out).unwrap_or(u16::MAX).saturating_add(self.granted);
        let share = prefetch.saturating_sub(held);
        if share > 0 {
            declare::set_prefetch(&self.channel, share).await?;
            let (queue, arguments) = (self.queue.as_str().into(), FieldTable::default());
            // The broker makes up a tag, so that no two of ours can be confused.
            let (tag, options) = ("".into(), BasicConsumeOptions::default());
            let stream = self.channel.basic_consume(queue, tag, options, arguments).await?;
            self.streams.push(stream);
            self.granted += share;
        }
        self.room = (out > 0).then(|| {
            let limit = if self.granted == 0 { usize::from(prefetch) } else { 1 };
            self.settler.drained(self.last_tag, limit)
        });
        Ok(())
    }

    fn item(&mut self, epoch: u64, delivery: lapin::message::Delivery) -> Item {
        self.last_tag = self.last_tag.max(delivery.delivery_tag);
        let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        let (settler, message) = (self.settler.clone(), properties::message(delivery));
        Item::Delivery { epoch, settler, tag, redelivered, message }
    }

    /// Hands over the acks and closes the channel: all that was not settled goes back.
    async fn close(self) {
        self.settler.flush().await;
        // The broker answers in order: when it says good-bye, it has heard the acks.
        let closed = self.channel.close(200, "closed".into());
        let _ = self.session.unless_lost(closed).await;
    }

    /// Ends the consumers; what the broker had sent before it heard of it goes to `rest`.
    async fn stop(&mut self, rest: impl Fn(Item), epoch: u64) {
        self.room = None;
        self.granted = 0;
        for mut stream in std::mem::take(&mut self.streams) {
            let cancelled = self.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
            if cancelled.await.is_err() {
                return; // The channel is gone, and all that it delivered has gone back.
            }
            // lapin ends the stream when the broker has confirmed.
            while let Some(Ok(delivery)) = stream.next().await {
                rest(self.item(epoch, delivery));
            }
        }
    }
}
