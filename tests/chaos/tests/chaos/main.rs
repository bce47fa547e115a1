//! Short runs with fixed seeds. `cargo xtask chaos` makes longer ones.

mod brokers;
mod cluster;
mod faulty_operations;
mod incidents;
mod messages;
mod network;
mod processes;
mod queues;

use std::time::Duration;

use phalanx_chaos::{Bounds, FaultKind, Report, Run, Schedule, TestBroker};
use phalanx_test_support::test_url;

const WORKERS: usize = 3;
const HEARTBEAT: u64 = 2;

/// The broker that all tests share.
fn shared() -> TestBroker {
    TestBroker::Shared(test_url())
}

/// A schedule with each of these faults once.
fn schedule(seed: u64, kinds: &[FaultKind]) -> Schedule {
    let pause = Duration::from_secs(3);
    let bounds = Bounds {
        length: Duration::from_secs(600),
        kinds: kinds.to_vec(),
        pause,
        incidents: 0,
        heavy: false,
        workers: WORKERS,
        heartbeat: Duration::from_secs(HEARTBEAT),
    };
    let mut schedule = Schedule::new(seed, &bounds);
    schedule.faults.truncate(kinds.len());
    schedule
}

/// Runs the schedule. All jobs must end with the expected results, and no process may end by
/// itself.
async fn assert_survived(schedule: Schedule, broker: TestBroker) -> std::sync::Arc<Report> {
    assert_jobs_survived(schedule, broker, false).await
}

/// The same, if `heavy` with jobs that move more than a leader holds.
async fn assert_jobs_survived(
    schedule: Schedule,
    broker: TestBroker,
    heavy: bool,
) -> std::sync::Arc<Report> {
    let run = Run {
        schedule: schedule.clone(),
        broker,
        workers: WORKERS,
        jobs: 2,
        heavy,
        heartbeat: HEARTBEAT,
        tasks: None,
        program: env!("CARGO_BIN_EXE_chaos").into(),
    };
    let report = run.execute(Report::default()).await;
    assert!(report.problems().is_empty(), "{schedule}\n{report}");
    assert!(report.counter("jobs ended") > 0, "{schedule}\n{report}");
    let in_queues = report.counter("bytes of outputs in queues");
    assert_eq!(in_queues > 0, heavy, "{schedule}\n{report}");
    for (_, fault) in &schedule.faults {
        assert!(report.faults(&fault.kind.name()) > 0, "{fault}: {report}");
    }
    report
}

/// All incidents of this schedule must have happened.
fn assert_happened(schedule: &Schedule, report: &Report) {
    for incident in schedule.workers.iter().chain(&schedule.leader) {
        assert!(report.faults(&incident.name()) > 0, "no {}: {report}", incident.name());
    }
}
