//! Partitions that need more memory than a worker has for them, and so are gathered on disk.

use phalanx::{Error, Job, Results, Runtime, prelude::*};
use phalanx_fleet_tests::*;
use phalanx_test_support::soon;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::{Fleet, Process, Rendezvous};

/// Their blocks have 40 MB, in two partitions: each has two parts.
const NUMBERS: u64 = 400;
const PARTITIONS: u32 = 2;

/// Groups heavy values by their numbers, and holds one of the keys.
fn start(runtime: &Runtime, held: &Rendezvous) -> (Job, Results<u64>) {
    let hold = HoldAt { directory: held.directory(), at: NUMBERS - 1 };
    let groups = IndexedStream::from(0..NUMBERS).map(Heavy).group_by_key().partitions(PARTITIONS);
    groups.map(WeighAll).map(hold).start(runtime).unwrap()
}

/// A worker with little memory, and this spill directory.
async fn worker(fleet: &Fleet, directory: &str) -> Process {
    let mut worker = fleet.worker(&["--gather-memory", "1MiB", "--spill-dir", directory]);
    worker.started().await;
    worker
}

fn path(directory: &TempDir) -> &str {
    directory.path().to_str().unwrap()
}

#[tokio::test]
async fn workers_that_die_while_they_gather_on_disk_cost_no_row_and_leave_no_file() {
    let fleet = Fleet::new();
    let directory = tempfile::tempdir().unwrap();
    let mut workers =
        vec![worker(&fleet, path(&directory)).await, worker(&fleet, path(&directory)).await];
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    let (job, results) = start(&runtime, &held);
    held.started(1).await;
    for dies in &mut workers {
        dies.signal(Signal::KILL);
        dies.ended().await;
        *dies = worker(&fleet, path(&directory)).await;
    }
    held.release();
    let keys = soon("the keys", results.collect()).await.unwrap();
    let mut keys: Vec<u64> = keys.into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..NUMBERS).collect::<Vec<_>>());
    let exchange = job.progress().borrow().exchanges[0];
    assert!(exchange.spilled >= exchange.bytes, "{exchange}");
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    runtime.close().await;
    fleet.end(workers).await;
}

#[tokio::test]
async fn a_worker_without_a_spill_directory_is_spared_and_a_fleet_without_any_ends_the_job() {
    let fleet = Fleet::new();
    let directory = tempfile::tempdir().unwrap();
    let missing = tempfile::tempdir().unwrap();
    let name = path(&missing).to_owned();
    let mut workers = vec![worker(&fleet, &name).await];
    missing.close().unwrap();
    let runtime = fleet.lead().await;
    let held = Rendezvous::new();
    held.release();
    let (_job, results) = start(&runtime, &held);
    let Err(Error::Refused(error)) = soon("the end", results.collect()).await else {
        panic!("the worker cannot run it")
    };
    let text = error.to_string();
    assert!(text.contains(&name) && text.contains("--spill-dir"), "{text}");
    assert!(!text.contains("same build"), "{text}");

    workers.push(worker(&fleet, path(&directory)).await);
    let (_job, results) = start(&runtime, &held);
    assert_eq!(soon("the keys", results.collect()).await.unwrap().len(), NUMBERS as usize);
    runtime.close().await;
    fleet.end(workers).await;
}
