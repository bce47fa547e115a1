//! Tasks that read queues, and the slots and the memory of their worker.

use std::time::Duration;

use phalanx_core::{
    broker::Settle,
    id::{ExecutionId, TaskNumber},
    operation::ElementRange,
    wire::{AnnouncedBlocks, Control, ReturnReason, TaskInlet, list_position},
};

use super::tests::{PARTITION, put, queue_of, reads, send};
use crate::testing::{TestOp, TestRig, at_once, eventually, pass};

fn is_read(rig: &TestRig, partition: u32) -> bool {
    rig.broker.queues().has_reader(queue_of(rig, partition))
}

/// Sends a task that reads this many blocks of a partition, whose queue has one.
fn read(rig: &TestRig, partition: u32, blocks: u32) -> TaskNumber {
    let winner = ExecutionId::new();
    put(rig, partition, winner, 0, &["b"]);
    let step = rig.step(&TestOp::Append('x'));
    rig.send_task(vec![step], &[], reads(partition, winner, blocks))
}

#[tokio::test(start_paused = true)]
async fn a_leased_task_occupies_no_slot_before_it_begins() {
    let rig = TestRig::start(|options| options.hold = Duration::from_secs(6));
    let winner = ExecutionId::new();
    put(&rig, PARTITION, winner, 0, &["a"]);
    let gathers = send(&rig, TestOp::WaitOn('a'), winner, 2);
    pass(Duration::from_secs(6)).await;
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)], "it is leased");
    let beside = rig.send(&[TestOp::Append('x')], &["b"]);
    at_once("another runs", || rig.result_of(beside).is_some()).await;
    put(&rig, PARTITION, winner, 1, &["b"]);
    at_once("it begins", || rig.operations.ran().contains(&"a".to_owned())).await;
    pass(Duration::from_secs(3)).await;
    let late = rig.send(&[TestOp::Append('x')], &["c"]);
    pass(Duration::from_secs(1)).await;
    assert_eq!(rig.returned(late), Some(ReturnReason::NotStarted), "its slot is leased");
    rig.operations.open_gate();
    at_once("a result", || rig.result_of(gathers).is_some()).await;
    rig.assert_settled_once();
}

#[tokio::test(start_paused = true)]
async fn a_gathered_task_without_a_slot_is_returned_after_thirty_seconds_and_lets_go_of_its_memory()
{
    let rig = TestRig::start(|options| {
        options.slots = 2;
        options.gather_memory = 1 << 20;
    });
    for _ in 0..2 {
        rig.send(&[TestOp::WaitOn('a')], &["a"]);
    }
    at_once("both slots are taken", || rig.operations.ran().len() == 2).await;
    let waits = read_much(&rig, TestOp::Append('x'), 1, 1);
    let other = read_much(&rig, TestOp::AppendAsync('x'), 2, 2);
    rig.pass_beside_leader(Duration::from_secs(20)).await;
    assert!(rig.broker.delivered() == 4 && rig.replies().is_empty() && !is_read(&rig, 2));
    rig.pass_beside_leader(Duration::from_secs(9)).await;
    assert_eq!(rig.returned(waits), None);
    assert_eq!(rig.returned(other), Some(ReturnReason::NotStarted), "it waits for its turn");
    read_much(&rig, TestOp::AppendAsync('x'), 2, 2);
    rig.pass_beside_leader(Duration::from_secs(2)).await;
    assert_eq!(rig.returned(waits), Some(ReturnReason::NotStarted));
    // The next heartbeat no longer has it.
    rig.pass_beside_leader(Duration::from_secs(5)).await;
    at_once("another gathers", || is_read(&rig, 2)).await;
    rig.assert_settled_once();
    rig.operations.open_gate();
}

/// As [`read`], with so many bytes that no other task gathers beside.
fn read_much(rig: &TestRig, op: TestOp, partition: u32, blocks: u32) -> TaskNumber {
    let winner = ExecutionId::new();
    put(rig, partition, winner, 0, &["b"]);
    rig.send_task(vec![rig.step(&op)], &[], |header| {
        reads(partition, winner, blocks)(header);
        if let TaskInlet::Queues(queued) = &mut header.inlet {
            queued.partitions[0].bytes = 512 << 10;
        }
    })
}

#[tokio::test]
async fn one_task_for_each_slot_gathers_ahead() {
    let rig = TestRig::start(|_| {});
    let first = read(&rig, 1, 2);
    eventually("it gathers", || is_read(&rig, 1)).await;
    let second = read(&rig, 2, 1);
    eventually("it is delivered", || rig.broker.delivered() == 2).await;
    assert!(rig.result_of(second).is_none() && !is_read(&rig, 2));
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    rig.after_settled(2).await;
    assert!(rig.returned(first).is_none() && rig.result_of(second).is_none());
}

#[tokio::test]
async fn four_queues_of_a_task_are_read_at_once() {
    let rig = TestRig::start(|_| {});
    let winner = ExecutionId::new();
    for partition in 0..6 {
        put(&rig, partition, winner, 0, &["a"]);
    }
    let task = rig.send_task(vec![rig.step(&TestOp::Append('x'))], &[], |header| {
        let announced = |partition| AnnouncedBlocks { partition, blocks: 2, bytes: 100, parts: 1 };
        reads(0, winner, 2)(header);
        if let TaskInlet::Queues(queued) = &mut header.inlet {
            queued.partitions = (0..6).map(announced).collect();
        }
        let whole = |partition| ElementRange {
            from: list_position(partition, 0),
            to: list_position(partition, u64::MAX),
            tries: 1,
        };
        header.ranges = (0..6).map(whole).collect();
    });
    eventually("four are read", || rig.broker.queues().readers() == 4).await;
    for next in 4..6 {
        assert!(!is_read(&rig, next));
        put(&rig, next - 4, winner, 1, &["b"]);
        eventually("the next is read", || is_read(&rig, next)).await;
    }
    for partition in 2..6 {
        put(&rig, partition, winner, 1, &["b"]);
    }
    rig.result(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_leader_that_is_not_heard_from_stops_gathering() {
    let rig = TestRig::start(|_| {});
    let task = read(&rig, PARTITION, 2);
    at_once("it gathers", || is_read(&rig, PARTITION)).await;
    pass(Duration::from_secs(29)).await;
    assert_eq!(rig.returned(task), Some(ReturnReason::LeaderTimeout));
    assert!(!is_read(&rig, PARTITION));
}

#[tokio::test]
async fn a_stop_requeues_a_task_that_gathers() {
    let rig = TestRig::start(|_| {});
    read(&rig, PARTITION, 2);
    eventually("it gathers", || is_read(&rig, PARTITION)).await;
    rig.worker.stop();
    rig.after_settled(1).await;
    eventually("it is let go", || !is_read(&rig, PARTITION)).await;
    assert_eq!(rig.broker.settled(), [(1, Settle::Requeue)]);
    assert!(rig.replies().is_empty());
}

#[tokio::test]
async fn a_redelivered_task_is_returned_before_it_gathers() {
    let rig = TestRig::start(|_| {});
    let (winner, step) = (ExecutionId::new(), vec![rig.step(&TestOp::Append('x'))]);
    let block = put(&rig, PARTITION, ExecutionId::new(), 0, &["lost"]);
    let (task, message) = rig.message(step, &[], reads(PARTITION, winner, 1));
    rig.broker.send_task(message, true);
    rig.after_settled(1).await;
    assert_eq!(rig.returned(task), Some(ReturnReason::Redelivered));
    assert_eq!(rig.broker.queues().left(queue_of(&rig, PARTITION)), [block], "nobody has read it");
}
