//! A short fixed set of runs, each with its seed: `cargo xtask chaos` makes longer ones.

mod brokers;
mod cluster;
mod deaths;
mod faulty_operations;
mod messages;
mod network;
mod processes;

use std::time::Duration;

use phalanx_chaos::{Bounds, FaultKind, Place, Report, Run, Schedule};

const WORKERS: usize = 3;
const HEARTBEAT: u64 = 2;

/// The broker that the developer's chores provide.
fn shared() -> Place {
    Place::At(test_url())
}

fn test_url() -> String {
    std::env::var("PHALANX_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "PHALANX_TEST_AMQP_URL is not set: run `cargo xtask test`, which provides a broker, \
             or set it to the URL of one, such as amqp://guest:guest@127.0.0.1:5672/"
        )
    })
}

/// A schedule with each of these faults at least once.
fn schedule(seed: u64, kinds: &[FaultKind]) -> Schedule {
    let pause = Duration::from_secs(3);
    let bounds = Bounds {
        length: Duration::from_secs(600),
        kinds: kinds.to_vec(),
        pause,
        deaths: 0,
        workers: WORKERS,
        beat: Duration::from_secs(HEARTBEAT),
    };
    let mut schedule = Schedule::new(seed, &bounds);
    schedule.faults.truncate(kinds.len());
    schedule
}

/// Runs it: all jobs must end, with the right answers, and nobody may die of himself.
async fn survived(schedule: Schedule, place: Place) -> std::sync::Arc<Report> {
    let run = Run {
        schedule: schedule.clone(),
        place,
        workers: WORKERS,
        jobs: 2,
        heartbeat: HEARTBEAT,
        tasks: None,
        program: env!("CARGO_BIN_EXE_chaos").into(),
    };
    let report = run.go(Report::default()).await;
    assert!(report.problems().is_empty(), "{schedule}\n{report}");
    assert!(report.tally("jobs ended") > 0, "{schedule}\n{report}");
    for (_, fault) in &schedule.faults {
        assert!(report.faults(&fault.kind.name()) > 0, "{fault}: {report}");
    }
    report
}
