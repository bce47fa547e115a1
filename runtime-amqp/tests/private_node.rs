//! Tests that need a private broker: users, alarms, certificates, restarts and crashes.

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use futures::future::join_all;
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, BrokerUrl, ConnectError, ConsumeOptions, Pool, PublishError,
        QueueAction, QueueSpec, QueueType, Role, Settle, ShuffleQueue, Topic,
    },
    id::{JobId, LeaderId, TaskNumber, WorkerId},
};
use phalanx_test_node::{NodeOptions, Permissions, PrivateNode};
use phalanx_test_support::{PATIENCE, full_text, start_node, with_node};

async fn connect_with_quorum(url: &str, role: Role) -> Result<AmqpBroker, ConnectError> {
    let mut options = options("ns", role);
    options.queue_type = QueueType::Quorum;
    AmqpBroker::connect(BrokerUrl::parse(url)?, options).await
}

/// Once after an orderly restart, once after a crash.
#[tokio::test]
async fn confirmed_messages_survive_a_restart_and_a_crash_of_the_broker() {
    let node = start_node(NodeOptions::new()).await;
    let quorum = Arc::new(connect_with_quorum(&node.url(), Role::Leader).await.unwrap());
    let leader = LeaderId::new();
    let replies = QueueSpec::Reply { leader, expires: PATIENCE * 10 };
    let to_replies = Address::replies(leader);
    quorum.declare(&tasks()).await.unwrap();
    quorum.declare(&replies).await.unwrap();
    for number in 0..50u8 {
        quorum.publish(&to_tasks(), message([number])).await.unwrap();
        quorum.publish(&to_replies, message([number])).await.unwrap();
    }
    let mut results = quorum.consume(&replies, ConsumeOptions::new(1)).await.unwrap();

    let (node, stopped) = with_node(node, PrivateNode::restart).await;
    stopped.unwrap();
    resumed(&mut *results).await;
    let mut consumer = quorum.consume(&tasks(), ConsumeOptions::new(50)).await.unwrap();
    for _ in 0..50 {
        delivery(&mut *consumer).await.settle(Settle::Ack);
    }
    // The second half follows after the crash.
    for _ in 0..25 {
        delivery(&mut *results).await.settle(Settle::Ack);
    }
    results.cancel().await;
    drop(results);
    quorum.declare(&replies).await.unwrap();
    let (node, killed) = with_node(node, |node| node.kill().and_then(|()| node.restart())).await;
    killed.unwrap();
    resumed(&mut *consumer).await;
    let mut results = quorum.consume(&replies, ConsumeOptions::new(50)).await.unwrap();
    let mut remaining: Vec<u8> = Vec::new();
    while remaining.last() != Some(&49) {
        let delivery = delivery(&mut *results).await;
        remaining.push(delivery.message.body[0]);
        delivery.settle(Settle::Ack);
    }
    assert!(remaining.ends_with(&(25..50).collect::<Vec<u8>>()), "{remaining:?}");

    wait_for_health(&quorum, "a healthy connection", |health| health.is_well()).await;
    let publishes = (0..50u8).map(|number| {
        let broker = quorum.clone();
        async move {
            // A lost confirm leaves the outcome unknown, so the publisher repeats the message.
            while broker.publish(&to_tasks(), message([number])).await.is_err() {}
        }
    });
    soon("the publish", join_all(publishes)).await;
    delivery(&mut *consumer).await.settle(Settle::Ack);
    quorum.close().await;
    drop(node);
}

const PROVISION: &str = "provisioner";
const LEADER: &str = "leader";
const WORKER: &str = "worker";
const STRANGER: &str = "stranger";

/// The least permissions that leaders and workers need. From 4.3 on, a user cannot see a queue
/// without any permission on it: hence the leader's write permission on task queues, which only
/// allows binding.
fn least_privilege() -> NodeOptions {
    let leader = Permissions {
        configure: r"^ns\.((reply|event)\.[0-9a-f-]+|shuffle\.[0-9a-z.-]+)$",
        write: concat!(
            r"^ns\.(task(\.[a-z0-9._-]+)?|control|dead|(reply|event)\.[0-9a-f-]+",
            r"|shuffle(\.[0-9a-z.-]+)?)$"
        ),
        read: concat!(
            r"^ns\.(reply|control|event|(reply|event)\.[0-9a-f-]+",
            r"|shuffle(\.[0-9a-f.-]+\.output)?)$"
        ),
    };
    let worker = Permissions {
        configure: r"^ns\.control\.[0-9a-f-]+$",
        write: r"^ns\.(reply|event|shuffle|control\.[0-9a-f-]+)$",
        read: r"^ns\.(task\.[a-z0-9._-]+|control|control\.[0-9a-f-]+|shuffle\.[0-9a-f.-]+)$",
    };
    let nothing = Permissions { configure: "^$", write: "^$", read: "^$" };
    [(PROVISION, Permissions::ALL), (LEADER, leader), (WORKER, worker), (STRANGER, nothing)]
        .into_iter()
        .fold(NodeOptions::new(), |node, (user, permissions)| {
            node.user(user, "hunter2").allow(user, "/", &permissions)
        })
        .virtual_host("closed")
}

#[tokio::test]
async fn users_with_least_privilege_use_provisioned_queues() {
    let node = start_node(least_privilege()).await;
    let url = |user| node.url_for(user, "hunter2", "%2f");

    // Nothing is provisioned yet, and none of them may declare it.
    for user in [LEADER, WORKER, STRANGER] {
        let error = connect_with_quorum(&url(user), Role::Leader).await.unwrap_err();
        let text = full_text(&error);
        assert!(!text.contains("hunter2"), "{text}");
        let ConnectError::Setup { source: BrokerError::Denied { what, .. }, .. } = error else {
            panic!("{text}")
        };
        assert!(what.starts_with("exchange `ns."), "{what}");
    }
    let error = connect_with_quorum(&node.url_for(LEADER, "hunter2", "closed"), Role::Leader).await;
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectError::VirtualHost { .. }), "{error:?}");

    let provisioner = connect_with_quorum(&url(PROVISION), Role::Leader).await.unwrap();
    let dead = QueueSpec::Dead { pool: Pool::default() };
    assert!(!provisioner.declare(&tasks()).await.unwrap().as_found);
    assert!(provisioner.declare(&dead).await.is_ok());

    let leader = connect_with_quorum(&url(LEADER), Role::Leader).await.unwrap();
    let worker = connect_with_quorum(&url(WORKER), Role::Worker).await.unwrap();
    assert!(leader.declare(&tasks()).await.unwrap().as_found);
    assert!(worker.declare(&tasks()).await.unwrap().as_found);
    let other = QueueSpec::Task { pool: Pool::new("other").unwrap() };
    for broker in [&leader, &worker] {
        let missing = broker.declare(&other).await;
        assert!(matches!(missing, Err(BrokerError::Denied { .. })), "{missing:?}");
    }

    // A task and its reply, control and events: everything that the protocol needs.
    let id = LeaderId::new();
    let replies = QueueSpec::Reply { leader: id, expires: PATIENCE };
    let worker_id = WorkerId::new();
    let control = QueueSpec::control(worker_id);
    let mut replies = leader.consume(&replies, ConsumeOptions::new(10)).await.unwrap();
    let mut events =
        leader.consume(&QueueSpec::Event { leader: id }, ConsumeOptions::new(10)).await.unwrap();
    let mut tasks_taken = worker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    let mut control = worker.consume(&control, ConsumeOptions::new(10)).await.unwrap();
    let to_replies = Address::replies(id);
    for (from, address, to) in [
        (&leader, to_tasks(), &mut tasks_taken),
        (&leader, Address::control(Topic::AllWorkers), &mut control),
        (&worker, to_replies, &mut replies),
        (&worker, Address::events(worker_id), &mut events),
    ] {
        from.publish(&address, message("x")).await.unwrap();
        delivery(&mut **to).await.settle(Settle::Ack);
    }
    leader.publish(&Address::dead_letters(&Pool::default()), message("x")).await.unwrap();

    // Nothing beyond that: a worker may not publish tasks or control, a leader may not consume
    // tasks.
    for address in [to_tasks(), Address::control(Topic::AllWorkers)] {
        let refused = soon("the refusal", worker.publish(&address, message("x"))).await;
        assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    }
    let refused = leader.consume(&tasks(), ConsumeOptions::new(1)).await;
    assert!(matches!(refused, Err(BrokerError::Denied { .. })), "{refused:?}");
    let refused = worker.delete(&tasks()).await;
    assert!(matches!(refused, Err(BrokerError::Denied { .. })), "{refused:?}");
    assert_shuffle_is_confined(&leader, &worker).await;
    for broker in [provisioner, leader, worker] {
        broker.close().await;
    }
}

/// The leader declares, binds, renews and deletes queues of blocks and reads outputs; the worker
/// writes blocks and reads partitions.
async fn assert_shuffle_is_confined(leader: &AmqpBroker, worker: &AmqpBroker) {
    let (job, exchange, partition) = (JobId::new(), 0, 7);
    let input = ShuffleQueue::Partition { job, exchange, partition };
    let output = ShuffleQueue::Output { job, task: TaskNumber(7) };
    let all = [input, output];
    for action in [QueueAction::Declare, QueueAction::Renew, QueueAction::Check] {
        for outcome in leader.manage(action, &all).await {
            assert_eq!(outcome.unwrap(), 0, "{action:?}");
        }
    }
    for (queue, reader, other) in [(input, worker, leader), (output, leader, worker)] {
        for writer in [leader, worker] {
            let address = Address::blocks(&queue);
            assert!(writer.publish_mandatory(&address, message("x")).await.unwrap());
        }
        let spec = QueueSpec::Shuffle(queue);
        let options = ConsumeOptions::new(10).exclusive().passive();
        let mut consumer = reader.consume(&spec, options).await.unwrap();
        delivery(&mut *consumer).await.settle(Settle::Ack);
        let denied = other.consume(&spec, options).await;
        assert!(matches!(denied, Err(BrokerError::Denied { .. })), "{denied:?}");
    }
    assert!(worker.manage(QueueAction::Check, &[input]).await[0].is_ok());
    for action in [QueueAction::Declare, QueueAction::Renew, QueueAction::Delete] {
        let denied = &worker.manage(action, &[input]).await[0];
        assert!(matches!(denied, Err(BrokerError::Denied { .. })), "{action:?}: {denied:?}");
    }
    for outcome in leader.manage(QueueAction::Delete, &all).await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_alarm_of_the_broker_is_reported_and_publishing_resumes_after_it() {
    const ALARM: &str = "vm_memory_high_watermark.absolute = 1MB";
    let node = start_node(NodeOptions::new().config(ALARM)).await;
    let broker = Arc::new(connect_to(&node.url(), "ns", Role::Leader).await.unwrap());
    let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
    let publish = {
        let broker = broker.clone();
        tokio::spawn(async move {
            loop {
                match broker.publish_mandatory(&to_tasks(), message("x")).await {
                    Ok(true) => break,
                    // The consumer has not declared its queue again yet.
                    Ok(false) => tokio::time::sleep(Duration::from_millis(10)).await,
                    Err(error) => assert!(matches!(error, PublishError::Lost), "{error:?}"),
                }
            }
        })
    };
    let health = wait_for_health(&broker, "the alarm", |health| health.blocked.is_some()).await;
    assert_eq!(health.blocked.as_deref(), Some("low on memory"));
    assert!(!publish.is_finished());
    let (node, restarted) = with_node(node, |node| {
        let path = node.data().join("rabbitmq.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(ALARM));
        std::fs::write(&path, text.replace(ALARM, "")).unwrap();
        // While the alarm lasts, an orderly stop would take long.
        node.kill().and_then(|()| node.restart())
    })
    .await;
    restarted.unwrap();
    soon("the publish", publish).await.unwrap();
    resumed(&mut *consumer).await;
    delivery(&mut *consumer).await.settle(Settle::Ack);
    wait_for_health(&broker, "a healthy connection", |health| health.is_well()).await;
    broker.close().await;
    drop(node);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_broker_that_blocks() {
    let node =
        start_node(NodeOptions::new().config("vm_memory_high_watermark.absolute = 1MB")).await;
    let broker = Arc::new(connect_to(&node.url(), "ns", Role::Leader).await.unwrap());
    let publish = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(&to_tasks(), message("x")).await })
    };
    wait_for_health(&broker, "the alarm", |health| health.blocked.is_some()).await;
    soon("the close", broker.close()).await;
    assert!(soon("the outcome", publish).await.unwrap().is_err());
}

#[cfg(feature = "tls")]
mod tls {
    use phalanx_test_node::TlsIdentity;

    use super::*;

    /// Forwards an address that the certificate does not name to the same listener; returns its
    /// port.
    async fn unnamed_address(port: u16) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        address.port()
    }

    #[tokio::test]
    async fn tls_connects_only_to_the_broker_that_a_trusted_certificate_names() {
        let identity = TlsIdentity::generate().unwrap();
        let node = start_node(NodeOptions::new().tls(identity.clone())).await;
        let authority = node.data().join("authority.pem");
        std::fs::write(&authority, &identity.authority).unwrap();
        let stranger = node.data().join("stranger.pem");
        std::fs::write(&stranger, TlsIdentity::generate().unwrap().authority).unwrap();
        let empty = node.data().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let url = node.tls_url().unwrap();
        let trusting = |path: &std::path::Path| format!("{url}?cacertfile={}", path.display());

        let broker = connect_to(&trusting(&authority), "ns", Role::Leader).await.unwrap();
        let mut consumer = broker.consume(&tasks(), ConsumeOptions::new(1)).await.unwrap();
        broker.publish(&to_tasks(), message(vec![7; 300_000])).await.unwrap();
        let delivery = delivery(&mut *consumer).await;
        assert_eq!(delivery.message.body.len(), 300_000);
        delivery.settle(Settle::Ack);
        // Asks for the version of the broker, over another connection with TLS.
        let queue = ShuffleQueue::Output { job: JobId::new(), task: TaskNumber(7) };
        assert_eq!(broker.manage(QueueAction::Declare, &[queue]).await.remove(0).unwrap(), 0);
        broker.close().await;

        let (_, host, _) = parts(&url);
        let port = host.rsplit_once(':').unwrap().1.parse().unwrap();
        let misnamed = trusting(&authority)
            .replace(&host, &format!("127.0.0.2:{}", unnamed_address(port).await));
        let plain = trusting(&authority).replace(&host, &node.address().to_string());
        let absent = node.data().join("absent.pem");
        for url in
            [url.clone(), trusting(&stranger), trusting(&empty), trusting(&absent), misnamed, plain]
        {
            let error = connect_to(&url, "ns", Role::Leader).await.unwrap_err();
            assert!(matches!(error, ConnectError::Tls { .. }), "{url}: {error:?}");
        }
    }

    #[tokio::test]
    async fn amqps_does_not_fall_back_to_a_broker_without_tls() {
        let url = test_url();
        let (credentials, host, rest) = parts(&url);
        let url = format!("amqps://{credentials}@{host}{rest}");
        let error = soon("the refusal", connect_to(&url, "ns", Role::Leader)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    }
}
