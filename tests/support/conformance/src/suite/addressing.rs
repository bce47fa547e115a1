//! Which queues receive a message.

use futures::future::join_all;
use phalanx_core::{
    broker::{Address, Exchange, QueueSpec},
    id::{LeaderId, WorkerId},
};

use phalanx_test_support::until;

use crate::tools::{BrokerUnderTest, consume, message, publish, replies, take, to_replies};

/// Each worker has a control queue, bound to the topics that concern it.
pub async fn control_messages_reach_workers_by_their_topics(broker: &impl BrokerUnderTest) {
    let (leader, one, two) =
        (broker.connect().await, broker.connect().await, broker.connect().await);
    let (first, second) = (WorkerId::new(), WorkerId::new());
    let queue = |worker: WorkerId, topics: &[&str]| QueueSpec::Control {
        worker,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
    };
    let mut first = consume(&one, &queue(first, &["all", "pool.cpu", "job.#"]), 10).await;
    let mut second = consume(&two, &queue(second, &["all", "*.gpu"]), 10).await;
    let everything = [
        ("all", "to all"),
        ("pool.cpu", "to the first"),
        ("pool.gpu", "to the second"),
        ("pool.io", "to no worker"),
        ("job.7.cancel", "to the first again"),
        ("all", "the end"),
    ];
    for (topic, text) in everything {
        publish(&leader, &Address::new(Exchange::Control, topic), text).await;
    }
    for text in ["to all", "to the first", "to the first again", "the end"] {
        assert_eq!(take(&mut first).await, text);
    }
    for text in ["to all", "to the second", "the end"] {
        assert_eq!(take(&mut second).await, text);
    }
}

/// No messages accumulate for a worker that has ended.
pub async fn a_control_queue_is_deleted_with_its_connection(broker: &impl BrokerUnderTest) {
    let (leader, worker) = (broker.connect().await, broker.connect().await);
    let queue = QueueSpec::Control { worker: WorkerId::new(), topics: vec!["all".to_owned()] };
    let all = Address::new(Exchange::Control, "all");
    // While the queue is being deleted, the publish itself may fail.
    let is_unroutable =
        async || matches!(leader.publish_mandatory(&all, message("x")).await, Ok(false));
    let starting = broker.connect().await;
    starting.declare(&queue).await.unwrap();
    assert!(leader.publish_mandatory(&all, message("x")).await.unwrap());
    starting.close().await;
    until("the deletion of the queue", &is_unroutable).await;

    let consumer = consume(&worker, &queue, 1).await;
    assert!(leader.publish_mandatory(&all, message("x")).await.unwrap());
    worker.close().await;
    drop(consumer);
    until("the deletion of the queue", &is_unroutable).await;
}

/// Event queues are bound to every topic.
pub async fn every_leader_receives_every_event(broker: &impl BrokerUnderTest) {
    let (one, two, worker) =
        (broker.connect().await, broker.connect().await, broker.connect().await);
    let mut first = consume(&one, &QueueSpec::Event { leader: LeaderId::new() }, 10).await;
    let mut second = consume(&two, &QueueSpec::Event { leader: LeaderId::new() }, 10).await;
    for topic in ["worker", "worker.hello", "pool.default.presence"] {
        publish(&worker, &Address::new(Exchange::Event, topic), topic).await;
    }
    for topic in ["worker", "worker.hello", "pool.default.presence"] {
        assert_eq!(take(&mut first).await, topic);
        assert_eq!(take(&mut second).await, topic);
    }
}

/// A leader that does not read uses little memory at the broker, and later reads the newest events.
pub async fn an_event_queue_is_bounded_and_keeps_the_newest(broker: &impl BrokerUnderTest) {
    const MANY: usize = 12_000;
    let (leader, worker) = (broker.connect().await, broker.connect().await);
    let mut consumer = consume(&leader, &QueueSpec::Event { leader: LeaderId::new() }, 1).await;
    let presence = Address::new(Exchange::Event, "worker.presence");
    let publishes = (0..MANY).map(|n| worker.publish(&presence, message(n.to_string())));
    for confirmed in join_all(publishes).await {
        confirmed.unwrap();
    }
    let mut kept = 1;
    while take(&mut consumer).await != (MANY - 1).to_string() {
        kept += 1;
    }
    // One message may have been delivered before the queue was full.
    assert!(kept <= 10_001, "{kept} messages were kept");
}

/// A leader that reconnects receives the replies that arrived while it was away.
pub async fn a_reply_queue_outlives_its_consumer(broker: &impl BrokerUnderTest) {
    let (before, worker) = (broker.connect().await, broker.connect().await);
    let leader = LeaderId::new();
    drop(consume(&before, &replies(leader), 1).await);
    before.close().await;
    assert!(worker.publish_mandatory(&to_replies(leader), message("kept")).await.unwrap());
    let after = broker.connect().await;
    assert_eq!(take(&mut consume(&after, &replies(leader), 1).await).await, "kept");
}

/// Leaders share the reply exchange; each has its own reply queue.
pub async fn replies_go_to_their_own_leader(broker: &impl BrokerUnderTest) {
    let (one, two, worker) =
        (broker.connect().await, broker.connect().await, broker.connect().await);
    let (first, second) = (LeaderId::new(), LeaderId::new());
    let mut to_first = consume(&one, &replies(first), 10).await;
    let mut to_second = consume(&two, &replies(second), 10).await;
    for (leader, text) in [(first, "1"), (second, "2"), (first, "3"), (second, "4")] {
        publish(&worker, &to_replies(leader), text).await;
    }
    for text in ["1", "3"] {
        assert_eq!(take(&mut to_first).await, text);
    }
    for text in ["2", "4"] {
        assert_eq!(take(&mut to_second).await, text);
    }
}
