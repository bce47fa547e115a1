//! The workers that the in-memory broker starts.

use std::{sync::Arc, time::Duration};

use phalanx_conformance::soon;
use phalanx_core::{
    RemoteExecute,
    broker::{Address, Broker, Message, Pool, Properties},
    leader::Runtime,
    operation::{Operation, Result, TaskContext},
    plan::IndexedStream,
};
use phalanx_inmemory::{Faults, InMemoryBroker};
use phalanx_worker::{Worker, WorkerOptions};
use serde::{Deserialize, Serialize};

/// Declares a pool, which a program can override.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core, pool = "named-by-an-operation")]
struct Double;

impl Operation for Double {
    type Input = u64;
    type Output = u64;

    fn execute(&self, input: u64, _cx: &TaskContext) -> Result<u64> {
        Ok(2 * input)
    }
}

/// Never returns, so its thread is abandoned after its timeout.
#[derive(Serialize, Deserialize, RemoteExecute)]
#[remote(crate = phalanx_core, timeout = "20ms", retries = 0)]
struct Hang;

impl Operation for Hang {
    type Input = u64;
    type Output = u64;

    fn execute(&self, _input: u64, _cx: &TaskContext) -> Result<u64> {
        loop {
            std::thread::park();
        }
    }
}

fn doubled() -> Vec<u64> {
    (0..100).map(|n| 2 * n).collect()
}

async fn double(runtime: &Runtime, pool: Option<&str>) -> Vec<u64> {
    let program = IndexedStream::from(0..100u64).map(Double);
    let program = match pool {
        Some(pool) => program.pool(pool),
        None => program,
    };
    soon("the result", program.collect(runtime)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_needs_only_the_url() {
    let runtime = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
    assert_eq!(double(&runtime, None).await, doubled());
    soon("the close", runtime.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_only_the_program_names_is_served() {
    let runtime = Runtime::builder().url("memory://").slots(1).connect().await.unwrap();
    assert_eq!(double(&runtime, Some("named-by-the-program")).await, doubled());
    soon("the close", runtime.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_abandoned_all_its_threads_is_replaced() {
    let runtime = Runtime::builder().url("memory://").slots(2).connect().await.unwrap();
    // Two of these end the first worker, and two more its replacement.
    for _ in 0..4 {
        let hanging = IndexedStream::from([1]).map(Hang).collect(&runtime);
        let error = soon("the timeout", hanging).await.unwrap_err();
        assert!(error.to_string().contains("20ms"), "{error}");
    }
    assert_eq!(double(&runtime, None).await, doubled());
    soon("the close", runtime.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_may_connect_before_the_first_worker() {
    let broker = InMemoryBroker::new();
    let leading = Arc::new(broker.connect());
    let runtime = Runtime::builder().lead(leading).await.unwrap();
    let program = IndexedStream::from(0..100u64).map(Double).collect(&runtime);
    let worker = async {
        // The queue exists before a worker serves it. The worker must survive the garbage in it.
        let pool = Pool::new("named-by-an-operation").unwrap();
        let address = Address::tasks(&pool);
        let garbage = || Message { properties: Properties::default(), body: "garbage".into() };
        while !broker.publish_mandatory(&address, garbage()).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut options = WorkerOptions::default();
        options.leader_wait = Duration::ZERO;
        options.pools = vec![pool];
        Worker::start(Arc::new(broker.connect()), options)
    };
    let (collected, _worker) = soon("the result", async { tokio::join!(program, worker) }).await;
    assert_eq!(collected.unwrap(), doubled());
    runtime.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_faults_do_not_change_the_result() {
    let broker = InMemoryBroker::with_faults(Faults::seeded(1));
    broker.start_workers(2);
    let runtime = Runtime::builder().lead(Arc::new(broker)).await.unwrap();
    assert_eq!(double(&runtime, None).await, doubled());
    soon("the close", runtime.close()).await;
}
