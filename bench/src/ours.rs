//! The programs of Phalanx.

use std::sync::Arc;

use anyhow::{Result, ensure};
use phalanx::{
    prelude::{IndexedStream, Monoid, RemoteExecute, Runtime, TaskContext, operation},
    worker::{Worker, WorkerOptions},
};
use phalanx_core::broker::{self, Broker, BrokerUrl, ConnectOptions, Pool, QueueSpec, Role};
use serde::{Deserialize, Serialize};

#[operation]
pub(crate) fn double(n: u64) -> u64 {
    2 * n
}

#[derive(Serialize, Deserialize, RemoteExecute)]
pub(crate) struct Sum;

impl Monoid for Sum {
    type Elem = u64;

    fn empty(&self) -> u64 {
        0
    }

    fn combine(&self, a: u64, b: u64, _: &TaskContext) -> phalanx::prelude::Result<u64> {
        Ok(a + b)
    }
}

/// Doubles numbers, and reads the results as they arrive.
pub(crate) async fn map(runtime: &Runtime, elements: u64) -> Result<()> {
    read(IndexedStream::from(0..elements).map(Double), runtime, elements).await
}

/// Doubles numbers, with one task for each.
pub(crate) async fn map_one_by_one(runtime: &Runtime, elements: u64) -> Result<()> {
    read(IndexedStream::from(0..elements).map(Double).batch(1), runtime, elements).await
}

async fn read(program: IndexedStream<u64>, runtime: &Runtime, elements: u64) -> Result<()> {
    let mut results = program.run(runtime).await?;
    let (mut count, mut sum) = (0, 0);
    while let Some(item) = results.next().await {
        let (_, doubled) = item?;
        count += 1;
        sum += doubled;
    }
    ensure!((count, sum) == (elements, elements * (elements - 1)), "the results are wrong");
    Ok(())
}

/// A leader and a worker on RabbitMQ, each with its own connections.
pub(crate) struct Fleet {
    pub(crate) runtime: Runtime,
    worker: Worker,
    broker: Arc<dyn Broker>,
}

impl Fleet {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        let mut options = ConnectOptions::new(Role::Worker);
        options.namespace = NAMESPACE.to_owned();
        let broker = broker::connect(BrokerUrl::parse(url)?, options).await?;
        let worker = Worker::start(Arc::clone(&broker), WorkerOptions::default());
        let runtime = Runtime::builder().url(url).namespace(NAMESPACE).connect().await?;
        Ok(Self { runtime, worker, broker })
    }

    /// Closes everything, and deletes the queues.
    pub(crate) async fn end(self) -> Result<()> {
        self.runtime.close().await;
        self.worker.drain();
        self.worker.finished().await;
        let pool = Pool::default();
        self.broker.delete(&QueueSpec::Task { pool: pool.clone() }).await?;
        self.broker.delete(&QueueSpec::Dead { pool }).await?;
        self.broker.close().await;
        Ok(())
    }
}

const NAMESPACE: &str = "phalanx-bench";
