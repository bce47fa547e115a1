//! What jobs end with if their leader ends, or cannot begin.

use std::{future::pending, sync::Arc};

use phalanx::{
    Error,
    broker::{
        Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, DeclaredQueue, Health,
        Message, PublishError, QueueAction, QueueSpec, ShuffleQueue,
    },
    inmemory::InMemoryBroker,
    prelude::*,
};
use phalanx_test_support::soon;
use tokio::sync::watch;

#[operation]
async fn wait_forever(n: u64) -> u64 {
    pending::<()>().await;
    n
}

fn start(runtime: &Runtime) -> (Job, Results<u64>) {
    IndexedStream::from([1]).map(WaitForever).start(runtime).unwrap()
}

/// A connection whose publishes panic.
#[derive(Debug)]
struct Panicking(Arc<dyn Broker>);

#[async_trait::async_trait]
impl Broker for Panicking {
    fn url(&self) -> &BrokerUrl {
        self.0.url()
    }

    async fn declare(&self, queue: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        self.0.declare(queue).await
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        if message.properties.copy.is_some() {
            panic!("the tape is torn");
        }
        self.0.publish(address, message).await
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.0.publish_mandatory(address, message).await
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        self.0.consume(queue, options).await
    }

    async fn manage(
        &self,
        action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        self.0.manage(action, queues).await
    }

    async fn delete(&self, queue: &QueueSpec) -> Result<(), BrokerError> {
        self.0.delete(queue).await
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.0.health()
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

#[tokio::test]
async fn a_program_outside_of_tokio_is_refused() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let outside = std::thread::spawn(move || {
        let stream = IndexedStream::from([1]).map(WaitForever).start(&runtime);
        let value = IndexedStream::from([1]).map(WaitForever).count().start(&runtime);
        (stream.map(drop), value.map(drop))
    });
    let (stream, value) = outside.join().unwrap();
    assert!(matches!(stream, Err(Error::OutsideTokio)), "{stream:?}");
    assert!(matches!(value, Err(Error::OutsideTokio)), "{value:?}");
}

#[tokio::test]
async fn a_job_whose_runtime_is_closed_ends_with_that() {
    let runtime = Runtime::connect("memory://").await.unwrap();
    let (_job, mut results) = start(&runtime);
    let other = runtime.clone();
    soon("the runtime to close", runtime.close()).await;
    let end = soon("the end", results.next()).await;
    assert!(matches!(end, Some(Err(Error::Closed))), "{end:?}");
    let late = IndexedStream::from([1]).map(WaitForever).collect(&other).await;
    assert!(matches!(late, Err(Error::Closed)), "{late:?}");
}

#[tokio::test]
async fn a_job_whose_broker_is_closed_ends_with_that() {
    let broker = InMemoryBroker::new();
    let connection: Arc<dyn Broker> = Arc::new(broker.connect());
    let runtime = Runtime::builder().lead(Arc::clone(&connection)).await.unwrap();
    let (_job, mut results) = start(&runtime);
    connection.close().await;
    let end = soon("the end", results.next()).await;
    assert!(matches!(end, Some(Err(Error::BrokerClosed))), "{end:?}");
    let late = IndexedStream::from([1]).map(WaitForever).collect(&runtime).await;
    assert!(matches!(late, Err(Error::BrokerClosed)), "{late:?}");
}

#[tokio::test]
async fn a_panic_of_the_leader_ends_its_jobs_with_its_place_and_message() {
    let connection = Arc::new(InMemoryBroker::new().connect());
    let runtime = Runtime::builder().lead(Arc::new(Panicking(connection))).await.unwrap();
    let (job, mut results) = start(&runtime);
    let mut events = job.events();
    let Some(Err(error @ Error::LeaderPanicked { .. })) = soon("the end", results.next()).await
    else {
        panic!("another end was expected")
    };
    let text = error.to_string();
    assert!(text.contains("endings.rs") && text.contains("the tape is torn"), "{text}");
    assert!(job.progress().borrow().ended);
    let mut last = None;
    while let Some(event) = soon("the events", events.next()).await {
        last = Some(event);
    }
    assert_eq!(last, Some(JobEvent::Ended { error: Some(text) }));
    soon("the runtime to close", runtime.clone().close()).await;
    let late = IndexedStream::from([1]).map(WaitForever).collect(&runtime).await;
    assert!(matches!(late, Err(Error::LeaderPanicked { .. })), "{late:?}");
}
