//! Blocks that are written to queues and then read with plain lapin: an upper bound for any shuffle
//! through RabbitMQ.
//!
//! Persistent messages to durable classic queues, with publisher confirms; two connections write
//! and two read, each half of the queues. Nothing makes or looks at what is in the blocks.

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{
        BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};

/// As many bytes as the blocks of a task that writes 16 MiB into as many queues.
const BLOCK_BYTES: u64 = 256 << 10;
const QUEUES: usize = 64;
/// The blocks of one writer that are not confirmed.
const WINDOW: usize = 32;

pub(crate) struct Blocks {
    writers: Vec<Connection>,
    readers: Vec<Connection>,
}

impl Blocks {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let connect = || async { Connection::connect(url, ConnectionProperties::default()).await };
        let writers = vec![connect().await?, connect().await?];
        let readers = vec![connect().await?, connect().await?];
        Ok(Self { writers, readers })
    }

    /// Writes this many bytes, and reads them once all are written.
    pub(crate) async fn write_and_read(&self, bytes: u64) -> Result<()> {
        let channel = self.readers[0].create_channel().await?;
        for queue in 0..QUEUES {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            // As the queues of Phalanx: before 3.12 the broker would keep the blocks in memory.
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-mode".into(), AMQPValue::LongString("lazy".into()));
            channel.queue_declare(name(queue).as_str().into(), options, arguments).await?;
        }
        let blocks = (bytes.div_ceil(BLOCK_BYTES) as usize).next_multiple_of(QUEUES);
        let write = |(number, writer)| write(writer, number, self.writers.len(), blocks);
        try_join_all(self.writers.iter().enumerate().map(write)).await?;
        let read = |(number, reader)| read(reader, number, self.readers.len(), blocks / QUEUES);
        try_join_all(self.readers.iter().enumerate().map(read)).await?;
        for queue in 0..QUEUES {
            channel
                .queue_delete(name(queue).as_str().into(), QueueDeleteOptions::default())
                .await?;
        }
        Ok(())
    }

    pub(crate) async fn end(self) -> Result<()> {
        for connection in self.writers.into_iter().chain(self.readers) {
            // The measurement is over; a connection may have closed with its last channel.
            let _ = connection.close(200, "done".into()).await;
        }
        Ok(())
    }
}

fn name(queue: usize) -> String {
    format!("lapin-bench.blocks.{queue}")
}

async fn write(
    connection: &Connection,
    number: usize,
    writers: usize,
    blocks: usize,
) -> Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = vec![7; BLOCK_BYTES as usize];
    let mut confirms = FuturesUnordered::new();
    for block in (number..blocks).step_by(writers) {
        if confirms.len() >= WINDOW {
            confirmed(confirms.next().await.context("a confirm")??)?;
        }
        confirms.push(publish(&channel, block % QUEUES, &body).await?);
    }
    while let Some(confirm) = confirms.next().await {
        confirmed(confirm?)?;
    }
    Ok(())
}

async fn publish(
    channel: &Channel,
    queue: usize,
    body: &[u8],
) -> Result<impl Future<Output = lapin::Result<Confirmation>> + use<>> {
    let persistent = BasicProperties::default().with_delivery_mode(2);
    let options = BasicPublishOptions::default();
    let queue = name(queue);
    Ok(channel.basic_publish("".into(), queue.as_str().into(), options, body, persistent).await?)
}

/// Reads one queue after the other, without acks.
async fn read(connection: &Connection, number: usize, readers: usize, blocks: usize) -> Result<()> {
    for queue in (number..QUEUES).step_by(readers) {
        let channel = connection.create_channel().await?;
        channel.basic_qos(blocks as u16 + 64, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let (queue, arguments) = (name(queue), FieldTable::default());
        let mut consumer =
            channel.basic_consume(queue.as_str().into(), "".into(), options, arguments).await?;
        let mut read = 0;
        while read < blocks {
            consumer.next().await.context("a block")??;
            read += 1;
        }
        channel.close(200, "done".into()).await?;
    }
    Ok(())
}

fn confirmed(confirmation: Confirmation) -> Result<()> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        other => bail!("the broker did not accept a block: {other:?}"),
    }
}
