//! Against a broker that confirms when it is told to.

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

/// Takes as many letters as it is allowed to, and refuses as it is told to.
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
async fn writing_waits_for_no_broker_and_no_more_than_so_many_are_on_their_way() {
    let broker = Slow::new(0, []);
    let mut letters = letters(&broker);
    for index in 0..300 {
        letters.write(element(index, 10));
    }
    assert_eq!(letters.dropped, 300 - PLACES as u64);
    broker.allowed.add_permits(1_000);
    letters.flush().await;
    assert_eq!(broker.indexes().len(), PLACES);
    letters.write(element(7_000, 10));
    letters.flush().await;
    assert_eq!(broker.indexes().last(), Some(&7_000), "there is room again");
}

#[tokio::test]
async fn the_bytes_on_their_way_are_bounded_too() {
    let broker = Slow::new(0, []);
    let mut letters = letters(&broker);
    for index in 0..100 {
        letters.write(element(index, MAX_PAYLOAD));
    }
    let on_their_way = letters.publishing.len();
    assert!(on_their_way * MAX_PAYLOAD <= PLACES * PLACE, "{on_their_way}");
    assert!(on_their_way > 10, "{on_their_way}");
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_published_again_until_the_broker_has_it() {
    let nacked = PublishError::Nacked { reason: "full".to_owned() };
    let broker = Slow::new(9, [PublishError::Lost, nacked, PublishError::Lost]);
    let mut letters = letters(&broker);
    letters.write(element(1, 10));
    letters.flush().await;
    assert_eq!(broker.indexes(), [1]);
}

#[tokio::test]
async fn what_is_too_large_for_us_or_for_the_broker_goes_without_its_element() {
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
async fn who_is_refused_writes_no_more_until_the_connection_is_another() {
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
