//! Connections that are cut, late, stalled or silent.

use phalanx_chaos::FaultKind;

use crate::{schedule, shared, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreliable_network_costs_no_element() {
    let kinds = [FaultKind::Cut, FaultKind::Stall, FaultKind::Silence, FaultKind::Slow];
    survived(schedule(5, &kinds), shared()).await;
}
