//! Messages that come twice, late, and in another order.

use phalanx_chaos::FaultKind;

use crate::{schedule, shared, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicated_and_late_messages_count_once() {
    let mut schedule = schedule(8, &[FaultKind::Cut, FaultKind::KillWorker]);
    (schedule.echo, schedule.late) = (0.2, 0.1);
    let report = survived(schedule, shared()).await;
    assert!(report.tally("duplicate results dropped") > 0, "{report}");
}
