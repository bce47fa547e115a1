//! Connections that are cut, delayed or stalled, or lose bytes.

use phalanx_chaos::FaultKind;

use crate::{assert_survived, schedule, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreliable_network_costs_no_element() {
    let kinds = [FaultKind::Cut, FaultKind::Stall, FaultKind::Discard, FaultKind::Delay];
    assert_survived(schedule(5, &kinds), shared()).await;
}
