//! Connections that are cut, go quiet or are blocked, and consumers whose queues are deleted.

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use futures::future::join_all;
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumer, Consumption, DeclaredQueue, PublishError,
        QueueSpec, Role, Settle, Topic,
    },
    id::{LeaderId, WorkerId},
};
use phalanx_test_proxy::{BrokerMethod, Parts, Proxy, Traffic};
use tokio::task::JoinHandle;

/// Connects as a leader through a proxy.
async fn connect_through() -> (Proxy, Arc<AmqpBroker>, Scratch) {
    let proxy = Proxy::to(&test_url()).await.unwrap();
    let scratch = Scratch(namespace());
    let broker = connect_to(&proxy.url(), &scratch.0, Role::Leader).await.unwrap();
    (proxy, Arc::new(broker), scratch)
}

fn publishing(
    broker: &Arc<AmqpBroker>,
    body: impl Into<Vec<u8>>,
) -> JoinHandle<Result<(), PublishError>> {
    let (broker, message) = (broker.clone(), message(body));
    tokio::spawn(async move { broker.publish(&to_tasks(), message).await })
}

#[tokio::test]
async fn a_cut_connection_reconnects_and_its_consumer_reports_that_it_resumed() {
    let (proxy, broker, scratch) = connect_through().await;
    let before = broker.health().borrow().clone();
    assert_eq!((before.generation, before.connected), (1, true));
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(10)).await.unwrap();
    broker.publish(&to_tasks(), message("one")).await.unwrap();
    let held = delivery(&mut *consumer).await;

    proxy.cut();
    let generation = resumed(&mut *consumer).await;
    assert!(generation > 1);
    held.settle(Settle::Ack); // Stale: the broker has requeued it.
    let again = delivery(&mut *consumer).await;
    assert!(again.redelivered);
    assert_eq!(again.message.body.as_ref(), b"one");
    again.settle(Settle::Ack);

    wait_for_health(&broker, "both connections", |health| {
        health.generation == 3 && health.is_well()
    })
    .await;
    broker.publish(&to_tasks(), message("two")).await.unwrap();
    let two = delivery(&mut *consumer).await;
    assert!(!two.redelivered);
    two.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn publishing_waits_until_the_connection_is_back() {
    let (proxy, broker, scratch) = connect_through().await;
    broker.declare(&tasks()).await.unwrap();
    proxy.refuse(true);
    proxy.cut();
    wait_for_health(&broker, "the loss of the connection", |health| !health.connected).await;
    let waiting = {
        let broker = broker.clone();
        tokio::spawn(async move {
            loop {
                match broker.publish(&to_tasks(), message("patient")).await {
                    // The publishing connection may be cut after the other.
                    Err(PublishError::Lost) => {}
                    outcome => return outcome,
                }
            }
        })
    };
    let declaring = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.declare(&tasks()).await })
    };
    // At least one reconnect was refused before one succeeds.
    proxy.refuse(false);
    soon("the publish", waiting).await.unwrap().unwrap();
    soon("the declaration", declaring).await.unwrap().unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    assert_eq!(delivery(&mut *consumer).await.message.body.as_ref(), b"patient");
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn each_message_in_flight_on_a_cut_connection_is_confirmed_or_lost_and_none_hangs() {
    let (proxy, broker, scratch) = connect_through().await;
    broker.declare(&tasks()).await.unwrap();
    let publish = |number: u32| [&number.to_be_bytes()[..], &[0; 1_000]].concat();
    // Opens the channel.
    broker.publish(&to_tasks(), message(publish(u32::MAX))).await.unwrap();
    let publishes: Vec<_> = (0..400).map(|number| publishing(&broker, publish(number))).collect();
    let mut discarded = proxy.discarded();
    proxy.set(Traffic::Discard);
    soon("the bytes to be sent", discarded.wait_for(|bytes| *bytes > 10_000)).await.unwrap();
    proxy.set(Traffic::Forward);
    proxy.cut();
    let outcomes = soon("all outcomes", join_all(publishes)).await;
    let mut confirmed = std::collections::BTreeSet::new();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome.unwrap() {
            Ok(()) => assert!(confirmed.insert(number as u32)),
            Err(PublishError::Lost) => {}
            Err(error) => panic!("{number}: {error}"),
        }
    }
    // All that were confirmed are in the queue.
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(500)).await.unwrap();
    while !confirmed.is_empty() {
        let delivery = delivery(&mut *consumer).await;
        confirmed.remove(&u32::from_be_bytes(delivery.message.body[..4].try_into().unwrap()));
        delivery.settle(Settle::Ack);
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn an_unconfirmed_message_is_lost_with_its_connection() {
    let (proxy, broker, scratch) = connect_through().await;
    broker.declare(&tasks()).await.unwrap();
    // Opens the channel.
    broker.publish(&to_tasks(), message("first")).await.unwrap();
    let mut discarded = proxy.discarded();
    proxy.set(Traffic::Discard);
    let unconfirmed = publishing(&broker, "x");
    soon("the bytes to be sent", discarded.wait_for(|bytes| *bytes > 0)).await.unwrap();
    assert!(!unconfirmed.is_finished());
    proxy.set(Traffic::Forward);
    proxy.cut();
    assert!(matches!(soon("the loss", unconfirmed).await.unwrap(), Err(PublishError::Lost)));
    broker.close().await;
    scratch.clean_up().await;
}

/// The broker sends heartbeats, so the connection seems to be alive.
#[tokio::test]
async fn a_connection_that_brings_no_confirms_is_replaced() {
    let proxy = Proxy::to(&test_url()).await.unwrap();
    let scratch = Scratch(namespace());
    let url = format!("{}?heartbeat=1", proxy.url());
    let broker = Arc::new(connect_to(&url, &scratch.0, Role::Leader).await.unwrap());
    broker.declare(&tasks()).await.unwrap();
    broker.publish(&to_tasks(), message("first")).await.unwrap();
    proxy.hide(Some(BrokerMethod::Ack));
    let unconfirmed = publishing(&broker, "x");
    assert!(matches!(soon("the loss", unconfirmed).await.unwrap(), Err(PublishError::Lost)));
    proxy.hide(None);
    broker.publish(&to_tasks(), message("last")).await.unwrap();
    assert!(broker.health().borrow().generation >= 2);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_connection_that_goes_quiet_is_dropped_and_replaced() {
    let proxy = Proxy::to(&test_url()).await.unwrap();
    let scratch = Scratch(namespace());
    let url = format!("{}?heartbeat=1", proxy.url());
    let broker = connect_to(&url, &scratch.0, Role::Leader).await.unwrap();
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    // Both connections, for as long as they last: had one of them only been quiet until the loss of
    // the other is noticed, it would go on.
    proxy.silence();
    resumed(&mut *consumer).await;
    wait_for_health(&broker, "both connections", |health| health.is_well()).await;
    broker.publish(&to_tasks(), message("x")).await.unwrap();
    delivery(&mut *consumer).await.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn exclusive_queues_of_a_lost_connection_are_declared_again() {
    let (proxy, broker, scratch) = connect_through().await;
    let worker = WorkerId::new();
    let mut control =
        broker.consume(&QueueSpec::control(worker), ConsumeOptions::new(10)).await.unwrap();
    let mut events = broker
        .consume(&QueueSpec::Event { leader: LeaderId::new() }, ConsumeOptions::new(10))
        .await
        .unwrap();
    for _ in 0..2 {
        proxy.cut();
        resumed(&mut *control).await;
        resumed(&mut *events).await;
        for (address, consumer) in [
            (Address::control(Topic::AllWorkers), &mut control),
            (Address::events(worker), &mut events),
        ] {
            let published = async {
                // The first publish after the cut may be lost.
                while broker.publish(&address, message("again")).await.is_err() {}
            };
            soon("the publish", published).await;
            let received = delivery(&mut **consumer).await;
            assert_eq!(received.message.body.as_ref(), b"again");
            received.settle(Settle::Ack);
        }
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_consumer_whose_queue_is_deleted_declares_and_consumes_again() {
    let (broker, scratch) = connect().await;
    let leader = LeaderId::new();
    let replies = QueueSpec::Reply { leader, expires: Duration::from_secs(600) };
    let address = Address::replies(leader);
    let mut consumer = broker.consume(&replies, ConsumeOptions::new(10)).await.unwrap();
    broker.publish(&address, message("before")).await.unwrap();
    let held = delivery(&mut *consumer).await;
    broker.delete(&replies).await.unwrap();
    assert_eq!(resumed(&mut *consumer).await, 1, "the connection is the same");
    held.settle(Settle::Ack);
    assert!(broker.publish_mandatory(&address, message("after")).await.unwrap());
    let after = delivery(&mut *consumer).await;
    assert_eq!(after.message.body.as_ref(), b"after");
    after.settle(Settle::Ack);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_deleted_exchange_is_declared_again() {
    let (broker, scratch) = connect().await;
    let channel = raw_connection().await.create_channel().await.unwrap();
    let exchange = format!("{}.task", scratch.0);
    channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
    let lost = broker.publish(&to_tasks(), message("x")).await;
    assert!(matches!(lost, Err(PublishError::Lost)), "{lost:?}");
    broker.declare(&tasks()).await.unwrap();
    assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_blocked_broker_delays_publishing_but_not_acks_and_its_reason_is_reported() {
    let (proxy, broker, scratch) = connect_through().await;
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    broker.publish(&to_tasks(), message("one")).await.unwrap();
    broker.publish(&to_tasks(), message("two")).await.unwrap();
    let one = delivery(&mut *consumer).await;
    proxy.block_publishing("low on memory");
    let health = wait_for_health(&broker, "the alarm", |health| health.blocked.is_some()).await;
    assert_eq!(health.blocked.as_deref(), Some("low on memory"));
    assert!(health.connected && !health.is_well());
    let blocked = publishing(&broker, "three");
    // The ack of the first travels on the other connection, and makes room for the second.
    one.settle(Settle::Ack);
    let two = delivery(&mut *consumer).await;
    assert_eq!(two.message.body.as_ref(), b"two");
    assert_eq!(broker.declare(&tasks()).await.unwrap(), DeclaredQueue::new(0, 1, false));
    assert!(!blocked.is_finished());
    proxy.unblock();
    soon("the publish", blocked).await.unwrap().unwrap();
    wait_for_health(&broker, "a healthy connection", |health| health.is_well()).await;
    two.settle(Settle::Ack);
    assert_eq!(delivery(&mut *consumer).await.message.body.as_ref(), b"three");
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn closing_does_not_wait_for_a_broker_that_is_gone() {
    let (proxy, broker, scratch) = connect_through().await;
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    proxy.refuse(true);
    proxy.cut();
    wait_for_health(&broker, "the loss of the connection", |health| !health.connected).await;
    let publish = publishing(&broker, "x");
    soon("the close", broker.close()).await;
    assert!(matches!(soon("the outcome", publish).await.unwrap(), Err(PublishError::Closed)));
    assert!(soon("the end", consumer.next()).await.is_none());
    scratch.clean_up().await;
}

#[tokio::test]
async fn dropping_the_future_of_a_delivery_loses_no_delivery() {
    let (broker, scratch) = connect().await;
    let broker = Arc::new(broker);
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    for number in 0..50u8 {
        let published = publishing(&broker, [number]);
        // Polls and drops `next` while the delivery is anywhere on its way.
        let received = async {
            loop {
                tokio::select! {
                    biased;
                    received = consumer.next() => return received,
                    () = tokio::task::yield_now() => {}
                }
            }
        };
        let received = soon("a delivery", received).await;
        let Some(Consumption::Delivery(received)) = received else { panic!("{received:?}") };
        assert_eq!(received.message.body.as_ref(), [number]);
        received.settle(Settle::Ack);
        published.await.unwrap().unwrap();
    }
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn the_next_host_of_the_url_is_used_when_one_is_unreachable() {
    let url = test_url();
    let (first, second) = (Proxy::to(&url).await.unwrap(), Proxy::to(&url).await.unwrap());
    first.refuse(true);
    let scratch = Scratch(namespace());
    let url = Parts::of(&url).at(&format!("{},{}", first.address(), second.address()));
    let broker = connect_to(&url, &scratch.0, Role::Leader).await.unwrap();
    first.refuse(false);
    second.refuse(true);
    second.cut();
    wait_for_health(&broker, "the other host", |health| health.generation == 3 && health.is_well())
        .await;
    broker.declare(&tasks()).await.unwrap();
    broker.publish(&to_tasks(), message("x")).await.unwrap();
    broker.close().await;
    scratch.clean_up().await;
}

/// Its queue is deleted and declared again, and the proxy drops the broker's notification: the
/// consumer restarts after 30 idle seconds.
#[tokio::test]
async fn a_consumer_that_the_broker_has_dropped_consumes_again() {
    let (proxy, broker, scratch) = connect_through().await;
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(10)).await.unwrap();
    proxy.hide(Some(BrokerMethod::Cancel));
    let channel = raw_connection().await.create_channel().await.unwrap();
    let queue = format!("{}.task.default", scratch.0);
    channel.queue_delete(queue.into(), Default::default()).await.unwrap();
    let other = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();
    other.declare(&tasks()).await.unwrap();
    other.publish(&to_tasks(), message("found")).await.unwrap();
    let found = delivery(&mut *consumer).await;
    assert_eq!((found.message.body.as_ref(), found.redelivered), (&b"found"[..], false));
    found.settle(Settle::Ack);
    other.close().await;
    broker.close().await;
    scratch.clean_up().await;
}

/// Whether a consumer has yielded this body; acks everything.
fn received(consumer: &mut dyn Consumer, body: &str) -> bool {
    let mut found = false;
    while let Some(consumption) = consumer.try_next() {
        if let Consumption::Delivery(delivery) = consumption {
            found |= delivery.message.body.as_ref() == body.as_bytes();
            delivery.settle(Settle::Ack);
        }
    }
    found
}

/// What is published meanwhile is confirmed and gone.
#[tokio::test]
async fn a_queue_that_has_lost_its_binding_is_bound_again_by_its_owner() {
    let (broker, scratch) = connect().await;
    let (leader, worker) = (LeaderId::new(), WorkerId::new());
    let expires = Duration::from_secs(60);
    let control = QueueSpec::control(worker);
    let mut replies = broker
        .consume(&QueueSpec::Reply { leader, expires }, ConsumeOptions::new(10))
        .await
        .unwrap();
    let mut events =
        broker.consume(&QueueSpec::Event { leader }, ConsumeOptions::new(10)).await.unwrap();
    let mut controls = broker.consume(&control, ConsumeOptions::new(10)).await.unwrap();

    let raw = raw_connection().await;
    let channel = raw.create_channel().await.unwrap();
    for exchange in ["reply", "event", "control"] {
        let exchange = format!("{}.{exchange}", scratch.0);
        channel.exchange_delete(exchange.into(), Default::default()).await.unwrap();
    }
    // Declares the exchanges, as any publisher does that finds them missing.
    let other = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();

    let reply_queue = format!("{}.reply.{leader}", scratch.0);
    let [mut replied, mut announced, mut controlled] = [false; 3];
    let bound = async {
        while !(replied && announced && controlled) {
            for (address, body) in [
                (Address::replies(leader), "reply"),
                (Address::events(worker), "event"),
                (Address::control(Topic::Worker(worker)), "control"),
            ] {
                other.publish(&address, message(body)).await.unwrap();
            }
            // This queue is never idle, although it gets nothing through its exchange.
            let (queue, options) = (reply_queue.as_str().into(), Default::default());
            let properties = Default::default();
            channel.basic_publish("".into(), queue, options, b"direct", properties).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            replied |= received(&mut *replies, "reply");
            announced |= received(&mut *events, "event");
            controlled |= received(&mut *controls, "control");
        }
    };
    soon("the messages", bound).await;
    other.close().await;
    broker.close().await;
    scratch.clean_up().await;
}
