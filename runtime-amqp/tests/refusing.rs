//! What the broker refuses, and what is said of it.

mod common;

use std::sync::Arc;

use common::*;
use futures::future::join_all;
use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, ConnectError, Exchange, PublishError, QueueSpec, Role, Settle,
    },
    id::WorkerId,
};

/// The error of a connection that must not come about; none of what it shows holds the secret.
async fn refused(url: &str, secret: &str) -> ConnectError {
    let scratch = namespace();
    let error = soon("a refusal", connect_to(url, &scratch, Role::Worker)).await.unwrap_err();
    let text = shown(&error);
    assert!(!text.contains(secret), "{text}");
    error
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let (credentials, host, rest) = parts(&test_url());
    let user = credentials.split_once(':').unwrap().0;
    let url = format!("amqp://{user}:hunter2@{host}{rest}");
    match refused(&url, "hunter2").await {
        ConnectError::Credentials { user: named, reason, .. } => {
            assert_eq!(named, user);
            assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_missing_virtual_host_is_named() {
    let (credentials, host, _) = parts(&test_url());
    let url = format!("amqp://{credentials}@{host}/no-such-host");
    let error = refused(&url, &credentials).await;
    match error {
        ConnectError::VirtualHost { vhost, .. } => assert_eq!(vhost, "no-such-host"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_absent_broker_is_unreachable_after_a_while() {
    let absent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let started = std::time::Instant::now();
    match refused(&format!("amqp://ann:hunter2@{absent}/v"), "hunter2").await {
        ConnectError::Unreachable { url, reason, source } => {
            assert_eq!(url, format!("amqp://ann:***@{absent}/v"));
            assert!(reason.contains(&absent.to_string()), "{reason}");
            assert!(source.is_some());
        }
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed().as_secs() < 30);
}

#[tokio::test]
async fn a_host_that_takes_connections_and_says_nothing_is_unreachable() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let accepted = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let url = format!("amqp://ann:hunter2@{address}/v?connection_timeout=300");
    let error = refused(&url, "hunter2").await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    accepted.abort();
}

#[tokio::test]
async fn what_is_no_broker_is_unreachable() {
    let (listener, text) = (
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    );
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text).await;
        }
    });
    let error = refused(&format!("amqp://ann:hunter2@{address}/v"), "hunter2").await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    serving.abort();
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_its_password() {
    for url in [
        "amqp://ann:hunter2@/v",
        "amqp://ann:hunter2@host:x/v",
        "amqp://ann:hunter2%@host/v",
        "amqp://ann:hunter2@host/v?hunter2",
    ] {
        let error = refused(url, "hunter2").await;
        assert!(matches!(error, ConnectError::Url { .. }), "{error:?}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_without_its_feature_is_refused_by_name() {
    let url = phalanx_core::broker::BrokerUrl::parse("amqps://ann:hunter2@127.0.0.1/v").unwrap();
    let options = options(&namespace(), Role::Leader);
    let error = phalanx_core::broker::connect(url, options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Scheme { .. }), "{error:?}");
    assert!(error.to_string().contains("`tls`"), "{error}");
}

#[tokio::test]
async fn exchanges_that_may_not_be_made_are_named() {
    let error = connect_to(&test_url(), "amq.phalanx", Role::Leader).await.unwrap_err();
    let ConnectError::Setup { source: BrokerError::Denied { what, reason }, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(what, "exchange `amq.phalanx.task`");
    assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
}

#[tokio::test]
async fn a_queue_in_another_shape_is_used_as_found() {
    let (broker, scratch) = connect().await;
    let channel = raw().await.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let name = format!("{}.task.default", scratch.0);
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    assert!(broker.declare(&tasks()).await.unwrap().as_found);
    let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
    assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    delivery(&mut *consumer).await.settle(Settle::Ack);
    broker.delete(&tasks()).await.unwrap();
    assert!(!broker.declare(&tasks()).await.unwrap().as_found);
    broker.close().await;
    scratch.sweep().await;
}

#[tokio::test]
async fn a_queue_that_belongs_to_another_connection_is_unusable() {
    let (broker, scratch) = connect().await;
    let other = raw().await;
    let channel = other.create_channel().await.unwrap();
    let worker = WorkerId::new();
    let name = format!("{}.control.{worker}-1", scratch.0);
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    let control = QueueSpec::Control { worker, topics: Vec::new() };
    let refused = broker.consume(&control, 1).await;
    assert!(matches!(refused, Err(BrokerError::Unusable { .. })), "{refused:?}");
    // Whatever was refused, the connection is as good as before.
    assert_eq!(broker.health().borrow().generation, 1);
    broker.declare(&tasks()).await.unwrap();
    broker.close().await;
    scratch.sweep().await;
}

/// A broker whose exchange for tasks takes no messages from clients.
async fn with_an_internal_exchange() -> (Arc<AmqpBroker>, Scratch) {
    let scratch = Scratch(namespace());
    let channel = raw().await.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions { durable: true, internal: true, ..Default::default() };
    let name = format!("{}.task", scratch.0);
    let arguments = FieldTable::default();
    channel.exchange_declare(name.into(), ExchangeKind::Direct, options, arguments).await.unwrap();
    let broker = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();
    (Arc::new(broker), scratch)
}

#[tokio::test]
async fn publishing_that_is_refused_is_refused_each_time_and_harms_no_other() {
    let (broker, scratch) = with_an_internal_exchange().await;
    let dead = QueueSpec::Dead { pool: Default::default() };
    broker.declare(&dead).await.unwrap();
    let publish = |exchange| {
        let broker = broker.clone();
        tokio::spawn(async move {
            let address = Address::new(exchange, "default");
            broker.publish(&address, message("x")).await
        })
    };
    for _ in 0..3 {
        let refused = soon("a refusal", publish(Exchange::Task)).await.unwrap();
        assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    }
    // Both at once: the innocent are lost at worst, and get through when tried again.
    let both = (0..40).map(|n| publish(if n % 4 == 0 { Exchange::Task } else { Exchange::Dead }));
    for (n, outcome) in soon("all outcomes", join_all(both)).await.into_iter().enumerate() {
        match (n % 4, outcome.unwrap()) {
            (0, Err(PublishError::Refused { .. } | PublishError::Lost)) => {}
            (1.., Ok(()) | Err(PublishError::Lost)) => {}
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    soon("to publish", publish(Exchange::Dead)).await.unwrap().unwrap();
    assert_eq!(broker.health().borrow().generation, 1);
    broker.close().await;
    scratch.sweep().await;
}

#[tokio::test]
async fn a_message_too_large_is_named_and_its_neighbours_are_not() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    // Larger than the default limit of any version.
    let large = bytes::Bytes::from(vec![0; (128 << 20) + 1]);
    let publish = async |body: bytes::Bytes| {
        let mut sent = message("");
        sent.body = body;
        broker.publish(&to_tasks(), sent).await
    };
    let bodies = (0..20).map(|n| if n == 10 { large.clone() } else { "small".into() });
    let outcomes = soon("all outcomes", join_all(bodies.map(publish))).await;
    let mut known = None;
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Err(PublishError::TooLarge { size, limit }) if n == 10 => {
                assert_eq!(size, large.len() as u64);
                known = Some(limit);
            }
            Ok(()) | Err(PublishError::Lost) if n != 10 => {}
            other => panic!("{n}: {other:?}"),
        }
    }
    // From now on such a one is refused without being sent: its neighbours do not notice. (Where the
    // limit is low enough to have any: what is larger than the window travels alone.)
    let large = large.slice(..known.unwrap() as usize + 1);
    let bodies = (0..20).map(|n| if n == 10 { large.clone() } else { "small".into() });
    for outcome in soon("all outcomes", join_all(bodies.map(publish))).await {
        match outcome {
            Ok(()) => {}
            Err(PublishError::TooLarge { limit, .. }) => assert_eq!(Some(limit), known),
            Err(error) => panic!("{error:?}"),
        }
    }
    broker.close().await;
    scratch.sweep().await;
}

#[tokio::test]
async fn what_amqp_cannot_carry_is_refused_without_harm() {
    let (broker, scratch) = connect().await;
    broker.declare(&tasks()).await.unwrap();
    let long = Address::new(Exchange::Task, "x".repeat(256));
    let refused = broker.publish(&long, message("x")).await;
    assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    let mut sent = message("x");
    sent.properties.headers = (0..200).map(|n| (n.to_string(), "x".repeat(2_000))).collect();
    broker.publish(&to_tasks(), sent).await.unwrap();
    assert_eq!(broker.health().borrow().generation, 1);
    broker.close().await;
    scratch.sweep().await;
}
