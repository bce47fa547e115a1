//! The programs of Phalanx.

use std::sync::Arc;

use anyhow::{Result, ensure};
use phalanx::{
    RuntimeBuilder,
    prelude::{IndexedStream, Monoid, RemoteExecute, Runtime, TaskContext, operation},
    worker::{Worker, WorkerOptions},
};
use phalanx_core::broker::{self, Broker, BrokerUrl, ConnectOptions, Pool, QueueSpec, Role};
use serde::{Deserialize, Serialize};

use crate::text::Text;

#[operation]
pub(crate) fn double(n: u64) -> u64 {
    2 * n
}

/// Lines of ten words each, of 5,000 different ones; made once, and shared.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Vec<String>>);

impl Lines {
    pub(crate) fn new() -> Self {
        let word = |n: u64| format!("word{}", n % 5_000);
        let line =
            |line: u64| (0..10).map(|at| word(mix(10 * line + at))).collect::<Vec<_>>().join(" ");
        Self(Arc::new((0..20_000).map(line).collect()))
    }

    pub(crate) fn get(&self, number: u64) -> &str {
        &self.0[number as usize % self.0.len()]
    }
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    n ^ (n >> 29)
}

#[operation]
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ')
}

#[operation]
pub(crate) fn owned_words(line: &str) -> Vec<String> {
    words(line).map(str::to_owned).collect()
}

/// Counts the words of `count` lines; returns the number of different words and of all.
pub(crate) async fn count_words(
    runtime: &Runtime,
    lines: &Lines,
    count: u64,
) -> Result<(u64, u64)> {
    let lines = lines.clone();
    let input = (0..count).map(move |line| lines.get(line).to_owned());
    let counts = IndexedStream::from(input).flat_map(Words).count_by_value();
    let counts = counts.collect(runtime).await?;
    Ok((counts.len() as u64, counts.iter().map(|(_, count)| count).sum()))
}

/// Counts the words of a text; returns the number of different words and of all.
pub(crate) async fn count_text(
    runtime: &Runtime,
    text: &Arc<Text>,
    borrowed: bool,
) -> Result<(u64, u64)> {
    let text = Arc::clone(text);
    let lines = (0..text.lines()).map(move |number| text.line(number).to_owned());
    let lines = IndexedStream::from(lines);
    let words = if borrowed { lines.flat_map(Words) } else { lines.flat_map(OwnedWords) };
    let counts = words.count_by_value().collect(runtime).await?;
    Ok((counts.len() as u64, counts.iter().map(|(_, count)| count).sum()))
}

/// The key of a number, of so many.
pub(crate) fn key_of(n: u64, keys: u64) -> u64 {
    mix(n) % keys
}

/// Joins pairs of `count` numbers on both sides; returns the number of rows, which it reads.
pub(crate) async fn join(runtime: &Runtime, count: u64, keys: u64) -> Result<u64> {
    let left = IndexedStream::from((0..count).map(move |n| (key_of(n, keys), n)));
    let right =
        IndexedStream::from((0..count).map(move |n| (key_of(n.wrapping_add(count), keys), n)));
    let mut results = left.join(right).run(runtime).await?;
    let mut rows = 0;
    while let Some(item) = results.next().await {
        item?;
        rows += 1;
    }
    Ok(rows)
}

#[operation]
pub(crate) fn add(a: u64, b: u64) -> u64 {
    a + b
}

/// Adds ten pairs up by key.
pub(crate) async fn reduce_ten(runtime: &Runtime) -> Result<()> {
    let sums = IndexedStream::from((0..10u64).map(|n| (n % 3, n))).reduce_by_key(Add);
    ensure!(sums.collect(runtime).await?.len() == 3, "three keys");
    Ok(())
}

/// The bytes of a row of [`group`]: its value; and its key, which needs few.
pub(crate) const ROW_BYTES: u64 = 4_000;
const GROUPS: u64 = 100_000;

#[operation]
fn row(n: u64) -> (u64, Vec<u8>) {
    (key_of(n, GROUPS), vec![n as u8; ROW_BYTES as usize])
}

#[operation]
fn size((_, values): (u64, Vec<Vec<u8>>)) -> u64 {
    values.iter().map(|value| value.len() as u64).sum()
}

/// Groups so many rows by key, and sums up the sizes of all groups.
pub(crate) async fn group(runtime: &Runtime, rows: u64) -> Result<()> {
    let groups = IndexedStream::from(0..rows).map(Row).group_by_key();
    let bytes = groups.map(Size).fold(Sum).run(runtime).await?;
    ensure!(bytes == rows * ROW_BYTES, "the groups are wrong");
    Ok(())
}

/// The partitions of [`scatter`], and the keys that each of its tasks writes: so many that nearly
/// every task writes a block into every partition.
pub(crate) const SCATTERED: u32 = 1_000;
const SCATTERED_KEYS: u64 = 5_000;

#[operation]
fn sprinkle(n: u64) -> Vec<(u64, u64)> {
    (0..SCATTERED_KEYS).map(|key| (key, n)).collect()
}

#[operation]
fn many((_, values): (u64, Vec<u64>)) -> u64 {
    values.len() as u64
}

/// Writes a small block into each partition with each of so many tasks, and reads them.
pub(crate) async fn scatter(runtime: &Runtime, tasks: u64) -> Result<()> {
    let rows = IndexedStream::from(0..tasks).batch(1).flat_map(Sprinkle).group_by_key();
    let count = rows.partitions(SCATTERED).map(Many).fold(Sum).run(runtime).await?;
    ensure!(count == tasks * SCATTERED_KEYS, "the groups are wrong");
    Ok(())
}

/// The partitions of [`feed`], and the keys that each of its tasks writes into nearly all of them.
pub(crate) const FED: u32 = 16;
const FED_KEYS: u64 = 64;

#[operation]
fn drip(n: u64) -> Vec<(u64, u64)> {
    (0..FED_KEYS).map(|key| (key, n)).collect()
}

/// Feeds an exchange with so many tasks, which write a small block into each partition.
pub(crate) async fn feed(runtime: &Runtime, tasks: u64) -> Result<()> {
    let rows = IndexedStream::from(0..tasks).batch(1).flat_map(Drip).group_by_key();
    let count = rows.partitions(FED).map(Many).fold(Sum).run(runtime).await?;
    ensure!(count == tasks * FED_KEYS, "the groups are wrong");
    Ok(())
}

/// Doubles ten numbers.
pub(crate) async fn map_ten(runtime: &Runtime) -> Result<()> {
    let doubled = IndexedStream::from(0..10u64).map(Double).collect(runtime).await?;
    ensure!(doubled.len() == 10, "ten numbers");
    Ok(())
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

/// A leader on RabbitMQ.
pub(crate) async fn lead(url: &str, builder: RuntimeBuilder) -> Result<Runtime> {
    Ok(builder.url(url).namespace(NAMESPACE).connect().await?)
}

/// A leader that holds no blocks, so that all of them go through queues.
pub(crate) fn without_block_memory() -> RuntimeBuilder {
    Runtime::builder().block_memory(0)
}

/// A leader and workers on RabbitMQ, each with its own connections.
pub(crate) struct Fleet {
    pub(crate) runtime: Runtime,
    workers: Vec<(Worker, Arc<dyn Broker>)>,
}

impl Fleet {
    pub(crate) async fn start(url: &str) -> Result<Self> {
        Self::of(url, Runtime::builder(), 1).await
    }

    /// A fleet whose leader holds no blocks, so that all of them go through queues.
    pub(crate) async fn without_block_memory(url: &str) -> Result<Self> {
        Self::of(url, without_block_memory(), 1).await
    }

    /// A fleet with two workers, which share the cores.
    pub(crate) async fn with_two_workers(url: &str) -> Result<Self> {
        Self::of(url, Runtime::builder(), 2).await
    }

    async fn of(url: &str, builder: RuntimeBuilder, count: usize) -> Result<Self> {
        let mut workers = Vec::new();
        for _ in 0..count {
            let mut options = ConnectOptions::new(Role::Worker);
            options.namespace = NAMESPACE.to_owned();
            let broker = broker::connect(BrokerUrl::parse(url)?, options).await?;
            let mut options = WorkerOptions::default();
            options.slots = (options.slots / count).max(1);
            workers.push((Worker::start(Arc::clone(&broker), options), broker));
        }
        Ok(Self { runtime: lead(url, builder).await?, workers })
    }

    /// Closes everything, and deletes the queues.
    pub(crate) async fn end(self) -> Result<()> {
        self.runtime.close().await;
        let pool = Pool::default();
        for (worker, broker) in self.workers {
            worker.drain();
            worker.finished().await;
            broker.delete(&QueueSpec::Task { pool: pool.clone() }).await?;
            broker.delete(&QueueSpec::Dead { pool: pool.clone() }).await?;
            broker.close().await;
        }
        Ok(())
    }
}

const NAMESPACE: &str = "phalanx-bench";
