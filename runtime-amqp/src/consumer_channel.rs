//! A channel that consumes from one queue, and how the prefetch is spread over its consumers.

use std::{future::poll_fn, sync::Arc, task::Poll};

use futures::StreamExt;
use lapin::{
    Channel,
    options::{BasicCancelOptions, BasicConsumeOptions},
    types::FieldTable,
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{acker::ChannelSettler, consumer::Item, declare, properties, session::Session};

/// A channel that consumes from one queue.
///
/// RabbitMQ fixes the prefetch of a consumer when it starts. To change it, the channel cancels its
/// consumers and starts new ones, for which the broker does not count the deliveries of the old
/// ones. The channel counts them itself, see [`consume_up_to`](Self::consume_up_to).
pub(crate) struct ConsumerChannel {
    pub(crate) session: Arc<Session>,
    pub(crate) queue: String,
    pub(crate) channel: Channel,
    pub(crate) settler: Arc<ChannelSettler>,
    /// The broker's consumers: one, or two after a change of the prefetch.
    pub(crate) streams: Streams,
    /// The sum of the prefetches of `streams`.
    stream_prefetch: u16,
    /// The delivery tag of the latest delivery.
    last_tag: u64,
    /// When deliveries of earlier streams have been settled, and their part of the prefetch can be
    /// used.
    pub(crate) room: Room,
}

impl ConsumerChannel {
    /// A channel that does not consume yet.
    pub(crate) fn new(
        session: Arc<Session>,
        queue: String,
        channel: Channel,
        settler: Arc<ChannelSettler>,
    ) -> Self {
        Self {
            session,
            queue,
            channel,
            settler,
            streams: Streams(Vec::new()),
            stream_prefetch: 0,
            last_tag: 0,
            room: Room(None),
        }
    }

    /// Starts a consumer with the rest of `prefetch`, given that `held` deliveries of earlier
    /// streams are unsettled.
    ///
    /// Arranges that [`room`](Self::room) is freed when there is more to use: if nothing is left,
    /// as soon as one delivery more may be out; otherwise when all `held` deliveries are settled,
    /// so that one further consumer takes their whole part.
    pub(crate) async fn consume_up_to(
        &mut self,
        prefetch: u16,
        held: usize,
    ) -> Result<(), lapin::Error> {
        let prefetch = prefetch.max(1);
        let used = u16::try_from(held).unwrap_or(u16::MAX).saturating_add(self.stream_prefetch);
        let share = prefetch.saturating_sub(used);
        if share > 0 {
            declare::set_prefetch(&self.channel, share).await?;
            let (queue, arguments) = (self.queue.as_str().into(), FieldTable::default());
            // An empty tag makes the broker generate one, so no two consumers share a tag.
            let (tag, options) = ("".into(), BasicConsumeOptions::default());
            let stream = self.channel.basic_consume(queue, tag, options, arguments).await?;
            self.streams.0.push(stream);
            self.stream_prefetch += share;
        }
        self.room = Room((held > 0).then(|| {
            let limit = if self.stream_prefetch == 0 { usize::from(prefetch) } else { 1 };
            self.settler.settled(self.last_tag, limit)
        }));
        Ok(())
    }

    /// Replaces the consumers by new ones with this prefetch, on the same channel, so that earlier
    /// deliveries can still be settled. Deliveries that arrive meanwhile go to `rest`.
    pub(crate) async fn restart(
        &mut self,
        prefetch: u16,
        channel_generation: u64,
        rest: impl Fn(Item),
    ) -> Result<(), lapin::Error> {
        self.stop(channel_generation, rest).await;
        // The broker does not count these towards the prefetch of the new consumers; this channel
        // does.
        let held = self.settler.settled(self.last_tag, usize::MAX).await;
        self.consume_up_to(prefetch, held.unwrap_or(0)).await
    }

    /// Cancels the consumers; the deliveries that the broker had sent before go to `rest`.
    pub(crate) async fn stop(&mut self, channel_generation: u64, rest: impl Fn(Item)) {
        self.room = Room(None);
        self.stream_prefetch = 0;
        for mut stream in std::mem::take(&mut self.streams.0) {
            let cancelled = self.channel.basic_cancel(stream.tag(), BasicCancelOptions::default());
            if cancelled.await.is_err() {
                return; // The channel is gone, and the broker requeues all that it delivered.
            }
            // lapin ends the stream when the broker has confirmed the cancellation.
            while let Some(Ok(delivery)) = stream.next().await {
                rest(self.item(channel_generation, delivery));
            }
        }
    }

    /// Converts a delivery of lapin.
    pub(crate) fn item(
        &mut self,
        channel_generation: u64,
        delivery: lapin::message::Delivery,
    ) -> Item {
        self.last_tag = self.last_tag.max(delivery.delivery_tag);
        let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        let (settler, message) = (self.settler.clone(), properties::message(delivery));
        Item::Delivery { channel_generation, settler, tag, redelivered, message }
    }

    /// Resolves when everything delivered on this channel is settled, or the channel is gone.
    pub(crate) async fn all_settled(&self) {
        let _ = self.settler.settled(self.last_tag, 1).await;
    }

    /// Sends the pending acks and closes the channel; the broker requeues unsettled deliveries.
    pub(crate) async fn close(self) {
        self.settler.flush().await;
        // The broker processes a channel's methods in order: its reply confirms the acks too.
        let closed = self.channel.close(200, "closed".into());
        let _ = self.session.unless_lost(closed).await;
    }
}

/// The streams of the broker's consumers.
pub(crate) struct Streams(Vec<lapin::Consumer>);

impl Streams {
    /// The next delivery of any stream; `None` or an error when one of them has ended.
    ///
    /// Cancel-safe: a delivery leaves its stream only in the poll that returns it.
    pub(crate) async fn next(&mut self) -> Option<Result<lapin::message::Delivery, lapin::Error>> {
        let next = poll_fn(|cx| {
            let ready = self.0.iter_mut().find_map(|stream| match stream.poll_next_unpin(cx) {
                Poll::Ready(next) => Some(next),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        });
        next.await
    }
}

/// A wait for a part of the prefetch that deliveries of earlier streams still use, if there is one.
pub(crate) struct Room(Option<oneshot::Receiver<usize>>);

impl Room {
    /// Resolves when room is free, with the number of those deliveries that are still unsettled;
    /// `None` if the settler has ended with its channel. Never resolves if no room is to be freed.
    ///
    /// Cancel-safe: the receiver stays until it has resolved.
    pub(crate) async fn freed(&mut self) -> Option<usize> {
        let Some(receiver) = &mut self.0 else { return std::future::pending().await };
        let held = receiver.await;
        self.0 = None;
        held.ok()
    }
}

/// Closes a channel when dropped, unless it is kept.
pub(crate) struct CloseOnDrop(Option<Channel>);

impl CloseOnDrop {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Some(channel))
    }

    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        // Without a Tokio runtime, the connection is gone too.
        if let (Some(channel), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { channel.close(200, "not needed".into()).await });
        }
    }
}
