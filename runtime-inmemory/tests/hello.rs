//! Leaders reply to workers that connect.

use std::{sync::Arc, time::Duration};

use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumer, Consumption, Message, MessageKind, Pool,
        Properties, QueueSpec, Topic,
    },
    id::WorkerId,
    leader::Runtime,
    wire::{Control, Event, Presence, WIRE_VERSION},
};
use phalanx_inmemory::InMemoryBroker;

async fn consume_control(broker: &InMemoryBroker, worker: WorkerId) -> Box<dyn Consumer> {
    let topics = vec![Topic::Worker(worker).to_string()];
    broker.consume(&QueueSpec::Control { worker, topics }, ConsumeOptions::new(8)).await.unwrap()
}

fn hello(worker: WorkerId) -> Message {
    let presence = Presence {
        worker,
        name: String::new(),
        pools: vec![Pool::default()],
        slots: 1,
        async_slots: 1,
        isolates: true,
        operations: None,
        version: String::new(),
    };
    let properties = Properties {
        kind: Some(MessageKind::Event),
        wire_version: WIRE_VERSION,
        ..Properties::default()
    };
    Message { properties, body: Event::Hello(presence).encode().unwrap() }
}

/// The worker takes no task until then.
#[tokio::test(start_paused = true)]
async fn a_leader_replies_to_the_hello_of_a_worker_at_once_and_to_no_other_worker() {
    let broker = Arc::new(InMemoryBroker::new());
    let (newcomer, other) = (WorkerId::new(), WorkerId::new());
    let mut control = consume_control(&broker, newcomer).await;
    let mut other_control = consume_control(&broker, other).await;
    let runtime = Runtime::builder().lead(broker.clone()).await.unwrap();
    // The paused clock advances only while every task is idle: the reply comes at once, or seconds
    // later with a heartbeat.
    broker.publish(&Address::events(newcomer), hello(newcomer)).await.unwrap();
    let reply = tokio::time::timeout(Duration::from_millis(1), control.next()).await;
    let Some(Consumption::Delivery(reply)) = reply.expect("a reply at once") else {
        panic!("the consumer ended")
    };
    let reply = Control::decode(&reply.message.body).unwrap();
    assert!(matches!(reply, Control::Alive { .. }), "{reply:?}");
    assert!(other_control.try_next().is_none());
    runtime.close().await;
}
