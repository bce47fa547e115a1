//! Dead letters on their way to the broker (rule 25). No job waits for them.

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
        Address, Broker, BrokerError, Exchange, Message, MessageKind, Pool, Properties,
        PublishError, QueueSpec,
    },
    id::{DeadLetterId, LeaderId},
    wire::{DeadLetter, DeadLetterHeader, WIRE_VERSION, WireError},
};

/// A larger element is left out of its letter.
const MAX_PAYLOAD: usize = 1 << 20;
/// Letters that the broker has not confirmed, at most; further ones are only counted. A letter takes
/// one place for each begun [`PLACE`] of its element, so that their bytes are bounded too.
const PLACES: usize = 256;
const PLACE: usize = 64 << 10;
/// How long to wait before a letter that the broker did not take is published again.
const AGAIN: Duration = Duration::from_secs(1);

/// Dead letters on their way to the broker.
pub(crate) struct DeadLetterWriter {
    sender: Arc<Sender>,
    room: Arc<Semaphore>,
    /// One task for each letter that is on its way.
    publishing: JoinSet<()>,
    /// Letters that were not written for want of room.
    dropped: u64,
}

/// What all letters share.
struct Sender {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    /// The queues of this connection: a letter for a queue that does not exist would vanish.
    declared: Mutex<HashMap<Pool, Arc<OnceCell<()>>>>,
    /// Pools whose letters the broker does not take.
    refused: Mutex<HashSet<Pool>>,
}

impl DeadLetterWriter {
    pub(crate) fn new(broker: Arc<dyn Broker>, leader: LeaderId) -> Self {
        let (declared, refused) = (Mutex::default(), Mutex::default());
        Self {
            sender: Arc::new(Sender { broker, leader, declared, refused }),
            room: Arc::new(Semaphore::new(PLACES)),
            publishing: JoinSet::new(),
            dropped: 0,
        }
    }

    /// Writes a letter about an element, and sends it when the broker takes it.
    pub(crate) fn write(&mut self, element: DeadElement) {
        while self.publishing.try_join_next().is_some() {}
        if lock(&self.sender.refused).contains(&element.pool) {
            return;
        }
        let letter = letter(self.sender.leader, element);
        let places = 1 + letter.payload.len() / PLACE;
        let room = Arc::clone(&self.room).try_acquire_many_owned(places as u32);
        let Ok(room) = room else {
            if self.dropped == 0 {
                tracing::warn!(job = %letter.header.error.job, "more elements fail than letters can be written about");
            }
            self.dropped += 1;
            return;
        };
        let sender = Arc::clone(&self.sender);
        self.publishing.spawn(async move {
            sender.send(letter).await;
            drop(room);
        });
    }

    /// Queues may have gone with the connection.
    pub(crate) fn reconnected(&mut self) {
        lock(&self.sender.declared).clear();
        lock(&self.sender.refused).clear();
    }

    /// Resolves when nothing is on its way any more.
    pub(crate) async fn flush(&mut self) {
        while self.publishing.join_next().await.is_some() {}
        if self.dropped > 0 {
            tracing::warn!(letters = self.dropped, "dead letters were not written");
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
                    tokio::time::sleep(AGAIN).await;
                }
                Err(PublishError::TooLarge { .. }) if !letter.header.left_out => {
                    letter = letter.without_payload();
                }
                Err(PublishError::Closed) => return,
                Err(error) => {
                    if lock(&self.refused).insert(pool.clone()) {
                        tracing::warn!(%pool, %error, "no dead letters are written for this pool");
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
        let address = Address::new(Exchange::Dead, pool.as_str());
        self.broker.publish(&address, message).await
    }

    /// A queue that this leader may neither declare nor see may be there all the same.
    async fn declare(&self, pool: &Pool) -> Result<(), PublishError> {
        match self.broker.declare(&QueueSpec::Dead { pool: pool.clone() }).await {
            Ok(_) => Ok(()),
            Err(error @ (BrokerError::Denied { .. } | BrokerError::Unusable { .. })) => {
                tracing::warn!(%pool, %error, "dead letters of this pool may be lost");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn letter(leader: LeaderId, element: DeadElement) -> DeadLetter {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let DeadElement { pool, steps, payload, lengths, error } = element;
    let header = DeadLetterHeader {
        id: DeadLetterId::new(),
        written_ms: now.as_millis() as u64,
        leader,
        pool,
        error,
        steps,
        lengths,
        left_out: false,
    };
    if payload.len() > MAX_PAYLOAD {
        return DeadLetter { header, payload: Bytes::new() }.without_payload();
    }
    // A copy: the batch that it is a slice of is much larger.
    DeadLetter { header, payload: Bytes::copy_from_slice(&payload) }
}

/// What a person sees in the broker's own user interface is in the headers.
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

/// What is behind it is whole after a panic, too: nothing is done to it but look-ups.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
