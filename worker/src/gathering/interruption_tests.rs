//! Readers of queues that are interrupted, and how long they try again.

use std::time::Duration;

use phalanx_core::{
    broker::{BrokerError, ShuffleQueue},
    id::{ExecutionId, TaskNumber},
    wire::ReturnReason,
};

use super::tests::{PARTITION, outputs, put, queue_of, send};
use crate::testing::{TestOp, TestRig, at_once, pass};

fn node_down(queue: ShuffleQueue) -> BrokerError {
    BrokerError::NodeDown { what: queue.to_string(), reason: "its node is down".to_owned() }
}

fn ack_timeout(queue: ShuffleQueue) -> BrokerError {
    BrokerError::AckTimeout { what: queue.to_string(), reason: "timeout of 60 s".to_owned() }
}

/// Makes all attempts of the next two minutes fail.
fn take_node_down(rig: &TestRig, queue: ShuffleQueue) {
    for _ in 0..120 {
        rig.broker.queues().refuse_next(queue, node_down(queue));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_interrupted_begins_its_partition_again_and_removes_nothing() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    let first = put(&rig, PARTITION, winner, 0, &["a", "b"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    at_once("it is read", || rig.broker.queues().has_reader(queue)).await;
    pass(Duration::from_secs(1)).await;
    for error in [node_down(queue), BrokerError::Lost { reason: "reset by peer".to_owned() }] {
        rig.broker.queues().interrupt(queue, error);
        pass(Duration::from_secs(3)).await;
        assert!(rig.broker.queues().has_reader(queue));
    }
    let second = put(&rig, PARTITION, winner, 1, &["c"]);
    at_once("a result", || rig.result_of(task).is_some()).await;
    assert_eq!(outputs(&rig), ["ax", "bx", "cx"]);
    assert_eq!(rig.broker.queues().left(queue), [first, second]);
}

#[tokio::test(start_paused = true)]
async fn a_gather_that_gets_nothing_for_a_minute_is_returned() {
    for is_connected in [true, false] {
        let rig = TestRig::start(|_| {});
        let winner = ExecutionId::new();
        take_node_down(&rig, queue_of(&rig, PARTITION));
        put(&rig, PARTITION, winner, 0, &["a"]);
        let task = send(&rig, TestOp::Append('x'), winner, 1);
        at_once("it is delivered", || rig.broker.delivered() == 1).await;
        rig.broker.set_connected(is_connected);
        rig.pass_beside_leader(Duration::from_secs(58)).await;
        assert_eq!(rig.returned(task), None);
        rig.pass_beside_leader(Duration::from_secs(4)).await;
        assert_eq!(rig.returned(task), Some(ReturnReason::NotStarted), "{is_connected}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_minute_begins_again_with_each_block() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    at_once("it is read", || rig.broker.queues().has_reader(queue)).await;
    for _ in 0..2 {
        rig.pass_beside_leader(Duration::from_secs(1)).await;
        rig.broker.set_connected(false);
        rig.broker.queues().interrupt(queue, node_down(queue));
        rig.pass_beside_leader(Duration::from_secs(50)).await;
        assert!(!rig.broker.queues().has_reader(queue));
        rig.broker.set_connected(true);
    }
    put(&rig, PARTITION, winner, 1, &["b"]);
    rig.pass_beside_leader(Duration::from_secs(2)).await;
    at_once("a result", || rig.result_of(task).is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn only_acknowledgement_timeouts_without_more_blocks_than_before_end_a_gather() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    let task = send_three(&rig, winner).await;
    for number in 0..2 {
        put(&rig, PARTITION, winner, number, &["a"]);
        pass(Duration::from_secs(1)).await;
        rig.broker.queues().interrupt(queue, ack_timeout(queue));
        pass(Duration::from_secs(2)).await;
        assert_eq!(rig.returned(task), None, "more blocks than before");
    }
    rig.broker.queues().interrupt(queue, ack_timeout(queue));
    pass(Duration::from_secs(2)).await;
    match rig.return_reason(task) {
        ReturnReason::AckTimeout { partition: PARTITION, bytes, elapsed_ms, .. } => {
            assert!(bytes > 0 && (1_000..3_000).contains(&elapsed_ms), "{bytes}, {elapsed_ms}");
        }
        other => panic!("{other:?}"),
    }
}

/// Sends a task that reads three blocks, and waits until it reads.
async fn send_three(rig: &TestRig, winner: ExecutionId) -> TaskNumber {
    let queue = queue_of(rig, PARTITION);
    put(rig, PARTITION, ExecutionId::new(), 0, &["lost"]);
    let task = send(rig, TestOp::Append('x'), winner, 3);
    at_once("it is read", || rig.broker.queues().has_reader(queue)).await;
    task
}
