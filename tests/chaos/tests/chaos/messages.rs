//! Messages that are duplicated, delayed and reordered.

use phalanx_chaos::FaultKind;

use crate::{assert_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicated_and_late_messages_count_once() {
    let mut schedule = schedule(8, &[FaultKind::Cut, FaultKind::KillWorker]);
    (schedule.duplicate, schedule.delay) = (0.2, 0.1);
    let report = assert_survived(schedule, shared()).await;
    assert!(report.counter("duplicate results dropped") > 0, "{report}");
}
