//! Refusals by the broker, and the errors that report them.

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
        Address, Broker, BrokerError, ConnectError, ConsumeOptions, Exchange, Pool, PublishError,
        QueueSpec, Role, Settle,
    },
    id::WorkerId,
};
use phalanx_test_support::full_text;

/// The error of a connection that must fail; none of its texts may contain `secret`.
async fn refused(url: &str, secret: &str) -> ConnectError {
    let scratch = namespace();
    let error = soon("the refusal", connect_to(url, &scratch, Role::Worker)).await.unwrap_err();
    let text = full_text(&error);
    assert!(!text.contains(secret), "{text}");
    error
}

#[tokio::test]
async fn a_wrong_password_is_reported_without_showing_it() {
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
async fn the_error_for_a_missing_virtual_host_names_it() {
    let (credentials, host, _) = parts(&test_url());
    let url = format!("amqp://{credentials}@{host}/no-such-host");
    let error = refused(&url, &credentials).await;
    match error {
        ConnectError::VirtualHost { vhost, .. } => assert_eq!(vhost, "no-such-host"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_broker_that_is_not_running_is_unreachable() {
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
async fn a_host_that_accepts_connections_and_sends_nothing_is_unreachable() {
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
async fn a_server_that_is_not_a_broker_is_unreachable() {
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
async fn a_malformed_url_is_refused_without_showing_its_password() {
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
async fn the_error_for_tls_without_its_feature_names_the_feature() {
    let url = phalanx_core::broker::BrokerUrl::parse("amqps://ann:hunter2@127.0.0.1/v").unwrap();
    let options = options(&namespace(), Role::Leader);
    let error = phalanx_core::broker::connect(url, options).await.unwrap_err();
    assert!(matches!(error, ConnectError::Scheme { .. }), "{error:?}");
    assert!(error.to_string().contains("`tls`"), "{error}");
}

#[tokio::test]
async fn the_error_names_the_exchange_that_must_not_be_declared() {
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
    let channel = raw_connection().await.create_channel().await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let name = format!("{}.task.default", scratch.0);
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.unwrap();
    assert!(broker.declare(&tasks()).await.unwrap().as_found);
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    assert!(broker.publish_mandatory(&to_tasks(), message("x")).await.unwrap());
    delivery(&mut *consumer).await.settle(Settle::Ack);
    broker.delete(&tasks()).await.unwrap();
    assert!(!broker.declare(&tasks()).await.unwrap().as_found);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_queue_that_belongs_to_another_connection_is_unusable() {
    let (broker, scratch) = connect().await;
    let other = raw_connection().await;
    let channel = other.create_channel().await.unwrap();
    let worker = WorkerId::new();
    let name = format!("{}.control.{worker}-1", scratch.0);
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    let control = QueueSpec::Control { worker, topics: Vec::new() };
    let refused = broker.consume(&control, ConsumeOptions::new(1)).await;
    assert!(matches!(refused, Err(BrokerError::Unusable { .. })), "{refused:?}");
    // The refusal leaves the connection open.
    assert_eq!(broker.health().borrow().generation, 1);
    broker.declare(&tasks()).await.unwrap();
    broker.close().await;
    scratch.clean_up().await;
}

/// A broker whose task exchange is internal, so it refuses messages from clients.
async fn with_an_internal_exchange() -> (Arc<AmqpBroker>, Scratch) {
    let scratch = Scratch(namespace());
    let channel = raw_connection().await.create_channel().await.unwrap();
    let options = ExchangeDeclareOptions { durable: true, internal: true, ..Default::default() };
    let name = format!("{}.task", scratch.0);
    let arguments = FieldTable::default();
    channel.exchange_declare(name.into(), ExchangeKind::Direct, options, arguments).await.unwrap();
    let broker = connect_to(&test_url(), &scratch.0, Role::Leader).await.unwrap();
    (Arc::new(broker), scratch)
}

#[tokio::test]
async fn a_refused_publish_fails_each_time_and_does_not_disturb_others() {
    let (broker, scratch) = with_an_internal_exchange().await;
    let dead_letters = QueueSpec::Dead { pool: Pool::default() };
    broker.declare(&dead_letters).await.unwrap();
    let publish = |address: Address| {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(&address, message("x")).await })
    };
    let to_dead_letters = || Address::dead_letters(&Pool::default());
    for _ in 0..3 {
        let refused = soon("the refusal", publish(to_tasks())).await.unwrap();
        assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    }
    // Both at once: the acceptable messages are lost at worst, and accepted when repeated.
    let both = (0..40).map(|n| publish(if n % 4 == 0 { to_tasks() } else { to_dead_letters() }));
    for (n, outcome) in soon("all outcomes", join_all(both)).await.into_iter().enumerate() {
        match (n % 4, outcome.unwrap()) {
            (0, Err(PublishError::Refused { .. } | PublishError::Lost)) => {}
            (1.., Ok(()) | Err(PublishError::Lost)) => {}
            (_, other) => panic!("{n}: {other:?}"),
        }
    }
    soon("the publish", publish(to_dead_letters())).await.unwrap().unwrap();
    assert_eq!(broker.health().borrow().generation, 1);
    broker.close().await;
    scratch.clean_up().await;
}

#[tokio::test]
async fn only_the_message_that_is_too_large_is_refused() {
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
    // From now on, such a message is refused without being sent, so the others are confirmed. (With
    // a limit above the window there are no others: such a message is published alone.)
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
    scratch.clean_up().await;
}

#[tokio::test]
async fn a_message_that_amqp_cannot_carry_is_refused_and_the_connection_stays_open() {
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
    scratch.clean_up().await;
}
