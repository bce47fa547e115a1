//! A request/reply loop in plain lapin: an upper bound for any library built on it.
//!
//! It gives the same guarantees as Phalanx: requests go to a quorum queue with publisher confirms,
//! and a worker replies, waits for the confirm of its reply, and then acks. It carries only a
//! number.

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString},
};
use tokio::task::JoinHandle;

/// The number of concurrent requests.
const WINDOW: usize = 256;
const REQUESTS: &str = "lapin-bench.requests";
const REPLIES: &str = "lapin-bench.replies";

/// A leader and a worker.
pub(crate) struct Loop {
    publishing: Channel,
    consuming: Channel,
    replies: Consumer,
    worker: JoinHandle<Result<()>>,
    /// Channels end with their connections.
    connections: [Connection; 4],
}

impl Loop {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        // As in Phalanx: a connection that consumes must not slow down one that publishes.
        let connect = || Connection::connect(url, ConnectionProperties::default());
        let connections = [connect().await?, connect().await?, connect().await?, connect().await?];
        let [publishing, consuming, replying, working] = &connections;

        let consuming = consuming.create_channel().await?;
        let working = working.create_channel().await?;
        declare(&consuming).await?;
        let publishing = confirming(publishing).await?;
        let replying = confirming(replying).await?;

        let replies = consume(&consuming, REPLIES).await?;
        let requests = consume(&working, REQUESTS).await?;
        let worker = tokio::spawn(serve(requests, replying));
        Ok(Self { publishing, consuming, replies, worker, connections })
    }

    /// Doubles numbers, with one message for each.
    pub(crate) async fn map(&mut self, elements: u64) -> Result<()> {
        let (mut next, mut count, mut sum) = (0, 0, 0);
        let mut confirms = FuturesUnordered::new();
        while count < elements || !confirms.is_empty() {
            while next < elements && next - count < WINDOW as u64 {
                confirms.push(publish(&self.publishing, REQUESTS, next).await?);
                next += 1;
            }
            tokio::select! {
                Some(confirm) = confirms.next() => confirmed(confirm?)?,
                reply = self.replies.next() => {
                    let reply = reply.context("the replies ended")??;
                    sum += number(&reply)?;
                    count += 1;
                    reply.acker.ack(BasicAckOptions::default()).await?;
                }
            }
        }
        ensure!((count, sum) == (elements, elements * (elements - 1)), "the results are wrong");
        Ok(())
    }

    pub(crate) async fn end(self) -> Result<()> {
        self.worker.abort();
        for queue in [REQUESTS, REPLIES] {
            self.consuming.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        for connection in self.connections {
            // The measurement is over; a connection may have closed with its last channel.
            let _ = connection.close(200, "done".into()).await;
        }
        Ok(())
    }
}

/// Replies to requests, and acks those whose reply the broker has confirmed.
async fn serve(mut requests: Consumer, replying: Channel) -> Result<()> {
    let mut pending = FuturesUnordered::new();
    loop {
        tokio::select! {
            request = requests.next() => {
                let request = request.context("the requests ended")??;
                let confirm = publish(&replying, REPLIES, 2 * number(&request)?).await?;
                pending.push(async move { (confirm.await, request) });
            }
            Some((confirm, request)) = pending.next() => {
                confirmed(confirm?)?;
                request.acker.ack(BasicAckOptions::default()).await?;
            }
        }
    }
}

async fn declare(channel: &Channel) -> Result<()> {
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString(LongString::from("quorum")));
    for (queue, arguments) in [(REQUESTS, quorum), (REPLIES, FieldTable::default())] {
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.into(), options, arguments).await?;
    }
    Ok(())
}

async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

async fn consume(channel: &Channel, queue: &str) -> Result<Consumer> {
    channel.basic_qos(WINDOW as u16, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    Ok(channel.basic_consume(queue.into(), queue.into(), options, FieldTable::default()).await?)
}

async fn publish(
    channel: &Channel,
    queue: &str,
    number: u64,
) -> Result<impl Future<Output = lapin::Result<Confirmation>> + use<>> {
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let body = number.to_le_bytes();
    let options = BasicPublishOptions::default();
    Ok(channel.basic_publish("".into(), queue.into(), options, &body, persistent).await?)
}

fn confirmed(confirmation: Confirmation) -> Result<()> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        other => bail!("the broker did not accept a message: {other:?}"),
    }
}

fn number(delivery: &Delivery) -> Result<u64> {
    Ok(u64::from_le_bytes(delivery.data[..].try_into()?))
}
