//! What is published arrives, or the publisher hears why not.

use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};
use phalanx_core::{
    broker::{Address, Exchange, Message, MessageKind, Properties, PublishError, Settle},
    id::{CopyId, LeaderId, TaskNumber},
};

use crate::tools::{BrokerUnderTest, consume, message, publish, receive, take, tasks, to_tasks};

/// Body and properties; headers in any order.
pub async fn what_is_published_is_consumed_as_it_was(broker: &impl BrokerUnderTest) {
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

/// From nothing to a mebibyte.
pub async fn an_empty_and_a_large_body_arrive_whole(broker: &impl BrokerUnderTest) {
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

/// Nobody waits for one confirm before the next publish.
pub async fn many_publishes_at_once_arrive_in_order(broker: &impl BrokerUnderTest) {
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

/// A job's answers must not fail because its leader is gone; a probe must find out.
pub async fn an_unroutable_message_vanishes_and_a_mandatory_one_says_so(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let nowhere = Address::new(Exchange::Reply, LeaderId::new().to_string());
    for exchange in [Exchange::Task, Exchange::Reply, Exchange::Control, Exchange::Event] {
        let nowhere = Address::new(exchange, nowhere.key.clone());
        publish(&connection, &nowhere, "lost").await;
        assert!(!connection.publish_mandatory(&nowhere, message("lost")).await.unwrap());
    }
    connection.declare(&tasks()).await.unwrap();
    assert!(connection.publish_mandatory(&to_tasks(), message("kept")).await.unwrap());
    assert_eq!(take(&mut consume(&connection, &tasks(), 1).await).await, "kept");
}

/// The sizes are those that the user must hear of.
pub async fn a_message_that_is_too_large_is_refused_and_nothing_else_is_lost(
    broker: &impl BrokerUnderTest,
) {
    let connection = broker.connect().await;
    let mut consumer = consume(&connection, &tasks(), 4).await;
    publish(&connection, &to_tasks(), "before").await;
    let size = broker.message_limit() + 1;
    let refused = connection.publish(&to_tasks(), message(vec![0; size as usize])).await;
    match refused {
        Err(PublishError::TooLarge { size: told, limit }) => {
            assert_eq!((told, limit), (size, broker.message_limit()));
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    publish(&connection, &to_tasks(), "after").await;
    assert_eq!(take(&mut consumer).await, "before");
    assert_eq!(take(&mut consumer).await, "after");
}
