//! Processes that are killed, suspended or cut off at each point of the protocol.

use phalanx_chaos::{Effect, FaultKind, Incident, Point, TestBroker};

use crate::{assert_happened, assert_jobs_survived, assert_survived, schedule, shared};

/// Suspends a worker at each of these points, cuts its connections at the next, and kills it at the
/// one after that.
fn each_effect(points: &[Point]) -> Vec<Incident> {
    let at = |point| {
        [Effect::Suspend, Effect::Cut, Effect::Kill].map(|effect| Incident {
            point,
            nth: 1,
            effect,
        })
    };
    points.iter().flat_map(|point| at(*point)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_lost_at_any_point_of_the_protocol_costs_no_element() {
    let mut schedule = schedule(1, &[]);
    schedule.workers = each_effect(&Point::COMMON);
    let kill = |point: &Point| Incident { point: *point, nth: 7, effect: Effect::Kill };
    schedule.workers.extend(Point::COMMON.iter().map(kill));
    let report = assert_survived(schedule.clone(), shared()).await;
    assert_happened(&schedule, &report);
}

/// These points are reached only after another worker has died with a task that had not run, so the
/// schedule kills one first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_while_it_handles_a_redelivered_task_costs_no_element() {
    let mut schedule = schedule(2, &[FaultKind::KillWorker]);
    let kill = |point, nth| Incident { point, nth, effect: Effect::Kill };
    for point in [Point::Redelivered, Point::Returning, Point::Returned] {
        schedule.workers.push(kill(Point::Running, 20));
        schedule.workers.push(kill(point, 1));
        schedule.workers.push(kill(Point::Delivered, 20));
    }
    let report = assert_survived(schedule, shared()).await;
    assert!(report.counter("tasks returned: Redelivered") > 0, "{report}");
}

/// Some elements take longer than a worker may hold a delivery. Once they are leased, the broker no
/// longer has their tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_or_hangs_while_it_holds_a_lease_costs_no_element() {
    let mut schedule = schedule(4, &[FaultKind::SuspendWorker, FaultKind::KillWorkers]);
    let kill = |nth| Incident { point: Point::Leasing, nth, effect: Effect::Kill };
    schedule.workers = (1..=3).map(kill).collect();
    let report = assert_survived(schedule, shared()).await;
    assert!(report.faults("kill at leasing") > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_lost_at_any_point_beside_queues_of_blocks_cost_no_row() {
    let mut schedule = schedule(33, &[]);
    schedule.workers = each_effect(&Point::QUEUES);
    let harmless = each_effect(&Point::LEADER);
    schedule.leader = harmless.into_iter().filter(|it| it.effect != Effect::Kill).collect();
    let report = assert_jobs_survived(schedule.clone(), shared(), true).await;
    assert_happened(&schedule, &report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "kills the broker at each of many points"]
async fn a_broker_that_is_killed_at_any_point_beside_queues_of_blocks_costs_no_row() {
    let mut schedule = schedule(34, &[]);
    let kill = |point: &Point| Incident { point: *point, nth: 1, effect: Effect::KillBroker };
    schedule.workers = Point::QUEUES.iter().map(kill).collect();
    schedule.leader = Point::LEADER.iter().map(kill).collect();
    let report = assert_jobs_survived(schedule.clone(), TestBroker::Node, true).await;
    assert_happened(&schedule, &report);
}
