//! Reads one partition from its queue.

use std::{io, pin::pin, sync::Mutex, time::Duration};

use phalanx_core::{
    broker::{
        Broker, BrokerError, ConsumeOptions, Consumer, Consumption, QueueAction, QueueSpec, Settle,
        ShuffleQueue,
    },
    registry::Refusal,
    wire::ReturnReason,
};
use tokio::time::Instant;

use super::{
    collection::{Collection, Read},
    part::unspillable,
};
use crate::lock::lock;

/// How long a queue that another reader has is tried again (rule 35).
const IN_USE_TIMEOUT: Duration = Duration::from_secs(25);
/// After this long without a block, a queue that is empty gets none any more (rule 36).
const BLOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// A gather that gets nothing for this long is given up (rule 38).
const GATHER_TIMEOUT: Duration = Duration::from_secs(60);
/// The pauses before a queue is tried again: each is twice as long as the one before.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];
/// More deliveries than announced, for blocks that do not count.
const SPARE_PREFETCH: u32 = 64;
/// The acknowledgement timeouts without more blocks than before, after which reading is given up.
const ACK_TIMEOUTS: u32 = 2;

/// When a task last got a block, or began to wait for one, from any of its queues.
pub(super) struct LastBlock(Mutex<Instant>);

impl LastBlock {
    pub(super) fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn update(&self) {
        *lock(&self.0) = Instant::now();
    }

    fn age(&self) -> Duration {
        lock(&self.0).elapsed()
    }

    /// Runs `work` to its end; `None` if the task gets no block from any queue for too long.
    ///
    /// As cancel-safe as `work`.
    async fn unless_timed_out<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let left = GATHER_TIMEOUT.saturating_sub(self.age());
            if let Ok(output) = tokio::time::timeout(left, &mut work).await {
                return Some(output);
            }
            if self.age() >= GATHER_TIMEOUT {
                return None;
            }
        }
    }
}

/// Reads all blocks of a partition that count. They stay in the queue: dropping the consumer, at the
/// end at the latest, requeues them.
///
/// # Errors
/// Why the task is to be returned.
pub(super) async fn read<'w>(
    broker: &dyn Broker,
    queue: ShuffleQueue,
    mut collection: Collection<'w>,
    last: &LastBlock,
) -> Result<Collection<'w>, ReturnReason> {
    let prefetch = collection.announced().saturating_add(SPARE_PREFETCH);
    let prefetch = u16::try_from(prefetch).unwrap_or(u16::MAX);
    let options = ConsumeOptions::new(prefetch).exclusive().passive();
    let spec = QueueSpec::Shuffle(queue);
    let (mut pause, mut in_use) = (PAUSES[0], None);
    let (mut timeouts, mut most) = (0, 0);
    loop {
        // While there is no connection, it waits for one.
        let consuming = broker.consume(&spec, options);
        let Some(consuming) = last.unless_timed_out(consuming).await else {
            return Err(ReturnReason::NotStarted);
        };
        let begun = Instant::now();
        let error = match consuming {
            Ok(mut consumer) => {
                in_use = None;
                match receive(broker, queue, &mut *consumer, &mut collection, last).await {
                    Received::All => return Ok(collection),
                    Received::Missing => return Err(missing(&collection)),
                    Received::Unspillable(error) => return Err(unspillable(error)),
                    Received::Ended(error) => error,
                }
            }
            Err(error) => Some(error),
        };
        match error {
            Some(BrokerError::Absent { .. }) => {
                collection.clear();
                return Err(missing(&collection));
            }
            Some(error @ BrokerError::Denied { .. }) => {
                let reason = error.to_string();
                return Err(ReturnReason::Refused(Refusal::Permission { reason }));
            }
            Some(BrokerError::InUse { .. }) => {
                let since = *in_use.get_or_insert_with(Instant::now);
                if since.elapsed() >= IN_USE_TIMEOUT {
                    return Err(ReturnReason::NotStarted);
                }
                // Another reader makes progress, so that this one will.
                last.update();
            }
            Some(BrokerError::AckTimeout { reason, .. }) => {
                timeouts = if collection.found() > most { 1 } else { timeouts + 1 };
                most = most.max(collection.found());
                if timeouts >= ACK_TIMEOUTS {
                    let (partition, bytes) = (collection.partition(), collection.bytes());
                    let elapsed_ms = begun.elapsed().as_millis() as u64;
                    return Err(ReturnReason::AckTimeout { partition, bytes, elapsed_ms, reason });
                }
            }
            Some(BrokerError::Closed) => return Err(ReturnReason::NotStarted),
            other => {
                tracing::debug!(%queue, error = ?other, "could not read a queue; trying again")
            }
        }
        if last.age() >= GATHER_TIMEOUT {
            return Err(ReturnReason::NotStarted);
        }
        // The queue has all blocks back.
        collection.clear();
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(PAUSES[1]);
        let wait = async {
            // Fails if the broker object is gone; then consuming fails too.
            let _ = broker.health().wait_for(|health| health.connected).await;
        };
        if last.unless_timed_out(wait).await.is_none() {
            return Err(ReturnReason::NotStarted);
        }
    }
}

enum Received {
    All,
    /// Fewer, and the queue is empty.
    Missing,
    /// They need more memory than there is, and cannot be written to disk.
    Unspillable(io::Error),
    /// The consumer has ended, or gets nothing of what is in the queue.
    Ended(Option<BrokerError>),
}

async fn receive(
    broker: &dyn Broker,
    queue: ShuffleQueue,
    consumer: &mut dyn Consumer,
    collection: &mut Collection<'_>,
    last: &LastBlock,
) -> Received {
    while !collection.is_complete() {
        match tokio::time::timeout(BLOCK_TIMEOUT, consumer.next()).await {
            Err(_) => {
                let check = broker.manage(QueueAction::Check, std::slice::from_ref(&queue));
                match last.unless_timed_out(check).await.as_deref() {
                    Some([Ok(0)]) => return Received::Missing,
                    Some([Err(error)]) => return Received::Ended(Some(error.clone())),
                    // It is slow.
                    _ if last.age() < GATHER_TIMEOUT => {}
                    _ => return Received::Ended(None),
                }
            }
            Ok(None) => return Received::Ended(consumer.error()),
            Ok(Some(Consumption::Resumed { .. })) => {}
            Ok(Some(Consumption::Delivery(delivery))) => {
                last.update();
                match collection.read(&delivery.message.body) {
                    Read::Counts => drop(delivery.leave()),
                    Read::Never => delivery.settle(Settle::Ack),
                }
                if let Err(error) = collection.spill().await {
                    return Received::Unspillable(error);
                }
            }
        }
    }
    Received::All
}

fn missing(collection: &Collection<'_>) -> ReturnReason {
    ReturnReason::BlocksMissing {
        partition: collection.partition(),
        announced: collection.announced(),
        found: collection.found(),
    }
}
