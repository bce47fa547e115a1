//! A published message arrives, or the publisher gets an error.

use bytes::Bytes;
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use phalanx_core::{
    broker::{Address, Exchange, Message, MessageKind, Properties, PublishError, Settle},
    id::{CopyId, LeaderId, TaskNumber},
};

use crate::tools::{BrokerUnderTest, consume, message, publish, receive, take, tasks, to_tasks};

/// Body and properties are the same; headers may be in another order.
pub async fn a_message_is_consumed_as_it_was_published(broker: &impl BrokerUnderTest) {
    let (leader, worker) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&worker, &tasks(), 1).await;
    let mut properties = Properties {
        kind: Some(MessageKind::Task),
        wire_version: 1,
        reply_to: Some(LeaderId::new()),
        copy: Some(CopyId::new(TaskNumber(17), 2)),
        persistent: true,
        headers: vec![
            ("x-phalanx-job".to_owned(), "a job".to_owned()),
            ("operations".to_owned(), "größer → kleiner".to_owned()),
        ],
    };
    let body = Bytes::from((0..=u8::MAX).collect::<Vec<u8>>());
    let sent = Message { properties: properties.clone(), body: body.clone() };
    leader.publish(&to_tasks(), sent).await.unwrap();

    let mut delivery = receive(&mut consumer).await;
    assert!(!delivery.redelivered);
    delivery.message.properties.headers.sort();
    properties.headers.sort();
    assert_eq!(delivery.message.properties, properties);
    assert_eq!(delivery.message.body, body);
    delivery.settle(Settle::Ack);
}

/// From 0 bytes to 1 MiB.
pub async fn empty_and_large_bodies_arrive_complete(broker: &impl BrokerUnderTest) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 1).await;
    for size in [0, 1, 1 << 20] {
        let body = Bytes::from((0..size).map(|n| (n % 251) as u8).collect::<Vec<u8>>());
        publish(&connection, &to_tasks(), body.clone()).await;
        let delivery = receive(&mut consumer).await;
        assert_eq!(delivery.message.body, body);
        delivery.settle(Settle::Ack);
    }
}

/// No publish waits for the confirm of another.
pub async fn concurrent_publishes_arrive_in_order(broker: &impl BrokerUnderTest) {
    const MANY: usize = 3_000;
    let (leader, worker) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&worker, &tasks(), 200).await;
    let address = to_tasks();
    let mut confirms: FuturesUnordered<_> =
        (0..MANY).map(|n| leader.publish(&address, message(n.to_string()))).collect();
    let confirmed = async {
        while let Some(confirm) = confirms.next().await {
            confirm.unwrap();
        }
    };
    let received = async {
        for n in 0..MANY {
            assert_eq!(take(&mut consumer).await, n.to_string());
        }
    };
    tokio::join!(confirmed, received);
}

/// Replies must not fail because their leader is gone; a probe must detect that its queue is.
pub async fn an_unroutable_message_is_dropped_and_a_mandatory_one_is_reported(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let key = LeaderId::new().to_string();
    for exchange in [Exchange::Task, Exchange::Reply, Exchange::Control, Exchange::Event] {
        let address = Address::new(exchange, key.clone());
        publish(&connection, &address, "lost").await;
        assert!(!connection.publish_mandatory(&address, message("lost")).await.unwrap());
    }
    connection.declare(&tasks()).await.unwrap();
    assert!(connection.publish_mandatory(&to_tasks(), message("kept")).await.unwrap());
    assert_eq!(take(&mut consume(&connection, &tasks(), 1).await).await, "kept");
}

/// Workers publish all replies so, and leaders come and go meanwhile.
pub async fn each_of_many_mandatory_messages_is_reported_for_itself(broker: &impl BrokerUnderTest) {
    const MANY: usize = 600;
    let connection = broker.connect().await;
    connection.declare(&tasks()).await.unwrap();
    let nowhere = Address::replies(LeaderId::new());
    let is_routable = |n: usize| !n.is_multiple_of(3);
    let published = (0..MANY).map(|n| {
        let address = if is_routable(n) { to_tasks() } else { nowhere.clone() };
        let connection = &connection;
        async move { connection.publish_mandatory(&address, message(n.to_string())).await.unwrap() }
    });
    let routed = join_all(published).await;
    assert_eq!(routed, (0..MANY).map(is_routable).collect::<Vec<_>>());
    let mut consumer = consume(&connection, &tasks(), 200).await;
    for n in (0..MANY).filter(|n| is_routable(*n)) {
        assert_eq!(take(&mut consumer).await, n.to_string());
    }
}

/// The error contains the size of the message and the limit.
pub async fn a_message_that_is_too_large_is_refused_and_no_other_is_lost(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 4).await;
    publish(&connection, &to_tasks(), "before").await;
    let size = broker.message_limit() + 1;
    let refused = connection.publish(&to_tasks(), message(vec![0; size as usize])).await;
    match refused {
        Err(PublishError::TooLarge { size: reported, limit }) => {
            assert_eq!((reported, limit), (size, broker.message_limit()));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    publish(&connection, &to_tasks(), "after").await;
    assert_eq!(take(&mut consumer).await, "before");
    assert_eq!(take(&mut consumer).await, "after");
}
