//! Lost connections, dropped consumers, closed brokers.

use std::sync::Arc;

use phalanx_core::{
    broker::{
        Broker, BrokerError, ConsumeOptions, Consumer, PublishError, QueueAction, Settle,
        ShuffleQueue,
    },
    id::{JobId, TaskNumber},
};

use crate::tools::{
    BrokerUnderTest, body, consume, message, publish, receive, take, tasks, to_tasks,
};

/// The flag means that the task may have killed another worker.
pub async fn deliveries_of_a_lost_connection_are_redelivered(broker: &impl BrokerUnderTest) {
    let (dying, living) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&dying, &tasks(), 3).await;
    for text in ["a", "b", "c"] {
        publish(&living, &to_tasks(), text).await;
    }
    let held = [receive(&mut consumer).await, receive(&mut consumer).await];
    dying.close().await;
    assert_all_delivered(&mut consume(&living, &tasks(), 3).await, &["a", "b"], 3).await;
    drop((consumer, held));
}

/// Deliveries do not keep their consumer alive.
pub async fn deliveries_of_a_dropped_consumer_are_redelivered(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 3).await;
    for text in ["a", "b", "c"] {
        publish(&connection, &to_tasks(), text).await;
    }
    let held = [receive(&mut consumer).await, receive(&mut consumer).await];
    drop(consumer);
    assert_all_delivered(&mut consume(&connection, &tasks(), 3).await, &["a", "b"], 3).await;
    drop(held);
}

/// A worker that cancels its consumer to drain still runs the tasks that it holds.
pub async fn deliveries_of_a_cancelled_consumer_stay_with_their_holders(
    broker: &impl BrokerUnderTest,
) {
    let (draining, living) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&draining, &tasks(), 2).await;
    for text in ["a", "b"] {
        publish(&living, &to_tasks(), text).await;
    }
    let (first, second) = (receive(&mut consumer).await, receive(&mut consumer).await);
    consumer.cancel().await;
    drop(consumer);
    let mut other = consume(&living, &tasks(), 4).await;
    publish(&living, &to_tasks(), "probe").await;
    assert_eq!(take(&mut other).await, "probe");
    assert_eq!((body(&first), body(&second)), ("a".to_owned(), "b".to_owned()));
    first.settle(Settle::Ack);
    // When the connection ends, only the unsettled delivery is redelivered.
    draining.close().await;
    let again = receive(&mut other).await;
    assert_eq!((body(&again), again.redelivered), ("b".to_owned(), true));
    again.settle(Settle::Ack);
    publish(&living, &to_tasks(), "end").await;
    assert_eq!(take(&mut other).await, "end");
    drop(second);
}

/// Fails unless all `count` messages are delivered, and those that had been delivered before are
/// marked as redelivered.
async fn assert_all_delivered(
    consumer: &mut Box<dyn Consumer>,
    delivered_before: &[&str],
    count: usize,
) {
    let mut seen = Vec::new();
    for _ in 0..count {
        let delivery = receive(consumer).await;
        let text = body(&delivery);
        assert!(
            delivery.redelivered || !delivered_before.contains(&&*text),
            "{text} is not marked as redelivered"
        );
        seen.push(text);
        delivery.settle(Settle::Ack);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"]);
}

/// A late ack must not ack a delivery of another consumer.
pub async fn settling_after_the_connection_is_lost_has_no_effect(broker: &impl BrokerUnderTest) {
    let (dying, living) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&dying, &tasks(), 1).await;
    publish(&living, &to_tasks(), "mine").await;
    let held = receive(&mut consumer).await;
    dying.close().await;
    held.settle(Settle::Ack);
    drop(consumer);
    let mut consumer = consume(&living, &tasks(), 1).await;
    let again = receive(&mut consumer).await;
    assert_eq!((body(&again), again.redelivered), ("mine".to_owned(), true));
    again.settle(Settle::Ack);
}

/// Its consumers end, too.
pub async fn every_method_of_a_closed_broker_reports_closed(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut health = connection.health();
    assert!(health.borrow_and_update().is_well());
    assert!(health.borrow().generation >= 1);
    let mut consumer = consume(&connection, &tasks(), 1).await;
    let waiting = {
        let connection: Arc<dyn Broker> = connection.clone();
        async move {
            tokio::task::yield_now().await;
            connection.close().await;
        }
    };
    let (consumed, ()) = tokio::join!(consumer.next(), waiting);
    assert!(consumed.is_none(), "{consumed:?}");
    assert!(consumer.next().await.is_none());
    assert!(!connection.health().borrow().connected);

    let published = connection.publish(&to_tasks(), message("x")).await;
    assert!(matches!(published, Err(PublishError::Closed)), "{published:?}");
    let published = connection.publish_mandatory(&to_tasks(), message("x")).await;
    assert!(matches!(published, Err(PublishError::Closed)), "{published:?}");
    let declared = connection.declare(&tasks()).await;
    assert!(matches!(declared, Err(BrokerError::Closed)), "{declared:?}");
    let consumed = connection.consume(&tasks(), ConsumeOptions::new(1)).await;
    assert!(matches!(consumed, Err(BrokerError::Closed)), "{consumed:?}");
    let queue = ShuffleQueue::Output { job: JobId::new(), task: TaskNumber(7) };
    let managed = &connection.manage(QueueAction::Declare, &[queue]).await[0];
    assert!(matches!(managed, Err(BrokerError::Closed)), "{managed:?}");
    connection.close().await;
}

/// If a worker has replied to all of its tasks, none of them runs twice.
pub async fn closing_flushes_the_last_acks(broker: &impl BrokerUnderTest) {
    let (leaving, staying) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&leaving, &tasks(), 100).await;
    for n in 0..50 {
        publish(&staying, &to_tasks(), n.to_string()).await;
    }
    for n in 0..50 {
        assert_eq!(take(&mut consumer).await, n.to_string());
    }
    leaving.close().await;
    let mut consumer = consume(&staying, &tasks(), 1).await;
    publish(&staying, &to_tasks(), "fresh").await;
    assert_eq!(take(&mut consumer).await, "fresh");
}
