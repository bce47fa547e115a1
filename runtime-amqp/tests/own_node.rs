//! What needs a broker of the test's own: users, alarms, certificates, and its death.

mod common;

use std::sync::Arc;

use common::*;
use futures::future::join_all;
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, BrokerUrl, ConnectError, Exchange, Pool, PublishError,
        QueueSpec, QueueType, Role, Settle,
    },
    id::{LeaderId, WorkerId},
};
use phalanx_test_node::{NodeOptions, Permissions, PrivateNode};

async fn start(options: NodeOptions) -> PrivateNode {
    let started = tokio::task::spawn_blocking(move || PrivateNode::start(&options));
    started.await.unwrap().unwrap()
}

/// Does something that takes its time with the node.
async fn with<T: Send + 'static>(
    mut node: PrivateNode,
    work: impl FnOnce(&mut PrivateNode) -> T + Send + 'static,
) -> (PrivateNode, T) {
    let done = tokio::task::spawn_blocking(move || {
        let done = work(&mut node);
        (node, done)
    });
    done.await.unwrap()
}

async fn connect_with_quorum(url: &str, role: Role) -> Result<AmqpBroker, ConnectError> {
    let mut options = options("ns", role);
    options.queue_type = QueueType::Quorum;
    AmqpBroker::connect(BrokerUrl::parse(url)?, options).await
}

/// Stopped in an orderly way, and then killed: each time all that was confirmed is there again.
#[tokio::test]
async fn what_was_confirmed_survives_the_broker() {
    let node = start(NodeOptions::new()).await;
    let quorum = Arc::new(connect_with_quorum(&node.url(), Role::Leader).await.unwrap());
    let leader = LeaderId::new();
    let replies = QueueSpec::Reply { leader, expires: PATIENCE * 10 };
    let to_replies = Address::new(Exchange::Reply, leader.to_string());
    quorum.declare(&tasks()).await.unwrap();
    quorum.declare(&replies).await.unwrap();
    for number in 0..50u8 {
        quorum.publish(&to_tasks(), message([number])).await.unwrap();
        quorum.publish(&to_replies, message([number])).await.unwrap();
    }
    let mut results = quorum.consume(&replies, 1).await.unwrap();

    let (node, stopped) = with(node, PrivateNode::restart).await;
    stopped.unwrap();
    resumed(&mut *results).await;
    let mut consumer = quorum.consume(&tasks(), 50).await.unwrap();
    for _ in 0..50 {
        delivery(&mut *consumer).await.settle(Settle::Ack);
    }
    // The second half after the broker's death.
    for _ in 0..25 {
        delivery(&mut *results).await.settle(Settle::Ack);
    }
    results.cancel().await;
    drop(results);
    quorum.declare(&replies).await.unwrap();
    let (node, killed) = with(node, |node| node.kill().and_then(|()| node.restart())).await;
    killed.unwrap();
    resumed(&mut *consumer).await;
    let mut results = quorum.consume(&replies, 50).await.unwrap();
    let mut left: Vec<u8> = Vec::new();
    while left.last() != Some(&49) {
        let delivery = delivery(&mut *results).await;
        left.push(delivery.message.body[0]);
        delivery.settle(Settle::Ack);
    }
    assert!(left.ends_with(&(25..50).collect::<Vec<u8>>()), "{left:?}");

    healthy(&quorum, "to be well", |health| health.is_well()).await;
    let publishes = (0..50u8).map(|number| {
        let broker = quorum.clone();
        async move {
            // A loss only says that nobody knows: it is for the publisher to try again.
            while broker.publish(&to_tasks(), message([number])).await.is_err() {}
        }
    });
    soon("to publish", join_all(publishes)).await;
    delivery(&mut *consumer).await.settle(Settle::Ack);
    quorum.close().await;
    drop(node);
}

const PROVISION: &str = "provisioner";
const LEADER: &str = "leader";
const WORKER: &str = "worker";
const STRANGER: &str = "stranger";

/// The least that leaders and workers need. From 4.3 on nobody sees a queue to which he has no
/// right: hence the leader's right to write to task queues, which only lets it bind them.
fn least_privilege() -> NodeOptions {
    let leader = Permissions {
        configure: r"^ns\.(reply|event)\.[0-9a-f-]+$",
        write: r"^ns\.(task(\.[a-z0-9._-]+)?|control|dead|(reply|event)\.[0-9a-f-]+)$",
        read: r"^ns\.(reply|control|event|(reply|event)\.[0-9a-f-]+)$",
    };
    let worker = Permissions {
        configure: r"^ns\.control\.[0-9a-f-]+$",
        write: r"^ns\.(reply|event|control\.[0-9a-f-]+)$",
        read: r"^ns\.(task\.[a-z0-9._-]+|control|control\.[0-9a-f-]+)$",
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
async fn users_of_least_privilege_use_what_was_provisioned() {
    let node = start(least_privilege()).await;
    let url = |user| node.url_for(user, "hunter2", "%2f");

    // Nothing is there yet, and neither may make it.
    for user in [LEADER, WORKER, STRANGER] {
        let error = connect_with_quorum(&url(user), Role::Leader).await.unwrap_err();
        let text = shown(&error);
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

    // A task and its answer, control and events: all that the protocol needs.
    let id = LeaderId::new();
    let replies = QueueSpec::Reply { leader: id, expires: PATIENCE };
    let control = QueueSpec::Control { worker: WorkerId::new(), topics: vec!["all".to_owned()] };
    let mut replies = leader.consume(&replies, 10).await.unwrap();
    let mut events = leader.consume(&QueueSpec::Event { leader: id }, 10).await.unwrap();
    let mut tasks_taken = worker.consume(&tasks(), 1).await.unwrap();
    let mut control = worker.consume(&control, 10).await.unwrap();
    let to_replies = Address::new(Exchange::Reply, id.to_string());
    for (from, address, to) in [
        (&leader, to_tasks(), &mut tasks_taken),
        (&leader, Address::new(Exchange::Control, "all"), &mut control),
        (&worker, to_replies, &mut replies),
        (&worker, Address::new(Exchange::Event, "hello"), &mut events),
    ] {
        from.publish(&address, message("x")).await.unwrap();
        delivery(&mut **to).await.settle(Settle::Ack);
    }
    leader.publish(&Address::new(Exchange::Dead, "default"), message("x")).await.unwrap();

    // And nothing beyond: a worker gives no orders, a leader takes no tasks.
    for address in [to_tasks(), Address::new(Exchange::Control, "all")] {
        let refused = soon("a refusal", worker.publish(&address, message("x"))).await;
        assert!(matches!(refused, Err(PublishError::Refused { .. })), "{refused:?}");
    }
    let refused = leader.consume(&tasks(), 1).await;
    assert!(matches!(refused, Err(BrokerError::Denied { .. })), "{refused:?}");
    let refused = worker.delete(&tasks()).await;
    assert!(matches!(refused, Err(BrokerError::Denied { .. })), "{refused:?}");
    for broker in [provisioner, leader, worker] {
        broker.close().await;
    }
}

#[tokio::test]
async fn an_alarm_of_the_broker_is_named_and_outlived() {
    const ALARM: &str = "vm_memory_high_watermark.absolute = 1MB";
    let node = start(NodeOptions::new().config(ALARM)).await;
    let broker = Arc::new(connect_to(&node.url(), "ns", Role::Leader).await.unwrap());
    let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
    let publish = {
        let broker = broker.clone();
        tokio::spawn(async move {
            while let Err(error) = broker.publish(&to_tasks(), message("x")).await {
                assert!(matches!(error, PublishError::Lost), "{error:?}");
            }
        })
    };
    let health = healthy(&broker, "to be blocked", |health| health.blocked.is_some()).await;
    assert_eq!(health.blocked.as_deref(), Some("low on memory"));
    assert!(!publish.is_finished());
    let (node, restarted) = with(node, |node| {
        let path = node.data().join("rabbitmq.conf");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(ALARM));
        std::fs::write(&path, text.replace(ALARM, "")).unwrap();
        // The alarm keeps it from ending in an orderly way before long.
        node.kill().and_then(|()| node.restart())
    })
    .await;
    restarted.unwrap();
    soon("to publish", publish).await.unwrap();
    resumed(&mut *consumer).await;
    delivery(&mut *consumer).await.settle(Settle::Ack);
    healthy(&broker, "to be well", |health| health.is_well()).await;
    broker.close().await;
    drop(node);
}

#[tokio::test]
async fn closing_does_not_wait_for_a_broker_that_blocks() {
    let node = start(NodeOptions::new().config("vm_memory_high_watermark.absolute = 1MB")).await;
    let broker = Arc::new(connect_to(&node.url(), "ns", Role::Leader).await.unwrap());
    let publish = {
        let broker = broker.clone();
        tokio::spawn(async move { broker.publish(&to_tasks(), message("x")).await })
    };
    healthy(&broker, "to be blocked", |health| health.blocked.is_some()).await;
    soon("to close", broker.close()).await;
    assert!(soon("an answer", publish).await.unwrap().is_err());
}

#[cfg(feature = "tls")]
mod tls {
    use phalanx_test_node::TlsIdentity;

    use super::*;

    /// Another address of the same listener, one that its certificate does not name.
    async fn nameless(port: u16) -> u16 {
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
    async fn tls_is_spoken_with_the_broker_that_the_certificate_names_and_no_other() {
        let identity = TlsIdentity::generate().unwrap();
        let node = start(NodeOptions::new().tls(identity.clone())).await;
        let authority = node.data().join("authority.pem");
        std::fs::write(&authority, &identity.authority).unwrap();
        let stranger = node.data().join("stranger.pem");
        std::fs::write(&stranger, TlsIdentity::generate().unwrap().authority).unwrap();
        let empty = node.data().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let url = node.tls_url().unwrap();
        let trusting = |path: &std::path::Path| format!("{url}?cacertfile={}", path.display());

        let broker = connect_to(&trusting(&authority), "ns", Role::Leader).await.unwrap();
        let mut consumer = broker.consume(&tasks(), 1).await.unwrap();
        broker.publish(&to_tasks(), message(vec![7; 300_000])).await.unwrap();
        let delivery = delivery(&mut *consumer).await;
        assert_eq!(delivery.message.body.len(), 300_000);
        delivery.settle(Settle::Ack);
        broker.close().await;

        let (_, host, _) = parts(&url);
        let port = host.rsplit_once(':').unwrap().1.parse().unwrap();
        let misnamed =
            trusting(&authority).replace(&host, &format!("127.0.0.2:{}", nameless(port).await));
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
    async fn a_broker_without_tls_is_not_reached_without_it() {
        let url = test_url();
        let (credentials, host, rest) = parts(&url);
        let url = format!("amqps://{credentials}@{host}{rest}");
        let error = soon("a refusal", connect_to(&url, "ns", Role::Leader)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls { .. }), "{error:?}");
    }
}
