//! Outputs that are more than fit into results, and so go through queues of RabbitMQ.

use lapin::options::QueueDeclareOptions;
use phalanx::{Error, Job, Progress, Results, Runtime, error::ShuffleFailure, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_node::NodeOptions;
use phalanx_test_support::soon;

use crate::support::{
    Fleet, MortalLeader, Rendezvous, assert_usable, expire_soon, expired, start_node, with_node,
};

/// Their outputs have 40 MB, far more than a leader holds for a job.
const NUMBERS: u64 = 400;
/// No element.
const NONE: u64 = u64::MAX;
/// So little that all blocks go through one queue, and all outputs but the first through another.
const BLOCK_MEMORY: usize = 256 << 10;

/// The output of a number: a key and its heavy value.
type Output = (u64, Vec<u8>);

/// A leader that holds few blocks and outputs.
async fn lead(fleet: &Fleet) -> Runtime {
    let builder = fleet.builder().block_memory(BLOCK_MEMORY);
    soon("the connection", builder.connect()).await.unwrap()
}

/// Groups numbers in one partition, makes a heavy output of each group, and holds one of the keys.
fn start(runtime: &Runtime, held: &Rendezvous, at: u64) -> (Job, Results<Output>) {
    let hold = HoldAt { directory: held.directory(), at };
    let groups = IndexedStream::from(0..NUMBERS).map(Weighty).group_by_key().partitions(1);
    groups.map(KeyOf).map(hold).map(Heavy).ordered().start(runtime).unwrap()
}

/// Each output once, in the order of the keys: that of the list of the only partition.
fn assert_all(outputs: Vec<(u64, Output)>) {
    for (number, (index, (key, value))) in (0..).zip(&outputs) {
        assert_eq!((*index, *key), (number, number));
        assert!(value.len() == 100 << 10 && value.iter().all(|byte| *byte == number as u8));
    }
    assert_eq!(outputs.len() as u64, NUMBERS);
}

/// The queues with outputs of a job.
async fn queues(fleet: &Fleet, job: &Job) -> Vec<String> {
    let (mut left, connection) = (Vec::new(), fleet.raw().await);
    for task in 1..200 {
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let name = format!("{}.shuffle.{}.{task}.output", fleet.namespace, job.id());
        if channel.queue_declare(name.as_str().into(), passive, Default::default()).await.is_ok() {
            left.push(name);
        }
    }
    left
}

/// Waits until a job has this many bytes of outputs in queues.
async fn queued(job: &Job, bytes: u64) {
    let mut progress = job.progress();
    let has = |progress: &Progress| progress.exchanges.iter().any(|it| it.queued_outputs >= bytes);
    soon("outputs in a queue", progress.wait_for(has)).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_outputs_are_read_slowly_holds_no_slot() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = lead(&fleet).await;
    let (job, mut results) = start(&runtime, &Rendezvous::new(), NONE);
    // Nobody reads, and all tasks end.
    let mut progress = job.progress();
    let ran = |progress: &Progress| {
        progress.tasks_out == 0 && progress.stages.last().is_some_and(|it| it.done == NUMBERS)
    };
    soon("the end of all tasks", progress.wait_for(ran)).await.unwrap();
    let progress = progress.borrow().clone();
    assert!(!progress.ended && progress.exchanges[0].queued_outputs > 32 << 20, "{progress:?}");
    assert!(!queues(&fleet, &job).await.is_empty());
    assert_usable(&runtime).await;
    let mut outputs = Vec::new();
    while let Some(output) = soon("an output", results.next()).await {
        outputs.push(output.unwrap());
    }
    assert_all(outputs);
    assert_eq!(queues(&fleet, &job).await, [""; 0]);

    let (job, results) = start(&runtime, &Rendezvous::new(), NONE);
    queued(&job, 1).await;
    job.cancel();
    let cancelled = soon("the end", results.collect()).await;
    assert!(matches!(cancelled, Err(Error::Cancelled { .. })), "{cancelled:?}");
    assert_eq!(queues(&fleet, &job).await, [""; 0], "after a cancel");
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn workers_that_die_while_they_write_outputs_to_a_queue_lose_and_repeat_none() {
    let (fleet, mut workers) = Fleet::with_workers(2).await;
    let runtime = lead(&fleet).await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, NUMBERS / 2);
    held.started(1).await;
    assert_eq!(queues(&fleet, &job).await.len(), 1);
    fleet.kill_and_replace(&mut workers).await;
    held.release();
    assert_all(soon("all outputs", results.collect()).await.unwrap());
    assert_eq!(queues(&fleet, &job).await, [""; 0]);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_restart_of_the_broker_loses_no_output_that_waits_in_a_queue() {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(1).await;
    let runtime = lead(&fleet).await;
    let (job, mut results) = start(&runtime, &Rendezvous::new(), NONE);
    queued(&job, 32 << 20).await;
    let mut outputs = Vec::new();
    for _ in 0..10 {
        outputs.push(soon("an output", results.next()).await.unwrap().unwrap());
    }
    let (_node, ()) = with_node(node, |node| node.restart().unwrap()).await;
    outputs.extend(soon("all outputs", results.collect()).await.unwrap());
    assert_all(outputs);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_queue_of_outputs_that_is_deleted_ends_its_job() {
    let (fleet, workers) = Fleet::with_workers(1).await;
    let runtime = lead(&fleet).await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held, NUMBERS / 2);
    held.started(1).await;
    for queue in queues(&fleet, &job).await {
        fleet.delete_queue(&queue).await;
    }
    // The leader finds out while nothing happens.
    let Err(Error::Shuffle(error)) = soon("the end", results.collect()).await else {
        panic!("outputs are lost")
    };
    assert!(matches!(error.failure, ShuffleFailure::OutputsLost { .. }), "{error:?}");
    assert!(error.to_string().contains("run the program again"), "{error}");
    held.release();
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn the_queues_of_outputs_of_a_leader_that_dies_expire() {
    let node = start_node(NodeOptions::new()).await;
    let fleet = Fleet::at(node.url());
    let workers = fleet.workers(1).await;
    let leader = MortalLeader::connect(fleet.builder().block_memory(BLOCK_MEMORY)).await;
    let (job, mut results) = leader.start(|runtime| start(runtime, &Rendezvous::new(), NONE));
    queued(&job, 32 << 20).await;
    // Its reader has some of them.
    for _ in 0..10 {
        soon("an output", results.next()).await.unwrap().unwrap();
    }
    assert!(!queues(&fleet, &job).await.is_empty());
    leader.die();
    let _node = expire_soon(node).await;
    expired(async || !queues(&fleet, &job).await.is_empty()).await;
    fleet.end(workers).await;
}
