//! Paladin 0.4.3: a leader and workers much like those of Phalanx, with one message for each element.

use anyhow::{Result, ensure};
use futures::TryStreamExt as _;
use paladin::{
    config::{self, Config},
    directive::{Directive, indexed_stream::IndexedStream},
    operation::Operation,
    runtime::{Runtime, WorkerRuntime},
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

paladin::registry!();

#[derive(Debug, Serialize, Deserialize, paladin::RemoteExecute)]
struct Double;

impl Operation for Double {
    type Input = u64;
    type Output = u64;

    fn execute(&self, n: u64) -> paladin::operation::Result<u64> {
        Ok(2 * n)
    }
}

/// A leader and as many workers as the machine has cores.
pub(crate) struct Paladin {
    runtime: Runtime,
    workers: Vec<JoinHandle<Result<()>>>,
}

impl Paladin {
    pub(crate) async fn in_memory() -> Result<Self> {
        let config = Config {
            runtime: config::Runtime::InMemory,
            num_workers: Some(cores()),
            ..Config::default()
        };
        let runtime = Runtime::from_config(&config, register()).await?;
        Ok(Self { runtime, workers: Vec::new() })
    }

    pub(crate) async fn over_rabbitmq(url: &str) -> Result<Self> {
        let config = Config {
            runtime: config::Runtime::Amqp,
            amqp_uri: Some(url.to_owned()),
            task_bus_routing_key: Some("paladin-bench".to_owned()),
            ..Config::default()
        };
        let mut workers = Vec::new();
        for _ in 0..cores() {
            let worker = WorkerRuntime::from_config(&config, register()).await?;
            workers.push(tokio::spawn(async move { worker.main_loop().await }));
        }
        let runtime = Runtime::from_config(&config, register()).await?;
        Ok(Self { runtime, workers })
    }

    /// Doubles numbers, and reads the results as they arrive.
    pub(crate) async fn map(&self, elements: u64) -> Result<()> {
        let doubled = IndexedStream::from(0..elements).map(&Double);
        let mut results = doubled.run(&self.runtime).await?;
        let (mut count, mut sum) = (0, 0);
        while let Some((_, doubled)) = results.try_next().await? {
            count += 1;
            sum += doubled;
        }
        ensure!((count, sum) == (elements, elements * (elements - 1)), "the results are wrong");
        Ok(())
    }

    pub(crate) async fn end(self) -> Result<()> {
        for worker in &self.workers {
            worker.abort();
        }
        self.runtime.close().await
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
