//! A channel that consumes from one queue, and how the prefetch is spread over its consumers.

use std::{future::poll_fn, sync::Arc, task::Poll};

use lapin::{
    Channel,
    message::Delivery,
    options::{BasicCancelOptions, BasicConsumeOptions},
    types::FieldTable,
};
use tokio::sync::Notify;

use crate::{
    acker::ChannelSettler,
    consumer::Item,
    consumer_stream::{ConsumerStream, StreamSettler},
    declare, properties,
    session::Session,
};

/// A channel that consumes from one queue.
///
/// RabbitMQ fixes the prefetch of a consumer when it starts. To raise it, the channel starts one
/// more consumer; to lower it, the channel cancels consumers, when that makes no delivery come
/// back as redelivered. The prefetch of the channel is the sum of those of its consumers, and the
/// deliveries of cancelled ones count towards it until they are settled.
pub(crate) struct ConsumerChannel {
    pub(crate) session: Arc<Session>,
    pub(crate) queue: String,
    pub(crate) channel: Channel,
    /// Whether the queue may have no other consumer: then there is one stream at most.
    exclusive: bool,
    settler: Arc<ChannelSettler>,
    /// The consumers, oldest first. Each has a prefetch of at least one, so there are at most as
    /// many as the largest prefetch.
    streams: Vec<ConsumerStream>,
    /// The settlers of cancelled consumers that still have deliveries in hand.
    cancelled: Vec<Arc<StreamSettler>>,
    /// Notified when a delivery of a cancelled consumer is settled.
    freed: Arc<Notify>,
}

/// Which consumers beyond the prefetch are cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Those whose whole prefetch is in hand: nothing comes back as redelivered.
    Full,
    /// All: for a queue that seems to be empty, so that nothing is on its way.
    All,
}

impl ConsumerChannel {
    /// A channel that does not consume yet.
    pub(crate) fn new(
        session: Arc<Session>,
        queue: String,
        channel: Channel,
        exclusive: bool,
        settler: Arc<ChannelSettler>,
    ) -> Self {
        let (streams, cancelled) = (Vec::new(), Vec::new());
        Self {
            session,
            queue,
            channel,
            exclusive,
            settler,
            streams,
            cancelled,
            freed: Arc::default(),
        }
    }

    /// Whether the consumers together may receive more than `prefetch`.
    pub(crate) fn exceeds(&self, prefetch: u16) -> bool {
        self.consuming() > usize::from(prefetch.max(1))
    }

    /// Cancels consumers beyond `prefetch`, and starts one for what is missing. Deliveries that
    /// arrive meanwhile go to `rest`.
    pub(crate) async fn adjust(
        &mut self,
        prefetch: u16,
        cancel: Cancel,
        channel_generation: u64,
        rest: impl Fn(Item),
    ) -> Result<(), lapin::Error> {
        let prefetch = usize::from(prefetch.max(1));
        let mut kept = 0;
        let mut streams = Vec::new();
        for stream in std::mem::take(&mut self.streams) {
            let with_it = kept + usize::from(stream.prefetch());
            let is_beyond = with_it > prefetch;
            if is_beyond && (stream.defer_if_full() || cancel == Cancel::All) {
                self.cancel(stream, channel_generation, &rest).await?;
            } else {
                kept = with_it;
                streams.push(stream);
            }
        }
        self.streams = streams;
        self.start(prefetch).await
    }

    /// Replaces all consumers by one.
    pub(crate) async fn restart(
        &mut self,
        prefetch: u16,
        channel_generation: u64,
        rest: impl Fn(Item),
    ) -> Result<(), lapin::Error> {
        self.stop(channel_generation, rest).await?;
        self.start(usize::from(prefetch.max(1))).await
    }

    /// Cancels all consumers; the deliveries that the broker had sent before go to `rest`.
    ///
    /// # Errors
    /// If the channel is gone. The broker requeues all that it delivered.
    pub(crate) async fn stop(
        &mut self,
        channel_generation: u64,
        rest: impl Fn(Item),
    ) -> Result<(), lapin::Error> {
        for stream in std::mem::take(&mut self.streams) {
            stream.defer_if_full();
            self.cancel(stream, channel_generation, &rest).await?;
        }
        Ok(())
    }

    /// Starts one more consumer if `prefetch` is not used up.
    pub(crate) async fn start(&mut self, prefetch: usize) -> Result<(), lapin::Error> {
        self.cancelled.retain(|settler| settler.in_hand() > 0);
        let held: usize = self.cancelled.iter().map(|settler| settler.in_hand()).sum();
        let share = prefetch.saturating_sub(self.consuming() + held);
        // Waits for half of what cancelled consumers hold, rather than start a consumer for each of
        // their deliveries that is settled.
        if share == 0 || (share < held && !self.streams.is_empty()) {
            return Ok(());
        }
        let share = u16::try_from(share).unwrap_or(u16::MAX);
        // AMQP's 0 is no limit: a reader may need more deliveries at once than 16 bits count.
        let limit = if self.exclusive && share == u16::MAX { 0 } else { share };
        declare::set_prefetch(&self.channel, limit).await?;
        let (queue, arguments) = (self.queue.as_str().into(), FieldTable::default());
        // An empty tag makes the broker generate one, so no two consumers share a tag.
        let options = BasicConsumeOptions { exclusive: self.exclusive, ..Default::default() };
        let tag = "".into();
        let consumer = self.channel.basic_consume(queue, tag, options, arguments).await?;
        let (settler, freed) = (self.settler.clone(), self.freed.clone());
        self.streams.push(ConsumerStream::new(consumer, share, settler, freed));
        Ok(())
    }

    /// The next delivery; `None` or an error when a consumer has ended.
    ///
    /// Cancel-safe: a delivery leaves its stream only in the poll that returns it.
    pub(crate) async fn next(
        &mut self,
        channel_generation: u64,
    ) -> Option<Result<Item, lapin::Error>> {
        poll_fn(|cx| {
            for stream in &mut self.streams {
                if let Poll::Ready(next) = stream.poll_next(cx) {
                    let item = |delivery| item(stream.settler(), channel_generation, delivery);
                    return Poll::Ready(next.map(|next| next.map(item)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Notified when a delivery of a cancelled consumer is settled, so that
    /// [`adjust`](Self::adjust) may start another.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    /// Resolves when everything that cancelled consumers delivered is settled.
    pub(crate) async fn all_settled(&self) {
        while self.cancelled.iter().any(|settler| settler.in_hand() > 0) {
            self.freed.notified().await;
        }
    }

    /// Sends the pending acks and closes the channel; the broker requeues unsettled deliveries.
    pub(crate) async fn close(self) {
        self.settler.flush().await;
        // The broker processes a channel's methods in order: its reply confirms the acks too.
        let closed = self.channel.close(200, "closed".into());
        let _ = self.session.unless_lost(closed).await;
    }

    /// The deliveries that the consumers may receive together.
    fn consuming(&self) -> usize {
        self.streams.iter().map(|stream| usize::from(stream.prefetch())).sum()
    }

    async fn cancel(
        &mut self,
        mut stream: ConsumerStream,
        channel_generation: u64,
        rest: impl Fn(Item),
    ) -> Result<(), lapin::Error> {
        self.channel.basic_cancel(stream.tag(), BasicCancelOptions::default()).await?;
        // lapin ends the stream when the broker has confirmed the cancellation.
        while let Some(Ok(delivery)) = poll_fn(|cx| stream.poll_next(cx)).await {
            rest(item(stream.settler(), channel_generation, delivery));
        }
        stream.settler().cancelled();
        self.cancelled.push(stream.settler().clone());
        Ok(())
    }
}

/// Converts a delivery of lapin.
fn item(settler: &Arc<StreamSettler>, channel_generation: u64, delivery: Delivery) -> Item {
    let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
    let (settler, message) = (settler.clone(), properties::message(delivery));
    Item::Delivery { channel_generation, settler, tag, redelivered, message }
}
