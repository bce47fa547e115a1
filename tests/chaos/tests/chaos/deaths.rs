//! Workers that are killed at each point of the protocol.

use phalanx_chaos::{Death, FaultKind, Point};

use crate::{assert_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_point_of_the_protocol_costs_no_element() {
    let mut schedule = schedule(1, &[FaultKind::KillWorker]);
    for nth in [1, 7] {
        let deaths = Point::COMMON.iter().map(|point| Death { point: *point, nth });
        schedule.deaths.extend(deaths);
    }
    let report = assert_survived(schedule, shared()).await;
    for point in Point::COMMON {
        assert!(
            report.faults(&format!("died: {point}")) > 0,
            "no worker died at {point}: {report}"
        );
    }
}

/// These points are reached only after another worker has died with a task that had not run, so the
/// schedule kills one first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_handles_a_redelivered_task_costs_no_element() {
    let mut schedule = schedule(2, &[FaultKind::KillWorker]);
    for point in [Point::Redelivered, Point::Returning, Point::Returned] {
        schedule.deaths.push(Death { point: Point::Running, nth: 20 });
        schedule.deaths.push(Death { point, nth: 1 });
        schedule.deaths.push(Death { point: Point::Delivered, nth: 20 });
    }
    let report = assert_survived(schedule, shared()).await;
    assert!(report.counter("tasks returned: Redelivered") > 0, "{report}");
}

/// Some elements take longer than a worker may hold a delivery. Once they are leased, the broker no
/// longer has their tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_or_hangs_while_it_holds_a_lease_costs_no_element() {
    let mut schedule = schedule(4, &[FaultKind::SuspendWorker, FaultKind::KillWorkers]);
    schedule.deaths = (1..=3).map(|nth| Death { point: Point::Leasing, nth }).collect();
    let report = assert_survived(schedule, shared()).await;
    assert!(report.faults("died: leasing") > 0, "{report}");
}
