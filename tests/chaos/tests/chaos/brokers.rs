//! A broker that dies, restarts, hangs, and takes no messages.

use phalanx_chaos::{FaultKind, Place};

use crate::{schedule, survived};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_element_is_lost_with_its_broker() {
    let kinds = [FaultKind::KillBroker, FaultKind::RestartBroker];
    survived(schedule(6, &kinds), Place::Own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_hangs_or_takes_no_messages_is_outlived() {
    let kinds = [FaultKind::SuspendBroker, FaultKind::Alarm];
    survived(schedule(7, &kinds), Place::Own).await;
}
