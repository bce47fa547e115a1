//! Tests with a broker that confirms on demand.

use std::collections::VecDeque;

use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use super::*;
use crate::{
    broker::{BrokerUrl, Consumer, DeclaredQueue, Health},
    error::ExecuteError,
    id::{CopyId, JobId, TaskNumber},
    operation::OperationError,
};

/// Confirms as many messages as it has permits, and refuses the next ones with the given errors.
#[derive(Debug)]
struct Slow {
    url: BrokerUrl,
    allowed: Semaphore,
    refusals: Mutex<VecDeque<PublishError>>,
    taken: Mutex<Vec<DeadLetter>>,
}

impl Slow {
    fn new(allowed: usize, refusals: impl IntoIterator<Item = PublishError>) -> Arc<Self> {
        Arc::new(Self {
            url: BrokerUrl::memory(),
            allowed: Semaphore::new(allowed),
            refusals: Mutex::new(refusals.into_iter().collect()),
            taken: Mutex::default(),
        })
    }

    fn indexes(&self) -> Vec<u64> {
        lock(&self.taken).iter().map(|letter| letter.header.error.index).collect()
    }
}

#[async_trait]
impl Broker for Slow {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, _queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        Ok(DeclaredQueue::default())
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        assert_eq!((address.exchange, &address.key[..]), (Exchange::Dead, Pool::DEFAULT));
        self.allowed.acquire().await.unwrap().forget();
        if let Some(error) = lock(&self.refusals).pop_front() {
            return Err(error);
        }
        lock(&self.taken).push(DeadLetter::decode(&message.body).unwrap());
        Ok(())
    }

    async fn publish_mandatory(&self, _: &Address, _: Message) -> Result<bool, PublishError> {
        Err(PublishError::Closed)
    }

    async fn consume(&self, _: &QueueSpec, _: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn delete(&self, _: &QueueSpec) -> Result<(), BrokerError> {
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::channel(Health::default()).1
    }

    async fn close(&self) {}
}

fn letters(broker: &Arc<Slow>) -> DeadLetterWriter {
    let broker: Arc<dyn Broker> = broker.clone();
    DeadLetterWriter::new(broker, LeaderId(Uuid::nil()))
}

fn element(index: u64, size: usize) -> DeadElement {
    let error = ExecuteError {
        job: JobId(Uuid::nil()),
        operation: "ops::Fail".to_owned(),
        stage: 0,
        index,
        copy: CopyId::new(TaskNumber(1), 1),
        tries: 1,
        worker: None,
        error: OperationError::fatal("no luck"),
    };
    DeadElement {
        pool: Pool::default(),
        steps: Vec::new(),
        payload: vec![7; size].into(),
        lengths: vec![size as u32],
        error,
    }
}

#[tokio::test]
async fn writing_does_not_wait_for_the_broker_and_unconfirmed_dead_letters_are_bounded() {
    let broker = Slow::new(0, []);
    let mut letters = letters(&broker);
    for index in 0..300 {
        letters.write(element(index, 10));
    }
    assert_eq!(letters.dropped, 300 - PERMITS as u64);
    broker.allowed.add_permits(1_000);
    letters.flush().await;
    assert_eq!(broker.indexes().len(), PERMITS);
    letters.write(element(7_000, 10));
    letters.flush().await;
    assert_eq!(broker.indexes().last(), Some(&7_000), "permits are released");
}

#[tokio::test]
async fn the_bytes_of_unconfirmed_dead_letters_are_bounded() {
    let broker = Slow::new(0, []);
    let mut letters = letters(&broker);
    for index in 0..100 {
        letters.write(element(index, MAX_PAYLOAD));
    }
    let on_their_way = letters.publishing.len();
    assert!(on_their_way * MAX_PAYLOAD <= PERMITS * BYTES_PER_PERMIT, "{on_their_way}");
    assert!(on_their_way > 10, "{on_their_way}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_published_again_until_the_broker_confirms_it() {
    let nacked = PublishError::Nacked { reason: "full".to_owned() };
    let broker = Slow::new(9, [PublishError::Lost, nacked, PublishError::Lost]);
    let mut letters = letters(&broker);
    letters.write(element(1, 10));
    letters.flush().await;
    assert_eq!(broker.indexes(), [1]);
}

#[tokio::test]
async fn a_dead_letter_that_is_too_large_is_written_without_its_element() {
    let broker = Slow::new(9, [PublishError::TooLarge { size: 2_000, limit: 1_000 }]);
    let mut letters = letters(&broker);
    letters.write(element(1, 2_000));
    letters.flush().await;
    letters.write(element(2, MAX_PAYLOAD + 1));
    letters.flush().await;
    let taken = lock(&broker.taken);
    let kept: Vec<_> = taken
        .iter()
        .map(|letter| (letter.header.left_out, letter.payload.len(), letter.header.size()))
        .collect();
    assert_eq!(kept, [(true, 0, 2_000), (true, 0, MAX_PAYLOAD as u64 + 1)]);
}

#[tokio::test]
async fn no_more_dead_letters_are_written_after_a_refusal_until_the_next_connection() {
    let broker = Slow::new(9, [PublishError::Refused { reason: "no".to_owned() }]);
    let mut letters = letters(&broker);
    for (index, reconnects) in [(1, false), (2, true), (3, false)] {
        letters.write(element(index, 10));
        letters.flush().await;
        if reconnects {
            letters.reconnected();
        }
    }
    assert_eq!(broker.indexes(), [3]);
}
