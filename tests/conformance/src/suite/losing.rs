//! What dies, and what then comes back.

use std::sync::Arc;

use phalanx_core::broker::{Broker, BrokerError, Consumer, PublishError, Settle};

use crate::tools::{
    BrokerUnderTest, body, consume, message, publish, receive, take, tasks, to_tasks,
};

/// Flagged, so that it kills no second worker.
pub async fn what_a_lost_connection_held_comes_again_as_redelivered(broker: &impl BrokerUnderTest) {
    let (dying, living) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&dying, &tasks(), 3).await;
    for text in ["a", "b", "c"] {
        publish(&living, &to_tasks(), text).await;
    }
    let held = [receive(&mut consumer).await, receive(&mut consumer).await];
    dying.close().await;
    all_come_again(&mut consume(&living, &tasks(), 3).await, &["a", "b"], 3).await;
    drop((consumer, held));
}

/// A consumer is not kept alive by what it has handed out.
pub async fn what_a_dropped_consumer_held_comes_again_as_redelivered(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 3).await;
    for text in ["a", "b", "c"] {
        publish(&connection, &to_tasks(), text).await;
    }
    let held = [receive(&mut consumer).await, receive(&mut consumer).await];
    drop(consumer);
    all_come_again(&mut consume(&connection, &tasks(), 3).await, &["a", "b"], 3).await;
    drop(held);
}

/// Who cancels, to drain, still runs what it has.
pub async fn what_a_cancelled_consumer_handed_out_stays_with_its_holders(
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
    // What is still unsettled goes with the connection, and only that.
    draining.close().await;
    let again = receive(&mut other).await;
    assert_eq!((body(&again), again.redelivered), ("b".to_owned(), true));
    again.settle(Settle::Ack);
    publish(&living, &to_tasks(), "end").await;
    assert_eq!(take(&mut other).await, "end");
    drop(second);
}

/// All `count` messages come, and those that had been handed out say so.
async fn all_come_again(consumer: &mut Box<dyn Consumer>, handed_out: &[&str], count: usize) {
    let mut seen = Vec::new();
    for _ in 0..count {
        let delivery = receive(consumer).await;
        let text = body(&delivery);
        assert!(delivery.redelivered || !handed_out.contains(&&*text), "{text} looks untouched");
        seen.push(text);
        delivery.settle(Settle::Ack);
    }
    seen.sort();
    assert_eq!(seen, ["a", "b", "c"]);
}

/// A late ack must not ack what somebody else has by now.
pub async fn settling_after_the_loss_changes_nothing(broker: &impl BrokerUnderTest) {
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

/// Every method, and every consumer that is left.
pub async fn a_closed_broker_says_so(broker: &impl BrokerUnderTest) {
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
    let consumed = connection.consume(&tasks(), 1).await;
    assert!(matches!(consumed, Err(BrokerError::Closed)), "{consumed:?}");
    connection.close().await;
}

/// A worker that has answered everything leaves nothing to do twice.
pub async fn closing_hands_over_the_last_acks(broker: &impl BrokerUnderTest) {
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
