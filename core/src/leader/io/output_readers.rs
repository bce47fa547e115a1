//! Reads the queues of tasks whose outputs were more than fit into results.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use super::output_blocks::OutputBlocks;
use crate::{
    broker::{
        Broker, BrokerError, ConsumeOptions, Consumer, Consumption, QueueAction, QueueSpec, Settle,
        ShuffleQueue,
    },
    id::{ExecutionId, JobId, TaskNumber},
    leader::engine::{Input, OutputsError},
};

/// The blocks that a reader has in memory before they are asked for.
const PREFETCH: u16 = 1;
/// After this long without a block, the broker is asked whether the queue has any.
const BLOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// A queue that was empty this often in a row gets no block any more.
const EMPTY_TIMES: u32 = 2;
/// The pauses before a queue is tried again: each is twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// The readers of the queues of a leader. The engine asks for one block of a job at a time.
pub(super) struct OutputReaders {
    broker: Arc<dyn Broker>,
    /// Those that wait until they are asked, by task.
    idle: HashMap<TaskNumber, OutputReader>,
    /// Cancelled with their jobs.
    jobs: HashMap<JobId, CancellationToken>,
    in_flight: FuturesUnordered<BoxFuture<'static, Option<(OutputReader, Block)>>>,
}

/// A block, or why there is none.
type Block = Result<(u32, Bytes), OutputsError>;

/// The reader of one queue, which keeps it for itself until all is read.
struct OutputReader {
    job: JobId,
    task: TaskNumber,
    blocks: OutputBlocks,
    /// `None` before the first block, and while there is no connection.
    consumer: Option<Box<dyn Consumer>>,
}

impl OutputReaders {
    pub(super) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            idle: HashMap::new(),
            jobs: HashMap::new(),
            in_flight: FuturesUnordered::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The next block, as an input for the engine; `None` once nothing is under way.
    ///
    /// Cancel-safe: what is under way stays so when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            if let Some((reader, block)) = self.in_flight.next().await? {
                let (job, task) = (reader.job, reader.task);
                // Its job may have ended when it was done already.
                if self.jobs.contains_key(&job) {
                    self.idle.insert(task, reader);
                }
                return Some(Input::OutputsRead { job, task, block });
            }
        }
    }

    /// Reads the next block of an execution, which has written this many.
    pub(super) fn read(
        &mut self,
        job: JobId,
        task: TaskNumber,
        (execution, blocks): (ExecutionId, u32),
    ) {
        let mut reader = self.idle.remove(&task).unwrap_or_else(|| OutputReader {
            job,
            task,
            blocks: OutputBlocks::new(job, task, execution, blocks),
            consumer: None,
        });
        let (broker, over) = (Arc::clone(&self.broker), self.jobs.entry(job).or_default().clone());
        self.in_flight.push(Box::pin(async move {
            let block = over.run_until_cancelled(reader.read(&*broker)).await?;
            Some((reader, block))
        }));
    }

    /// A queue is deleted: nobody reads it any more.
    pub(super) fn close(&mut self, task: TaskNumber) {
        self.idle.remove(&task);
    }

    /// The end of a job.
    pub(super) fn end(&mut self, job: JobId) {
        if let Some(over) = self.jobs.remove(&job) {
            over.cancel();
            self.idle.retain(|_, reader| reader.job != job);
        }
    }
}

/// What has come from a queue.
enum Received {
    /// A message, which may be the block that is next.
    Message,
    /// Nothing for a while, although this many messages wait in the queue.
    Nothing { waiting: u64 },
    /// The consumer has ended, or the queue cannot be consumed from.
    Ended(Option<BrokerError>),
}

impl OutputReader {
    /// The next block. A lost connection is waited for.
    ///
    /// Not cancel-safe: the reader is then of no use.
    async fn read(&mut self, broker: &dyn Broker) -> Block {
        let (mut pause, mut empty) = (PAUSES[0], 0);
        loop {
            if let Some(block) = self.blocks.take() {
                return Ok(block);
            }
            let error = match self.receive(broker).await {
                Received::Message if self.blocks.lacks_next() => return Err(OutputsError::Lost),
                Received::Message => {
                    (pause, empty) = (PAUSES[0], 0);
                    continue;
                }
                Received::Nothing { waiting: 0 } if empty + 1 >= EMPTY_TIMES => {
                    return Err(OutputsError::Lost);
                }
                Received::Nothing { waiting } => {
                    empty = if waiting == 0 { empty + 1 } else { 0 };
                    continue;
                }
                Received::Ended(error) => error,
            };
            self.consumer = None;
            match error {
                Some(BrokerError::Absent { .. }) => return Err(OutputsError::Lost),
                Some(error @ (BrokerError::Denied { .. } | BrokerError::Unusable { .. })) => {
                    return Err(OutputsError::Refused(error));
                }
                other => {
                    let (job, task) = (self.job, self.task);
                    tracing::debug!(%job, %task, error = ?other, "could not read outputs; trying again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSES[1]);
            // Fails if the broker object is gone; then consuming fails too.
            let _ = broker.health().wait_for(|health| health.connected).await;
        }
    }

    /// Takes a message from the queue, if one comes soon.
    async fn receive(&mut self, broker: &dyn Broker) -> Received {
        let queue = ShuffleQueue::Output { job: self.job, task: self.task };
        let consumer = match &mut self.consumer {
            Some(consumer) => consumer,
            None => {
                let options = ConsumeOptions::new(PREFETCH).exclusive().passive();
                match broker.consume(&QueueSpec::Shuffle(queue), options).await {
                    Ok(consumer) => self.consumer.insert(consumer),
                    Err(error) => return Received::Ended(Some(error)),
                }
            }
        };
        loop {
            match tokio::time::timeout(BLOCK_TIMEOUT, consumer.next()).await {
                Ok(Some(Consumption::Delivery(delivery))) => {
                    self.blocks.add(&delivery.message.body);
                    // What is lost with this leader, nobody waits for. An ack that is lost brings a
                    // second copy.
                    delivery.settle(Settle::Ack);
                    return Received::Message;
                }
                Ok(Some(Consumption::Resumed { .. })) => {}
                Ok(None) => return Received::Ended(consumer.error()),
                Err(_) => {
                    return match broker.manage(QueueAction::Check, &[queue]).await.pop() {
                        Some(Ok(waiting)) => Received::Nothing { waiting },
                        Some(Err(error)) => Received::Ended(Some(error)),
                        None => Received::Ended(None),
                    };
                }
            }
        }
    }
}
