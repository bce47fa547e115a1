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

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// The size of a block in bytes.
    pub(crate) block: usize,
    pub(crate) queues: usize,
    /// The blocks of one writer that are not confirmed.
    pub(crate) window: usize,
}

pub(crate) struct Blocks {
    shape: Shape,
    writers: Vec<Connection>,
    readers: Vec<Connection>,
}

impl Blocks {
    pub(crate) async fn start(url: &str, shape: Shape) -> Result<Self> {
        let connect = || async { Connection::connect(url, ConnectionProperties::default()).await };
        let writers = vec![connect().await?, connect().await?];
        let readers = vec![connect().await?, connect().await?];
        Ok(Self { shape, writers, readers })
    }

    /// Writes at least this many blocks, as many into each queue, and reads them once all are
    /// written.
    pub(crate) async fn write_and_read(&self, blocks: u64) -> Result<()> {
        let (shape, queues) = (self.shape, self.shape.queues);
        let channel = self.readers[0].create_channel().await?;
        for queue in 0..queues {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            // As the queues of Phalanx: before 3.12 the broker would keep the blocks in memory.
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-mode".into(), AMQPValue::LongString("lazy".into()));
            channel.queue_declare(name(queue).as_str().into(), options, arguments).await?;
        }
        let blocks = (blocks as usize).next_multiple_of(queues);
        let write = |(number, writer)| write(writer, shape, number, self.writers.len(), blocks);
        try_join_all(self.writers.iter().enumerate().map(write)).await?;
        let read = |(number, reader)| {
            read(reader, (number..queues).step_by(self.readers.len()), blocks / queues)
        };
        try_join_all(self.readers.iter().enumerate().map(read)).await?;
        for queue in 0..queues {
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
    shape: Shape,
    number: usize,
    writers: usize,
    blocks: usize,
) -> Result<()> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let body = vec![7; shape.block];
    let mut confirms = FuturesUnordered::new();
    for block in (number..blocks).step_by(writers) {
        if confirms.len() >= shape.window {
            confirmed(confirms.next().await.context("a confirm")??)?;
        }
        confirms.push(publish(&channel, block % shape.queues, &body).await?);
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
async fn read(
    connection: &Connection,
    queues: impl Iterator<Item = usize>,
    blocks: usize,
) -> Result<()> {
    for queue in queues {
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
