//! Each message wakes a consumer that can take it.

use std::sync::Arc;

use bytes::Bytes;
use futures::{future::join_all, poll};
use phalanx_conformance::soon;
use phalanx_core::broker::{
    Address, Broker, ConsumeOptions, Consumer, Consumption, Message, Pool, Properties, QueueSpec,
    Settle,
};
use phalanx_inmemory::InMemoryBroker;
use tokio::sync::Barrier;

fn to_tasks() -> Address {
    Address::tasks(&Pool::default())
}

fn message() -> Message {
    Message { properties: Properties::default(), body: Bytes::from_static(b"x") }
}

async fn consume(broker: &InMemoryBroker) -> Box<dyn Consumer> {
    broker
        .consume(&QueueSpec::Task { pool: Pool::default() }, ConsumeOptions::new(1))
        .await
        .unwrap()
}

/// No consumer settles before each has a message: one that is not woken blocks all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_message_wakes_a_consumer_of_its_own() {
    const ROUNDS: usize = 3_000;
    const CONSUMERS: usize = 4;
    let broker = Arc::new(InMemoryBroker::new());
    let barrier = Arc::new(Barrier::new(CONSUMERS + 1));
    let mut consumers = Vec::new();
    for _ in 0..CONSUMERS {
        let mut consumer = consume(&broker).await;
        let barrier = barrier.clone();
        consumers.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                let Some(Consumption::Delivery(delivery)) = consumer.next().await else { return };
                barrier.wait().await;
                delivery.settle(Settle::Ack);
            }
        }));
    }
    soon("all rounds", async {
        for _ in 0..ROUNDS {
            let publishers = (0..CONSUMERS).map(|_| {
                let broker = broker.clone();
                tokio::spawn(async move { broker.publish(&to_tasks(), message()).await.unwrap() })
            });
            join_all(publishers).await;
            barrier.wait().await;
        }
        join_all(consumers).await;
    })
    .await;
}

/// As in a `select!` in which another branch completes just when a message arrives.
#[tokio::test]
async fn a_woken_consumer_that_stops_waiting_wakes_another() {
    let broker = InMemoryBroker::new();
    let (mut one, mut two) = (consume(&broker).await, consume(&broker).await);
    let (mut first, mut second) = (one.next(), two.next());
    assert!(poll!(&mut first).is_pending());
    assert!(poll!(&mut second).is_pending());
    broker.publish(&to_tasks(), message()).await.unwrap();
    drop(first);
    let Some(Consumption::Delivery(delivery)) = soon("the other consumer", second).await else {
        panic!("expected a delivery")
    };
    delivery.settle(Settle::Ack);
}

/// A message that a lost connection held wakes a consumer as a new message does.
#[tokio::test]
async fn a_message_that_a_lost_consumer_held_wakes_another_consumer() {
    let broker = InMemoryBroker::new();
    let dying = broker.connect();
    let mut consumer = consume(&dying).await;
    broker.publish(&to_tasks(), message()).await.unwrap();
    let held = consumer.next().await;
    let mut living = consume(&broker).await;
    let mut next = living.next();
    assert!(poll!(&mut next).is_pending());
    dying.close().await;
    let Some(Consumption::Delivery(again)) = soon("the other consumer", next).await else {
        panic!("expected a delivery")
    };
    assert!(again.redelivered);
    again.settle(Settle::Ack);
    drop(held);
}
