//! Interruptions, expiry, delivery limits and injected faults.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use phalanx_core::{
    broker::{ConsumeOptions, Consumption, Delivery, Pool, Properties, Settle, Topic},
    id::{JobId, LeaderId, WorkerId},
};
use tokio::time::{Instant, advance};

use super::*;

fn tasks() -> QueueSpec {
    QueueSpec::Task { pool: Pool::default() }
}

fn to_tasks() -> Address {
    Address::tasks(&Pool::default())
}

fn message(body: impl Into<Bytes>) -> Message {
    Message { properties: Properties::default(), body: body.into() }
}

async fn delivery(consumer: &mut Box<dyn Consumer>) -> Delivery {
    match consumer.next().await {
        Some(Consumption::Delivery(delivery)) => delivery,
        other => panic!("expected a delivery, got {other:?}"),
    }
}

#[tokio::test]
async fn an_interrupted_consumer_resumes_and_receives_its_unsettled_messages_again() {
    let broker = InMemoryBroker::new();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(4)).await.unwrap();
    for body in ["a", "b", "c"] {
        broker.publish(&to_tasks(), message(body)).await.unwrap();
    }
    delivery(&mut consumer).await.settle(Settle::Ack);
    let held = delivery(&mut consumer).await;

    broker.interrupt();
    let Some(Consumption::Resumed { generation }) = consumer.next().await else {
        panic!("the consumer does not report that it was interrupted")
    };
    assert_eq!(generation, 2);
    assert_eq!(broker.health().borrow().generation, 2);
    let again = delivery(&mut consumer).await;
    assert_eq!((&again.message.body[..], again.redelivered), (&b"b"[..], true));
    let fresh = delivery(&mut consumer).await;
    assert_eq!((&fresh.message.body[..], fresh.redelivered), (&b"c"[..], false));

    // Settling a delivery of the earlier connection does not settle one of the new connection.
    held.settle(Settle::Ack);
    assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 0);
    broker.interrupt();
    assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 2);
    again.settle(Settle::Ack);
    fresh.settle(Settle::Ack);
}

#[tokio::test]
async fn an_exclusive_queue_is_declared_again_after_an_interruption() {
    let broker = InMemoryBroker::new();
    let spec = QueueSpec::control(WorkerId::new());
    let all = Address::control(Topic::AllWorkers);
    let mut consumer = broker.consume(&spec, ConsumeOptions::new(1)).await.unwrap();
    broker.interrupt();
    assert!(!broker.publish_mandatory(&all, message("before")).await.unwrap());
    assert!(matches!(consumer.next().await, Some(Consumption::Resumed { .. })));
    assert!(broker.publish_mandatory(&all, message("after")).await.unwrap());
    let received = delivery(&mut consumer).await;
    assert_eq!(received.message.body, "after");
    received.settle(Settle::Ack);
}

#[tokio::test]
async fn a_deleted_queue_is_declared_again_by_its_consumer() {
    let broker = InMemoryBroker::new();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    broker.connect().delete(&tasks()).await.unwrap();
    assert!(matches!(consumer.next().await, Some(Consumption::Resumed { .. })));
    assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    delivery(&mut consumer).await.settle(Settle::Ack);
}

#[tokio::test(start_paused = true)]
async fn a_reply_queue_expires_only_while_it_has_no_consumer() {
    let broker = InMemoryBroker::new();
    let leader = LeaderId::new();
    let expires = Duration::from_secs(60);
    let spec = QueueSpec::Reply { leader, expires };
    let address = Address::replies(leader);
    let reachable = || broker.publish_mandatory(&address, message("x"));

    let consumer = broker.consume(&spec, ConsumeOptions::new(1)).await.unwrap();
    advance(expires * 2).await;
    assert!(reachable().await.unwrap(), "it has a consumer");
    drop(consumer);
    advance(expires / 2).await;
    assert!(reachable().await.unwrap(), "it has not expired yet");
    broker.declare(&spec).await.unwrap();
    advance(expires / 2).await;
    assert!(reachable().await.unwrap(), "a declaration restarts the expiry");
    advance(expires).await;
    assert!(!reachable().await.unwrap());
    assert_eq!(broker.declare(&spec).await.unwrap().messages, 0, "it is a new queue");
}

#[tokio::test]
async fn a_task_that_is_requeued_too_often_becomes_a_dead_letter() {
    let broker = InMemoryBroker::new();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    broker.publish(&to_tasks(), message("poison")).await.unwrap();
    let mut deliveries = 0;
    while let Some(Consumption::Delivery(delivery)) = consumer.try_next() {
        deliveries += 1;
        delivery.settle(Settle::Requeue);
    }
    assert_eq!(deliveries, 1_001);
    let dead_letters = QueueSpec::Dead { pool: Pool::default() };
    assert_eq!(broker.declare(&dead_letters).await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_broken_connection_leaves_unknown_whether_the_broker_has_the_message() {
    let messages = async |seed| {
        let broker = InMemoryBroker::with_faults(Faults::none(seed).disconnect(1.0));
        broker.declare(&tasks()).await.unwrap();
        let lost = broker.publish(&to_tasks(), message("x")).await;
        assert!(matches!(lost, Err(PublishError::Lost)), "{lost:?}");
        broker.declare(&tasks()).await.unwrap().messages
    };
    let mut seen = [false; 2];
    for seed in 0..64 {
        seen[messages(seed).await as usize] = true;
    }
    assert_eq!(seen, [true, true], "some are queued, some are not");
}

#[tokio::test]
async fn duplicates_reordering_delays_and_broken_connections_lose_no_message() {
    for seed in 0..20 {
        let broker = InMemoryBroker::with_faults(Faults::seeded(seed));
        let publisher = broker.connect();
        let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(8)).await.unwrap();
        let mut unsettled = Vec::new();
        for n in 0u32..200 {
            let body = Bytes::copy_from_slice(&n.to_le_bytes());
            // If the outcome of a publish is unknown, the publisher publishes the message again.
            while publisher.publish(&to_tasks(), message(body.clone())).await.is_err() {}
        }
        let mut seen = BTreeMap::<u32, usize>::new();
        while seen.len() < 200 {
            match consumer.next().await.unwrap() {
                Consumption::Delivery(delivery) => {
                    let n = delivery.message.body[..].try_into().unwrap();
                    *seen.entry(u32::from_le_bytes(n)).or_default() += 1;
                    unsettled.push(delivery);
                    if unsettled.len() == 8 {
                        unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
                    }
                }
                Consumption::Resumed { .. } => {
                    unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
                }
            }
        }
        assert!(seen.values().any(|times| *times > 1), "seed {seed} duplicates nothing");
        unsettled.drain(..).for_each(|held| held.settle(Settle::Ack));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_arrives_within_the_longest_delay() {
    let longest = Duration::from_secs(10);
    let broker = InMemoryBroker::with_faults(Faults::none(1).delay(1.0, longest));
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    let start = Instant::now();
    broker.publish(&to_tasks(), message("late")).await.unwrap();
    assert!(consumer.try_next().is_none());
    delivery(&mut consumer).await.settle(Settle::Ack);
    let waited = start.elapsed();
    assert!(waited > Duration::ZERO && waited <= longest, "{waited:?}");
}

#[tokio::test]
async fn a_lost_message_is_confirmed_all_the_same() {
    let broker = InMemoryBroker::with_faults(Faults::none(1).lose(1.0));
    broker.declare(&tasks()).await.unwrap();
    broker.publish(&to_tasks(), message("x")).await.unwrap();
    assert_eq!(broker.declare(&tasks()).await.unwrap().messages, 0);
}

fn blocks() -> ShuffleQueue {
    ShuffleQueue::Partition { job: JobId::new(), exchange: 0, partition: 3 }
}

async fn check(broker: &InMemoryBroker, queue: ShuffleQueue) -> Result<u64, BrokerError> {
    broker.manage(QueueAction::Check, &[queue]).await.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_blocks_expires_although_it_is_fed_and_its_deliveries_are_unsettled() {
    let (broker, queue) = (InMemoryBroker::new(), blocks());
    broker.manage(QueueAction::Declare, &[queue]).await.remove(0).unwrap();
    let options = ConsumeOptions::new(1).exclusive().passive();
    let mut consumer = broker.consume(&QueueSpec::Shuffle(queue), options).await.unwrap();
    let address = Address::blocks(&queue);
    assert!(broker.publish_mandatory(&address, message("a")).await.unwrap());
    let _held = delivery(&mut consumer).await;
    advance(2 * ShuffleQueue::EXPIRES).await;
    consumer.cancel().await;
    advance(ShuffleQueue::EXPIRES - Duration::from_secs(1)).await;
    assert!(broker.publish_mandatory(&address, message("b")).await.unwrap());
    advance(Duration::from_secs(1)).await;
    assert!(!broker.publish_mandatory(&address, message("c")).await.unwrap());
    let gone = check(&broker, queue).await;
    assert!(matches!(gone, Err(BrokerError::Absent { .. })), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn renewing_a_queue_of_blocks_keeps_it() {
    let (broker, queue) = (InMemoryBroker::new(), blocks());
    broker.manage(QueueAction::Declare, &[queue]).await.remove(0).unwrap();
    assert!(broker.publish_mandatory(&Address::blocks(&queue), message("a")).await.unwrap());
    for action in [QueueAction::Renew, QueueAction::Check, QueueAction::Declare] {
        advance(ShuffleQueue::EXPIRES - Duration::from_secs(1)).await;
        assert_eq!(broker.manage(action, &[queue]).await.remove(0).unwrap(), 1, "{action:?}");
    }
    advance(ShuffleQueue::EXPIRES).await;
    assert!(check(&broker, queue).await.is_err());
}

#[tokio::test]
async fn an_interrupted_passive_consumer_ends_and_leaves_its_messages() {
    let (broker, queue) = (InMemoryBroker::new(), blocks());
    broker.manage(QueueAction::Declare, &[queue]).await.remove(0).unwrap();
    broker.publish(&Address::blocks(&queue), message("a")).await.unwrap();
    let options = ConsumeOptions::new(1).exclusive().passive();
    let mut consumer = broker.consume(&QueueSpec::Shuffle(queue), options).await.unwrap();
    drop(delivery(&mut consumer).await.leave());
    broker.interrupt();
    assert!(consumer.next().await.is_none());
    assert!(matches!(consumer.error(), Some(BrokerError::Lost { .. })), "{:?}", consumer.error());
    assert_eq!(check(&broker, queue).await.unwrap(), 1);
}
