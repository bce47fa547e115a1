//! A cluster that loses a node.

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use phalanx_amqp::AmqpBroker;
use phalanx_core::{
    broker::{Address, Broker, BrokerUrl, ConsumeOptions, QueueSpec, QueueType, Role, Settle},
    id::LeaderId,
};
use phalanx_test_node::Cluster;
use phalanx_test_proxy::Proxy;

async fn connect_quorum(url: &str, namespace: &str, role: Role) -> AmqpBroker {
    let mut options = options(namespace, role);
    options.queue_type = QueueType::Quorum;
    AmqpBroker::connect(BrokerUrl::parse(url).unwrap(), options).await.unwrap()
}

/// The reply queue is a classic queue and lost with the node, so the leader must declare another.
/// The dead-letter queue is lost too, and must not delay the use of the task queue.
#[tokio::test]
#[ignore = "needs Docker"]
async fn a_fleet_keeps_working_after_its_cluster_permanently_loses_a_node() {
    let cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap().unwrap();
    let cluster = Arc::new(cluster);
    let proxy_to = async |node| {
        let url = format!("amqp://guest:guest@{}/%2f", cluster.address(node));
        Proxy::to(&url).await.unwrap()
    };
    let (first, second) = (proxy_to(0).await, proxy_to(1).await);
    second.refuse(true);
    let hosts = format!("{},{}", first.address(), second.address());
    let url = format!("amqp://guest:guest@{hosts}/%2f?heartbeat=2");
    let namespace = namespace();
    let leader = connect_quorum(&url, &namespace, Role::Leader).await;
    leader.declare(&tasks()).await.unwrap();
    let id = LeaderId::new();
    let replies = QueueSpec::Reply { leader: id, expires: Duration::from_secs(600) };
    let mut consumer = leader.consume(&replies, ConsumeOptions::new(10)).await.unwrap();
    second.refuse(false);

    // The node stays down: a classic queue on it exists nowhere else.
    let lost = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || lost.kill(0)).await.unwrap().unwrap();
    resumed(&mut *consumer).await;

    leader.publish(&to_tasks(), message("do")).await.unwrap();
    let worker = connect_quorum(&second.url(), &namespace, Role::Worker).await;
    let mut tasks_consumer =
        soon("the consumer", worker.consume(&tasks(), ConsumeOptions::new(1))).await.unwrap();
    let task = delivery(&mut *tasks_consumer).await;
    assert_eq!(task.message.body.as_ref(), b"do");
    task.settle(Settle::Ack);
    let to_leader = Address::replies(id);
    assert!(worker.publish_mandatory(&to_leader, message("done")).await.unwrap());
    let reply = delivery(&mut *consumer).await;
    assert_eq!(reply.message.body.as_ref(), b"done");
    reply.settle(Settle::Ack);

    // Replies still arrive after the node has returned, with the abandoned queue on it.
    let found = Arc::clone(&cluster);
    tokio::task::spawn_blocking(move || found.revive(0)).await.unwrap().unwrap();
    worker.publish(&to_leader, message("more")).await.unwrap();
    assert_eq!(delivery(&mut *consumer).await.message.body.as_ref(), b"more");
    worker.close().await;
    leader.delete(&replies).await.unwrap();
    leader.close().await;
}
