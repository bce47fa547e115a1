//! Deliveries: prefetch, settling, cancelling.

use futures::FutureExt;
use phalanx_core::broker::{Address, Consumption, Exchange, Pool, QueueSpec, Settle};

use phalanx_test_support::until;

use crate::tools::{BrokerUnderTest, body, consume, publish, receive, take, tasks, to_tasks};

/// On the same connection and on another one.
pub async fn an_acked_message_is_never_redelivered(broker: &impl BrokerUnderTest) {
    let first = broker.connect().await;
    let mut consumer = consume(&first, &tasks(), 1).await;
    publish(&first, &to_tasks(), "once").await;
    assert_eq!(take(&mut consumer).await, "once");
    drop(consumer);
    first.close().await;
    let second = broker.connect().await;
    let mut consumer = consume(&second, &tasks(), 1).await;
    publish(&second, &to_tasks(), "next").await;
    assert_eq!(take(&mut consumer).await, "next");
}

/// Each message goes to one of them.
pub async fn competing_consumers_share_a_queue(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let mut first = consume(&one, &tasks(), 1).await;
    let mut second = consume(&two, &tasks(), 1).await;
    for text in ["a", "b"] {
        publish(&one, &to_tasks(), text).await;
    }
    let (a, b) = tokio::join!(receive(&mut first), receive(&mut second));
    let mut bodies = [body(&a), body(&b)];
    bodies.sort();
    assert_eq!(bodies, ["a", "b"]);
    a.settle(Settle::Ack);
    b.settle(Settle::Ack);
}

/// Another consumer receives what exceeds the prefetch of the first.
pub async fn a_consumer_holds_no_more_than_its_prefetch(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let mut greedy = consume(&one, &tasks(), 2).await;
    for text in ["a", "b", "c", "d", "e"] {
        publish(&one, &to_tasks(), text).await;
    }
    let held = [receive(&mut greedy).await, receive(&mut greedy).await];
    assert!(greedy.try_next().is_none());
    let mut other = consume(&two, &tasks(), 10).await;
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(take(&mut other).await);
    }
    assert_eq!(rest, ["c", "d", "e"]);
    assert!(greedy.try_next().is_none());
    held.into_iter().for_each(|delivery| delivery.settle(Settle::Ack));
}

/// A consumer that has reached its prefetch continues once one delivery is settled.
pub async fn settling_a_delivery_makes_room_for_the_next(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 1).await;
    publish(&connection, &to_tasks(), "a").await;
    publish(&connection, &to_tasks(), "b").await;
    let held = receive(&mut consumer).await;
    let (next, ()) = tokio::join!(take(&mut consumer), async {
        // Settled while the consumer is already waiting.
        tokio::task::yield_now().await;
        held.settle(Settle::Ack);
    });
    assert_eq!(next, "b");
}

/// Workers raise it when their slots are idle. Deliveries that they hold stay with them.
pub async fn the_prefetch_can_be_raised(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&one, &tasks(), 1).await;
    for text in ["a", "b", "c", "d"] {
        publish(&one, &to_tasks(), text).await;
    }
    let mut held = vec![receive(&mut consumer).await];
    consumer.set_prefetch(3).await;
    held.push(receive(&mut consumer).await);
    held.push(receive(&mut consumer).await);
    assert_eq!(held.iter().map(body).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(held.iter().all(|delivery| !delivery.redelivered));
    assert_eq!(take(&mut consume(&two, &tasks(), 1).await).await, "d");
    held.into_iter().for_each(|delivery| delivery.settle(Settle::Ack));
    publish(&one, &to_tasks(), "e").await;
    assert_eq!(take(&mut consumer).await, "e");
}

/// Workers lower it when their slots are leased. What exceeds it goes to others.
pub async fn the_prefetch_can_be_lowered(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&one, &tasks(), 3).await;
    for text in ["a", "b", "c"] {
        publish(&one, &to_tasks(), text).await;
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(receive(&mut consumer).await);
    }
    consumer.set_prefetch(1).await;
    let last = held.pop().unwrap();
    held.into_iter().for_each(|delivery| delivery.settle(Settle::Ack));
    let mut other = consume(&two, &tasks(), 1).await;
    for text in ["d", "e"] {
        publish(&one, &to_tasks(), text).await;
        assert_eq!(take(&mut other).await, text);
    }
    other.cancel().await;
    last.settle(Settle::Ack);
    for text in ["f", "g"] {
        publish(&one, &to_tasks(), text).await;
    }
    let held = receive(&mut consumer).await;
    assert!(consumer.try_next().is_none());
    assert_eq!(body(&held), "f");
    held.settle(Settle::Ack);
    assert_eq!(take(&mut consumer).await, "g");
}

/// A redelivered task is run in a child process, at the cost of a process, although nothing died.
pub async fn changing_the_prefetch_redelivers_nothing(broker: &impl BrokerUnderTest) {
    const MANY: usize = 400;
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 1).await;
    let publisher = {
        let connection = connection.clone();
        tokio::spawn(async move {
            for n in 0..MANY {
                publish(&connection, &to_tasks(), n.to_string()).await;
            }
        })
    };
    let mut received = 0;
    for prefetch in [1, 8, 2, 32, 4].into_iter().cycle() {
        consumer.set_prefetch(prefetch).await;
        // More than the largest prefetch, so that each change finds deliveries on their way.
        let change = (received + 40).min(MANY);
        while received < change {
            let delivery = receive(&mut consumer).await;
            assert!(!delivery.redelivered, "delivery {received}");
            delivery.settle(Settle::Ack);
            received += 1;
        }
        if received == MANY {
            break;
        }
    }
    publisher.await.unwrap();
}

/// The flag means that another worker may have run the task.
pub async fn a_requeued_message_is_delivered_again_and_marked_as_redelivered(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 1).await;
    publish(&connection, &to_tasks(), "again").await;
    let first = receive(&mut consumer).await;
    assert!(!first.redelivered);
    first.settle(Settle::Requeue);
    let second = receive(&mut consumer).await;
    assert!(second.redelivered);
    assert_eq!(body(&second), "again");
    second.settle(Settle::Ack);
}

/// Even if no dead-letter queue was declared before.
pub async fn a_rejected_task_goes_to_the_dead_letter_queue(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 1).await;
    publish(&connection, &to_tasks(), "poison").await;
    receive(&mut consumer).await.settle(Settle::Reject);
    let dead = QueueSpec::Dead { pool: Pool::default() };
    assert_eq!(take(&mut consume(&connection, &dead, 1).await).await, "poison");
    publish(&connection, &to_tasks(), "next").await;
    assert_eq!(take(&mut consumer).await, "next");
}

/// Workers use it to settle several deliveries together.
pub async fn try_next_returns_buffered_deliveries_without_waiting(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 10).await;
    assert!(consumer.try_next().is_none());
    for text in ["a", "b"] {
        publish(&connection, &to_tasks(), text).await;
    }
    let mut seen = Vec::new();
    until("both deliveries", async || {
        while let Some(Consumption::Delivery(delivery)) = consumer.try_next() {
            seen.push(body(&delivery));
            delivery.settle(Settle::Ack);
        }
        seen.len() == 2
    })
    .await;
    assert_eq!(seen, ["a", "b"]);
    assert!(consumer.try_next().is_none());
}

/// The future may be dropped in a `select!` whose other branch completes first.
pub async fn dropping_a_waiting_future_loses_no_delivery(broker: &impl BrokerUnderTest) {
    const MANY: usize = 200;
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 10).await;
    let publisher = {
        let connection = connection.clone();
        tokio::spawn(async move {
            for n in 0..MANY {
                publish(&connection, &to_tasks(), n.to_string()).await;
            }
        })
    };
    let mut seen = Vec::new();
    while seen.len() < MANY {
        // Polled once and dropped.
        match consumer.next().now_or_never() {
            Some(Some(Consumption::Delivery(delivery))) => {
                seen.push(body(&delivery));
                delivery.settle(Settle::Ack);
            }
            Some(other) => panic!("expected a delivery, got {other:?}"),
            None => tokio::task::yield_now().await,
        }
    }
    publisher.await.unwrap();
    assert_eq!(seen, (0..MANY).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// A draining worker takes no more tasks, and settles those that it has.
pub async fn a_cancelled_consumer_can_still_settle(broker: &impl BrokerUnderTest) {
    let (one, two) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&one, &tasks(), 2).await;
    for text in ["settled", "held", "undelivered"] {
        publish(&one, &to_tasks(), text).await;
    }
    let settled = receive(&mut consumer).await;
    let held = receive(&mut consumer).await;
    consumer.cancel().await;
    settled.settle(Settle::Ack);
    assert!(consumer.next().await.is_none());
    assert!(consumer.try_next().is_none());
    let mut other = consume(&two, &tasks(), 1).await;
    assert_eq!(take(&mut other).await, "undelivered");
    // When the connection ends, only the unsettled delivery goes to the other consumer.
    one.close().await;
    drop(consumer);
    let again = receive(&mut other).await;
    assert_eq!((body(&again), again.redelivered), ("held".to_owned(), true));
    again.settle(Settle::Ack);
    publish(&two, &to_tasks(), "last").await;
    assert_eq!(take(&mut other).await, "last");
    held.settle(Settle::Ack);
}

/// The reader of dead letters relies on it: it requeues the last delivery first.
pub async fn deliveries_requeued_in_reverse_keep_their_order(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let dead = QueueSpec::Dead { pool: Pool::default() };
    connection.declare(&dead).await.unwrap();
    let texts = ["a", "b", "c", "d"];
    for text in texts {
        publish(&connection, &Address::new(Exchange::Dead, Pool::DEFAULT), text).await;
    }
    for _ in 0..3 {
        let mut consumer = consume(&connection, &dead, 3).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(receive(&mut consumer).await);
        }
        assert_eq!(held.iter().map(body).collect::<Vec<_>>(), texts[..3]);
        consumer.cancel().await;
        while let Some(delivery) = held.pop() {
            delivery.settle(Settle::Requeue);
        }
        let is_back = async || connection.declare(&dead).await.unwrap().messages == 4;
        until("the requeued messages", is_back).await;
    }
    let mut consumer = consume(&connection, &dead, 1).await;
    for text in texts {
        assert_eq!(take(&mut consumer).await, text);
    }
}
