//! What keeps a job from moving is told while it does, and is its error when patience is over.

use std::time::Duration;

use phalanx::{Error, Job, JobEvent, Results, Runtime, RuntimeBuilder, Stall, prelude::*};
use phalanx_fleet_tests::*;
use rustix::process::Signal;

use crate::{fleet::Fleet, meeting::Meeting, places::assert_usable, soon};

/// How long a delivery may go unsettled: what workers hold, and what leaders believe.
const HOLD: Duration = Duration::from_secs(2);

/// Soon says why nothing moves.
fn patient(builder: RuntimeBuilder) -> RuntimeBuilder {
    builder.hold(HOLD).stall_after(Duration::from_millis(700))
}

/// Says so too, and a little later gives up.
fn impatient(builder: RuntimeBuilder) -> RuntimeBuilder {
    patient(builder).patience(Duration::from_secs(10))
}

async fn lead(builder: RuntimeBuilder) -> Runtime {
    soon("to connect", builder.connect()).await.unwrap()
}

async fn worker(fleet: &Fleet) -> crate::fleet::WorkerProcess {
    let mut worker = fleet.worker(&["--hold", "2s"]);
    worker.started().await;
    worker
}

/// A job of so many elements that are held, one to a task.
fn held(runtime: &Runtime, meeting: &Meeting, count: u64) -> (Job, Results<u64>) {
    let held = IndexedStream::from(0..count).map(Hold { directory: meeting.place() });
    held.batch(1).ordered().start(runtime).unwrap()
}

/// Waits until the job says that it is stalled by this.
async fn told(job: &Job, wanted: fn(&Stall) -> bool) -> String {
    let mut events = job.events();
    let told = async {
        loop {
            match events.next().await.expect("it is not over") {
                JobEvent::Stalled(stall) if wanted(&stall) => return stall.to_string(),
                _ => {}
            }
        }
    };
    soon("a stall", told).await
}

/// What the job ended with, which must be its stall.
async fn error_of(results: Results<u64>) -> String {
    let outcome = soon("an end", results.map_ok(|(_, value)| value).try_collect::<Vec<_>>()).await;
    match outcome.unwrap_err() {
        Error::Stalled { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_broker_out_of_reach_is_told_and_ends_the_job() {
    let (fleet, proxy, runtime) = Fleet::with_leader_behind_a_proxy(impatient).await;
    let worker = worker(&fleet).await;
    let meeting = Meeting::new();
    let (job, results) = held(&runtime, &meeting, 2);
    meeting.said("started", 2).await;
    proxy.refuse(true);
    proxy.cut();
    let text = told(&job, |stall| matches!(stall, Stall::Disconnected)).await;
    assert!(text.contains("the connection to the broker is lost"), "{text}");
    assert_eq!(error_of(results).await, text);

    // The next job is none the worse for it.
    meeting.open();
    proxy.refuse(false);
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_broker_that_takes_no_messages_is_told_in_its_own_words_and_ends_the_job() {
    let (fleet, proxy, runtime) = Fleet::with_leader_behind_a_proxy(impatient).await;
    proxy.block_publishing("low on memory");
    let (job, results) = IndexedStream::from(0..9u64).map(Triple).start(&runtime).unwrap();
    let text = told(&job, |stall| matches!(stall, Stall::Blocked { .. })).await;
    assert!(text.contains("low on memory") && text.contains("free memory"), "{text}");
    assert_eq!(error_of(results).await, text);

    proxy.unblock();
    let worker = worker(&fleet).await;
    assert_usable(&runtime).await;
    runtime.close().await;
    fleet.end(vec![worker]).await;
}

#[tokio::test]
async fn a_pool_without_workers_is_told_and_ends_the_job() {
    let fleet = Fleet::new();
    let runtime = lead(impatient(fleet.builder())).await;
    let (job, results) = IndexedStream::from(0..9u64).map(Triple).start(&runtime).unwrap();
    let text = told(&job, |stall| matches!(stall, Stall::NoWorkers { .. })).await;
    assert!(text.contains("start one with `--pool default`"), "{text}");
    assert!(error_of(results).await.contains("no worker serves pool `default`"));
    runtime.close().await;
    fleet.end(Vec::new()).await;
}

/// The operation, the element and the worker are named; of those that wait behind it, that they wait.
#[tokio::test]
async fn an_operation_that_hangs_is_told_by_name_and_ends_the_job_and_those_behind_it() {
    let fleet = Fleet::new();
    let worker = worker(&fleet).await;
    let (runtime, other, meeting) = (
        lead(impatient(fleet.builder())).await,
        lead(impatient(fleet.builder())).await,
        Meeting::new(),
    );
    // One for each slot.
    let (job, results) = held(&runtime, &meeting, 2);
    meeting.said("started", 2).await;
    let (behind, waiting) = IndexedStream::from(0..9u64).map(Triple).start(&other).unwrap();
    let (text, queued) = tokio::join!(
        told(&job, |stall| matches!(stall, Stall::Running { .. })),
        told(&behind, |stall| matches!(stall, Stall::Queued { .. })),
    );
    assert!(text.contains("Hold") && text.contains("element 0"), "{text}");
    assert!(queued.contains("wait behind others"), "{queued}");
    let (error, behind) = tokio::join!(error_of(results), error_of(waiting));
    assert!(error.contains("Hold"), "{error}");
    assert!(behind.contains("wait behind others"), "{behind}");

    // Both are told to end, and the slots are free again.
    meeting.said("cancelled", 2).await;
    assert_usable(&other).await;
    runtime.close().await;
    other.close().await;
    fleet.end(vec![worker]).await;
}

/// It has tasks that nobody else can see.
#[tokio::test]
async fn a_worker_that_hangs_is_missed_and_its_tasks_are_done_by_others() {
    let fleet = Fleet::new();
    let (runtime, meeting) = (lead(patient(fleet.builder())).await, Meeting::new());
    let hanging = worker(&fleet).await;
    let (job, results) = held(&runtime, &meeting, 1);
    meeting.said_by("started", &hanging.id()).await;
    hanging.signal(Signal::STOP);
    let other = worker(&fleet).await;
    let text = told(&job, |stall| matches!(stall, Stall::Missing { .. })).await;
    assert!(text.contains("their workers hang"), "{text}");
    meeting.ran(0, 2).await;
    meeting.open();
    let values: Vec<_> = soon("it", results.try_collect()).await.unwrap();
    assert_eq!(values, [(0, 0)]);
    hanging.signal(Signal::CONT);
    runtime.close().await;
    fleet.end(vec![hanging, other]).await;
}
