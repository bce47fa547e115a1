//! Leaders and workers that meet.

use std::{sync::Arc, time::Duration};

use phalanx_core::{
    broker::{
        Address, Broker, Consumer, Consumption, Exchange, Message, MessageKind, Pool, Properties,
        QueueSpec,
    },
    id::WorkerId,
    leader::Runtime,
    wire::{Control, Event, Presence, WIRE_VERSION},
};
use phalanx_inmemory::InMemoryBroker;

async fn control_of(broker: &InMemoryBroker, worker: WorkerId) -> Box<dyn Consumer> {
    let topics = vec![format!("worker.{worker}")];
    broker.consume(&QueueSpec::Control { worker, topics }, 8).await.unwrap()
}

fn hello(worker: WorkerId) -> Message {
    let presence = Presence {
        worker,
        name: String::new(),
        pools: vec![Pool::default()],
        slots: 1,
        async_slots: 1,
        version: String::new(),
    };
    let properties = Properties {
        kind: Some(MessageKind::Event),
        wire_version: WIRE_VERSION,
        ..Properties::default()
    };
    Message { properties, body: Event::Hello(presence).encode().unwrap() }
}

/// Until then it takes no task.
#[tokio::test(start_paused = true)]
async fn a_leader_answers_a_worker_that_says_hello_at_once_and_it_alone() {
    let broker = Arc::new(InMemoryBroker::new());
    let (newcomer, other) = (WorkerId::new(), WorkerId::new());
    let mut heard = control_of(&broker, newcomer).await;
    let mut silent = control_of(&broker, other).await;
    let runtime = Runtime::builder().lead(broker.clone()).await.unwrap();
    // The clock stands still while anybody has something to do: it is at once, or seconds later.
    broker.publish(&Address::new(Exchange::Event, "any"), hello(newcomer)).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_millis(1), heard.next()).await;
    let Some(Consumption::Delivery(answer)) = answer.expect("it answers at once") else {
        panic!("the consumer ended")
    };
    let answer = Control::decode(&answer.message.body).unwrap();
    assert!(matches!(answer, Control::Alive { .. }), "{answer:?}");
    assert!(silent.try_next().is_none());
    runtime.close().await;
}
