//! Writes dead letters to the broker (rule 25). Jobs do not wait for them.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{
    sync::{OnceCell, Semaphore},
    task::JoinSet,
};

use super::DeadElement;
use crate::{
    broker::{
        Address, Broker, BrokerError, Message, MessageKind, Pool, Properties, PublishError,
        QueueSpec,
    },
    id::{DeadLetterId, LeaderId},
    wire::{DeadLetter, DeadLetterHeader, WIRE_VERSION, WireError},
};

/// The largest element, in bytes, that is kept in its dead letter.
const MAX_PAYLOAD: usize = 1 << 20;
/// The permits for unconfirmed dead letters. Each dead letter takes one, and one more for each
/// [`BYTES_PER_PERMIT`] of its element, so that their bytes are bounded, too. Without permits, a
/// dead letter is dropped and counted.
const PERMITS: usize = 256;
const BYTES_PER_PERMIT: usize = 64 << 10;
/// The delay before a dead letter that the broker did not take is published again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Writes dead letters to the broker, in the background.
pub(crate) struct DeadLetterWriter {
    sender: Arc<Sender>,
    permits: Arc<Semaphore>,
    /// One task for each dead letter that is not confirmed yet.
    publishing: JoinSet<()>,
    /// The dead letters that were not written for lack of permits.
    dropped: u64,
}

/// Publishes dead letters; shared by the tasks of a writer.
struct Sender {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    /// The queues that were declared over this connection: the broker drops messages to a queue
    /// that does not exist.
    declared: Mutex<HashMap<Pool, Arc<OnceCell<()>>>>,
    /// The pools whose dead letters the broker refuses.
    refused: Mutex<HashSet<Pool>>,
}

impl DeadLetterWriter {
    pub(crate) fn new(broker: Arc<dyn Broker>, leader: LeaderId) -> Self {
        let (declared, refused) = (Mutex::default(), Mutex::default());
        Self {
            sender: Arc::new(Sender { broker, leader, declared, refused }),
            permits: Arc::new(Semaphore::new(PERMITS)),
            publishing: JoinSet::new(),
            dropped: 0,
        }
    }

    /// Starts to write a dead letter. Does nothing if the broker refuses the pool's dead letters.
    pub(crate) fn write(&mut self, element: DeadElement) {
        while self.publishing.try_join_next().is_some() {}
        if lock(&self.sender.refused).contains(&element.pool) {
            return;
        }
        let letter = letter(self.sender.leader, element);
        let permits = 1 + letter.payload.len() / BYTES_PER_PERMIT;
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(permits as u32);
        let Ok(permit) = permit else {
            if self.dropped == 0 {
                let job = letter.header.error.job;
                tracing::warn!(
                    %job,
                    "elements fail faster than dead letters are written; dropping some"
                );
            }
            self.dropped += 1;
            return;
        };
        let sender = Arc::clone(&self.sender);
        self.publishing.spawn(async move {
            sender.send(letter).await;
            drop(permit);
        });
    }

    /// Discards the list of declared queues: they may have been deleted while the connection was
    /// lost.
    pub(crate) fn reconnected(&mut self) {
        lock(&self.sender.declared).clear();
        lock(&self.sender.refused).clear();
    }

    /// Resolves when all dead letters are confirmed or dropped.
    pub(crate) async fn flush(&mut self) {
        while self.publishing.join_next().await.is_some() {}
        if self.dropped > 0 {
            tracing::warn!(count = self.dropped, "dead letters were dropped");
        }
    }
}

impl Sender {
    async fn send(&self, mut letter: DeadLetter) {
        let pool = letter.header.pool.clone();
        loop {
            match self.publish(&letter).await {
                Ok(()) => return,
                Err(PublishError::Lost | PublishError::Nacked { .. }) => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(PublishError::TooLarge { .. }) if letter.header.left_out.is_none() => {
                    letter = letter.without_payload();
                }
                Err(PublishError::Closed) => return,
                Err(error) => {
                    if lock(&self.refused).insert(pool.clone()) {
                        tracing::warn!(
                            %pool, %error,
                            "the broker refuses dead letters; dropping them"
                        );
                    }
                    return;
                }
            }
        }
    }

    async fn publish(&self, letter: &DeadLetter) -> Result<(), PublishError> {
        let pool = &letter.header.pool;
        let message =
            message(letter).map_err(|error| PublishError::Refused { reason: error.to_string() })?;
        let declared = Arc::clone(lock(&self.declared).entry(pool.clone()).or_default());
        declared.get_or_try_init(|| self.declare(pool)).await?;
        let address = Address::dead_letters(pool);
        self.broker.publish(&address, message).await
    }

    /// Declares the queue of a pool. If the user lacks the permission, the queue may exist
    /// nevertheless.
    async fn declare(&self, pool: &Pool) -> Result<(), PublishError> {
        match self.broker.declare(&QueueSpec::Dead { pool: pool.clone() }).await {
            Ok(_) => Ok(()),
            Err(error @ (BrokerError::Denied { .. } | BrokerError::Unusable { .. })) => {
                tracing::warn!(
                    %pool, %error,
                    "cannot declare the dead-letter queue; dead letters may be lost"
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn letter(leader: LeaderId, element: DeadElement) -> DeadLetter {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let DeadElement { pool, steps, payload, lengths, left_out, error } = element;
    let header = DeadLetterHeader {
        id: DeadLetterId::new(),
        written_ms: now.as_millis() as u64,
        leader,
        pool,
        error,
        steps,
        lengths,
        left_out,
    };
    if payload.len() > MAX_PAYLOAD {
        return DeadLetter { header, payload: Bytes::new() }.without_payload();
    }
    // Copied: a slice would keep the whole batch in memory.
    DeadLetter { header, payload: Bytes::copy_from_slice(&payload) }
}

/// The message of a dead letter; its headers are readable in the management UI of RabbitMQ.
fn message(letter: &DeadLetter) -> Result<Message, WireError> {
    let (id, error) = (letter.header.id, &letter.header.error);
    let mut headers = vec![
        ("dead-letter".to_owned(), id.to_string()),
        ("job".to_owned(), error.job.to_string()),
        ("stage".to_owned(), error.stage.to_string()),
        ("index".to_owned(), error.index.to_string()),
        ("operation".to_owned(), error.operation.clone()),
        ("tries".to_owned(), error.tries.to_string()),
        ("error".to_owned(), error.error.to_string()),
    ];
    headers.extend(error.group.as_ref().map(|group| ("group".to_owned(), group.to_string())));
    headers.extend(error.worker.map(|worker| ("worker".to_owned(), worker.to_string())));
    let properties = Properties {
        kind: Some(MessageKind::DeadLetter),
        wire_version: WIRE_VERSION,
        reply_to: None,
        copy: Some(error.copy),
        persistent: true,
        headers,
    };
    Ok(Message { properties, body: letter.encode()? })
}

/// Safe to ignore poisoning: holders only perform single map operations.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
