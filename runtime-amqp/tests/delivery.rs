//! Publishing, consuming and settling on a real broker.

mod common;

use std::sync::Arc;

use common::*;
use futures::{StreamExt, stream::FuturesUnordered};
use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumption, Exchange, Pool, PublishError, QueueSpec,
        Role, Settle,
    },
    id::{CopyId, LeaderId, TaskNumber, WorkerId},
};

#[tokio::test]
async fn a_message_arrives_as_it_was_sent() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    let mut sent = message("body");
    sent.properties.reply_to = Some(LeaderId::new());
    sent.properties.copy = Some(CopyId::new(TaskNumber(7), 1));
    sent.properties.headers = vec![("job".to_owned(), "j".to_owned())];
    broker.publish(&to_tasks(), sent.clone()).await.unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(10)).await.unwrap();
    let delivery = delivery(&mut *consumer).await;
    assert!(!delivery.redelivered);
    assert_eq!(delivery.message.properties, sent.properties);
    assert_eq!(delivery.message.body, sent.body);
    delivery.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn acks_before_a_close_reach_the_broker() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    for number in 0..100u8 {
        broker.publish(&to_tasks(), message([number])).await.unwrap();
    }
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(100)).await.unwrap();
    for _ in 0..99 {
        delivery(&mut *consumer).await.settle(Settle::Ack);
    }
    let unsettled = delivery(&mut *consumer).await;
    broker.close().await;
    assert!(consumer.next().await.is_none());
    unsettled.settle(Settle::Ack); // Without effect: its channel is gone.

    let again = connect_to(&test_url(), &scratch.0, Role::Worker).await.unwrap();
    let mut consumer = again.consume(&tasks(), ConsumeOptions::new(10)).await.unwrap();
    let last = delivery(&mut *consumer).await;
    assert_eq!(last.message.body.as_ref(), [99]);
    assert!(last.redelivered);
    last.settle(Settle::Ack);
    again.close().await;
    let third = connect_to(&test_url(), &scratch.0, Role::Worker).await.unwrap();
    assert_eq!(third.declare(&tasks()).await.unwrap().messages, 0);
    third.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_rejected_task_becomes_a_dead_letter() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    broker.publish(&to_tasks(), message("poison")).await.unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    delivery(&mut *consumer).await.settle(Settle::Reject);
    let dead_letters = QueueSpec::Dead { pool: Pool::default() };
    let mut dead_letters = broker.consume(&dead_letters, ConsumeOptions::new(1)).await.unwrap();
    let delivery = delivery(&mut *dead_letters).await;
    assert_eq!(delivery.message.body.as_ref(), b"poison");
    delivery.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_requeued_or_dropped_delivery_is_redelivered_and_flagged() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    broker.publish(&to_tasks(), message("x")).await.unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    delivery(&mut *consumer).await.settle(Settle::Requeue);
    let second = delivery(&mut *consumer).await;
    assert!(second.redelivered);
    drop(second);
    let third = delivery(&mut *consumer).await;
    assert!(third.redelivered);
    third.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn the_prefetch_bounds_unsettled_deliveries_and_can_change() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    for number in 0..20u8 {
        broker.publish(&to_tasks(), message([number])).await.unwrap();
    }
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(2)).await.unwrap();
    let mut unsettled = vec![delivery(&mut *consumer).await, delivery(&mut *consumer).await];
    // A broker that sends a third delivery does so before it replies to a later request.
    broker.declare(&tasks()).await.unwrap();
    assert!(consumer.try_next().is_none());
    consumer.set_prefetch(5).await;
    while unsettled.len() < 5 {
        unsettled.push(delivery(&mut *consumer).await);
    }
    broker.declare(&tasks()).await.unwrap();
    assert!(consumer.try_next().is_none());
    // Lower than the number of unsettled deliveries: those beyond it make no room for others.
    consumer.set_prefetch(2).await;
    unsettled.drain(2..).for_each(|delivery| delivery.settle(Settle::Ack));
    broker.declare(&tasks()).await.unwrap();
    assert!(consumer.try_next().is_none());
    unsettled.remove(0).settle(Settle::Ack);
    unsettled.push(delivery(&mut *consumer).await);
    unsettled.remove(0).settle(Settle::Ack);
    unsettled.push(delivery(&mut *consumer).await);
    let bodies: Vec<u8> = unsettled.iter().map(|delivery| delivery.message.body[0]).collect();
    assert_eq!(bodies, [5, 6]);
    unsettled.into_iter().rev().for_each(|delivery| delivery.settle(Settle::Ack));
    for _ in 7..20 {
        delivery(&mut *consumer).await.settle(Settle::Ack);
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_cancelled_consumer_yields_what_it_has_and_then_ends() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    for number in 0..4u8 {
        broker.publish(&to_tasks(), message([number])).await.unwrap();
    }
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(4)).await.unwrap();
    let first = delivery(&mut *consumer).await;
    soon("the cancellation", consumer.cancel()).await;
    let mut rest = 0;
    while let Some(consumption) = soon("the rest", consumer.next()).await {
        let Consumption::Delivery(delivery) = consumption else { panic!("{consumption:?}") };
        delivery.settle(Settle::Ack);
        rest += 1;
    }
    assert!(rest <= 3);
    first.settle(Settle::Ack);
    drop(consumer);
    let mut others = broker.consume(&tasks(), ConsumeOptions::new(4)).await.unwrap();
    for _ in rest..3 {
        delivery(&mut *others).await.settle(Settle::Ack);
    }
    broker.close().await;
    assert!(matches!(broker.publish(&to_tasks(), message("x")).await, Err(PublishError::Closed)));
    let again = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();
    assert_eq!(again.declare(&tasks()).await.unwrap().messages, 0);
    again.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_mandatory_publish_returns_whether_a_queue_got_the_message() {
    let (broker, scratch) = connect().await;
    assert!(!broker.publish_mandatory(&to_tasks(), message("probe")).await.unwrap());
    // Unroutable and not mandatory: confirmed and dropped.
    broker.publish(&to_tasks(), message("lost")).await.unwrap();
    broker.declare(&tasks()).await.unwrap();
    let many: Vec<bool> = futures::future::try_join_all((0..50).map(|number| {
        let pool =
            Pool::new(if number % 2 == 0 { Pool::DEFAULT } else { "without-queue" }).unwrap();
        let (broker, address) = (&broker, Address::tasks(&pool));
        async move { broker.publish_mandatory(&address, message("probe")).await }
    }))
    .await
    .unwrap();
    assert!(
        many.iter().enumerate().all(|(number, routed)| *routed == (number % 2 == 0)),
        "{many:?}"
    );
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn control_and_events_reach_every_queue_whose_topics_match() {
    let (leader, scratch) = connect().await;
    let worker = connect_to(&test_url(), &scratch.0, Role::Worker).await.unwrap();
    let control = |topics: &[&str]| QueueSpec::Control {
        worker: WorkerId::new(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
    };
    let mut one =
        worker.consume(&control(&["all.#", "pool.gpu"]), ConsumeOptions::new(10)).await.unwrap();
    let mut two = worker.consume(&control(&["all.#"]), ConsumeOptions::new(10)).await.unwrap();
    let mut events = leader
        .consume(&QueueSpec::Event { leader: LeaderId::new() }, ConsumeOptions::new(10))
        .await
        .unwrap();
    let publish = |exchange, key: &str| {
        let address = Address::new(exchange, key);
        let (leader, message) = (&leader, message(key));
        async move { leader.publish(&address, message).await.unwrap() }
    };
    publish(Exchange::Control, "pool.gpu").await;
    publish(Exchange::Control, "all.alive.now").await;
    publish(Exchange::Event, "anything").await;
    for (consumer, bodies) in [
        (&mut one, &["pool.gpu", "all.alive.now"][..]),
        (&mut two, &["all.alive.now"]),
        (&mut events, &["anything"]),
    ] {
        for body in bodies {
            let delivery = delivery(&mut **consumer).await;
            assert_eq!(delivery.message.body, body);
            delivery.settle(Settle::Ack);
        }
    }
    leader.close().await;
    worker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn many_publishers_share_one_window_without_losing_a_message() {
    let (broker, scratch) = connect().await;
    let broker = Arc::new(broker);
    broker.declare(&tasks()).await.unwrap();
    let publishers = (0..20u32).map(|publisher| {
        let broker = broker.clone();
        async move {
            let mut window = FuturesUnordered::new();
            for number in 0..100u32 {
                let body = [publisher.to_be_bytes(), number.to_be_bytes()].concat();
                let broker = &broker;
                window.push(async move { broker.publish(&to_tasks(), message(body)).await });
            }
            while let Some(published) = window.next().await {
                published.unwrap();
            }
        }
    });
    soon("the publish", futures::future::join_all(publishers)).await;
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(200)).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2_000 {
        let delivery = delivery(&mut *consumer).await;
        assert!(seen.insert(delivery.message.body.clone()));
        delivery.settle(Settle::Ack);
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn messages_keep_the_order_in_which_they_are_published() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    let confirms = (0..1_000u32).map(|number| {
        let broker = &broker;
        async move { broker.publish(&to_tasks(), message(number.to_be_bytes())).await }
    });
    futures::future::try_join_all(confirms).await.unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(100)).await.unwrap();
    for number in 0..1_000u32 {
        let delivery = delivery(&mut *consumer).await;
        assert_eq!(delivery.message.body.as_ref(), number.to_be_bytes());
        delivery.settle(Settle::Ack);
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn deleting_a_queue_twice_is_no_error() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    broker.delete(&tasks()).await.unwrap();
    assert!(!broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    broker.delete(&tasks()).await.unwrap();
    broker.close().await;
    scratch.clean_up().await;
}
