//! Tasks that read queues, at a worker between a broker double and test operations.

use std::time::Duration;

use bytes::Bytes;
use phalanx_core::{
    broker::{BrokerError, PublishError, Settle, ShuffleQueue},
    codec::{self, Layout},
    id::{ExecutionId, TaskNumber},
    operation::ElementRange,
    registry::Refusal,
    wire::{
        AnnouncedBlocks, BlockMessage, BlockName, BlockWriter, Control, Grouping, Outcome,
        QueuedGather, ReturnReason, TaskHeader, TaskInlet, list_position,
    },
};

use crate::testing::{SentReply, TestOp, TestRig, at_once, eventually, pass};

pub(super) const PARTITION: u32 = 3;

pub(super) fn queue_of(rig: &TestRig, partition: u32) -> ShuffleQueue {
    ShuffleQueue::Partition { job: rig.job, exchange: 0, partition }
}

/// Puts a block with these rows into the queue of a partition.
pub(super) fn put(
    rig: &TestRig,
    partition: u32,
    execution: ExecutionId,
    number: u32,
    rows: &[&str],
) -> Bytes {
    let (mut writer, mut block) = (BlockWriter::default(), Vec::new());
    rows.iter().for_each(|row| writer.push(&codec::encode(&(*row).to_owned()).unwrap(), &[]));
    writer.finish(&mut block);
    let name = BlockName {
        job: rig.job,
        exchange: 0,
        feeder: 0,
        partition,
        task: TaskNumber(99),
        execution,
        number,
        first: u64::from(number),
    };
    let message = BlockMessage { name, block: block.into() }.encode().unwrap();
    rig.broker.queues().put(queue_of(rig, partition), message.clone());
    message
}

/// Changes a task to one that reads this many blocks of a partition.
pub(super) fn reads(
    partition: u32,
    winner: ExecutionId,
    blocks: u32,
) -> impl FnOnce(&mut TaskHeader) {
    move |header| {
        let announced = AnnouncedBlocks { partition, blocks, bytes: 300 << 10, parts: 1 };
        header.inlet = TaskInlet::Queues(QueuedGather {
            grouping: Grouping::Distinct,
            exchange: 0,
            first_side: 1,
            of: 64,
            partitions: vec![announced],
            winners: vec![winner],
            layout: Layout::Whole,
        });
        let (from, to) = (list_position(partition, 0), list_position(partition, u64::MAX));
        header.ranges = vec![ElementRange { from, to, tries: 1 }];
    }
}

pub(super) fn send(rig: &TestRig, op: TestOp, winner: ExecutionId, blocks: u32) -> TaskNumber {
    rig.send_task(vec![rig.step(&op)], &[], reads(PARTITION, winner, blocks))
}

/// The outputs of the first result.
pub(super) fn outputs(rig: &TestRig) -> Vec<String> {
    let result = rig.replies().into_iter().find_map(|reply| match reply {
        SentReply::Result(result) => Some(result),
        _ => None,
    });
    let payload = result.expect("a result").payload;
    let (mut rest, mut outputs) = (&payload[..], Vec::new());
    while !rest.is_empty() {
        outputs.push(codec::decode_front(&mut rest).unwrap());
    }
    outputs
}

#[tokio::test]
async fn the_blocks_of_winners_are_read_in_order_and_stay_in_their_queue() {
    let rig = TestRig::start(|_| {});
    let (winner, loser) = (ExecutionId::new(), ExecutionId::new());
    let later = put(&rig, PARTITION, winner, 1, &["c", "a"]);
    put(&rig, PARTITION, loser, 0, &["lost"]);
    put(&rig, PARTITION, winner, 1, &["c", "a"]);
    let first = put(&rig, PARTITION, winner, 0, &["a", "b"]);
    for _ in 0..2 {
        let task = send(&rig, TestOp::Append('x'), winner, 2);
        rig.result(task).await;
        assert_eq!(outputs(&rig), ["ax", "bx", "cx"]);
    }
    let queue = queue_of(&rig, PARTITION);
    assert_eq!(rig.broker.queues().left(queue), [later, first], "the others can never count");
    assert!(!rig.broker.queues().has_reader(queue));
    rig.assert_settled_once();
}

#[tokio::test]
async fn blocks_that_do_not_count_make_room_for_others() {
    let rig = TestRig::start(|_| {});
    let (winner, loser) = (ExecutionId::new(), ExecutionId::new());
    for number in 0..200 {
        put(&rig, PARTITION, loser, number, &["lost"]);
    }
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 1);
    rig.result(task).await;
    assert_eq!(rig.broker.queues().left(queue_of(&rig, PARTITION)).len(), 1);
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_reported_at_once() {
    let rig = TestRig::start(|_| {});
    let task = send(&rig, TestOp::Append('x'), ExecutionId::new(), 2);
    rig.after_settled(1).await;
    let expected = ReturnReason::BlocksMissing { partition: PARTITION, announced: 2, found: 0 };
    assert_eq!(rig.return_reason(task), expected);
}

#[tokio::test]
async fn a_queue_that_is_deleted_under_its_reader_is_reported_at_once() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    eventually("it is read", || rig.broker.queues().has_reader(queue)).await;
    rig.broker.queues().delete(queue);
    rig.after_settled(1).await;
    let expected = ReturnReason::BlocksMissing { partition: PARTITION, announced: 2, found: 0 };
    assert_eq!(rig.return_reason(task), expected);
}

#[tokio::test(start_paused = true)]
async fn blocks_that_do_not_come_are_reported_after_thirty_seconds() {
    let rig = TestRig::start(|_| {});
    let winner = ExecutionId::new();
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    rig.pass_beside_leader(Duration::from_secs(29)).await;
    assert_eq!(rig.returned(task), None);
    rig.pass_beside_leader(Duration::from_secs(2)).await;
    let expected = ReturnReason::BlocksMissing { partition: PARTITION, announced: 2, found: 1 };
    assert_eq!(rig.returned(task), Some(expected));
}

/// The blocks are in the queue, so that none is missing.
#[tokio::test(start_paused = true)]
async fn blocks_that_the_broker_does_not_deliver_are_waited_for_and_then_the_task_is_returned() {
    for is_delivered in [true, false] {
        let rig = TestRig::start(|_| {});
        let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
        put(&rig, PARTITION, winner, 0, &["a"]);
        rig.broker.queues().hold(queue, true);
        let task = send(&rig, TestOp::Append('x'), winner, 1);
        rig.pass_beside_leader(Duration::from_secs(50)).await;
        assert!(rig.returned(task).is_none() && rig.result_of(task).is_none());
        if is_delivered {
            rig.broker.queues().hold(queue, false);
            at_once("a result", || rig.result_of(task).is_some()).await;
        } else {
            rig.pass_beside_leader(Duration::from_secs(12)).await;
            assert_eq!(rig.returned(task), Some(ReturnReason::NotStarted));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_another_reader_has_is_waited_for() {
    for is_released in [true, false] {
        let rig = TestRig::start(|_| {});
        let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
        put(&rig, PARTITION, winner, 0, &["a"]);
        rig.broker.queues().set_reader(queue, true);
        let task = send(&rig, TestOp::Append('x'), winner, 1);
        rig.pass_beside_leader(Duration::from_secs(20)).await;
        assert!(rig.returned(task).is_none() && rig.result_of(task).is_none());
        if is_released {
            rig.broker.queues().set_reader(queue, false);
            rig.pass_beside_leader(Duration::from_secs(2)).await;
            at_once("a result", || rig.result_of(task).is_some()).await;
        } else {
            rig.pass_beside_leader(Duration::from_secs(7)).await;
            assert_eq!(rig.returned(task), Some(ReturnReason::NotStarted));
        }
    }
}

#[tokio::test]
async fn a_worker_that_may_not_read_a_queue_refuses_the_task() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    let (what, reason) = (queue.to_string(), "access refused".to_owned());
    rig.broker.queues().refuse_next(queue, BrokerError::Denied { what, reason });
    let task = send(&rig, TestOp::Append('x'), winner, 1);
    rig.after_settled(1).await;
    match rig.return_reason(task) {
        ReturnReason::Refused(Refusal::Permission { reason }) => {
            assert!(reason.contains("access refused"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_while_reading_costs_a_second_reading() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    let lost = || BrokerError::Lost { reason: "reset by peer".to_owned() };
    rig.broker.queues().refuse_next(queue, lost());
    rig.broker.queues().refuse_next(queue, lost());
    let task = send(&rig, TestOp::Append('x'), winner, 1);
    pass(Duration::from_secs(3)).await;
    at_once("a result", || rig.result_of(task).is_some()).await;
    assert_eq!(outputs(&rig), ["ax"]);
}

#[tokio::test]
async fn a_broker_that_takes_blocks_back_twice_is_reported_with_its_reason() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    for _ in 0..2 {
        let (what, reason) = (queue.to_string(), "timeout of 60 s".to_owned());
        rig.broker.queues().refuse_next(queue, BrokerError::AckTimeout { what, reason });
    }
    let task = send(&rig, TestOp::Append('x'), winner, 1);
    rig.after_settled(1).await;
    match rig.return_reason(task) {
        ReturnReason::AckTimeout { partition: PARTITION, bytes: 0, reason, .. } => {
            assert_eq!(reason, "timeout of 60 s");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_task_that_does_not_fit_into_the_memory_gathers_when_another_one_has_ended() {
    let rig = TestRig::start(|options| {
        options.slots = 2;
        options.gather_memory = 1 << 20;
    });
    let winner = ExecutionId::new();
    for partition in [1, 2] {
        put(&rig, partition, winner, 0, &["a"]);
    }
    let step = || vec![rig.step(&TestOp::WaitOn('a'))];
    rig.send_task(step(), &[], reads(1, winner, 1));
    eventually("the first runs", || rig.operations.ran().len() == 1).await;
    // Two more need 600 KiB each to gather, and the first has 300 KiB.
    let second = rig.send_task(step(), &[], reads(2, winner, 2));
    let other = queue_of(&rig, 2);
    eventually("the second gathers", || rig.broker.queues().has_reader(other)).await;
    put(&rig, 1, winner, 1, &["b"]);
    let third = rig.send_task(step(), &[], reads(1, winner, 2));
    eventually("it is delivered", || rig.broker.delivered() == 3).await;
    assert!(!rig.broker.queues().has_reader(queue_of(&rig, 1)));
    rig.operations.open_gate();
    put(&rig, 2, winner, 1, &["b"]);
    rig.result(second).await;
    rig.result(third).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_is_leased_while_it_gathers_and_takes_no_slot() {
    let rig = TestRig::start(|options| options.hold = Duration::from_secs(6));
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    at_once("it is read", || rig.broker.queues().has_reader(queue)).await;
    let beside = rig.send(&[TestOp::Append('x')], &["b"]);
    at_once("the slot is free", || rig.result_of(beside).is_some()).await;
    pass(Duration::from_secs(7)).await;
    let leased = rig.leases().iter().any(|lease| lease.tasks[0].copy.task == task);
    assert!(leased && rig.returned(task).is_none());
    assert_eq!(rig.broker.settled().len(), 2);
    put(&rig, PARTITION, winner, 1, &["b"]);
    at_once("a result", || rig.result_of(task).is_some()).await;
}

#[tokio::test]
async fn a_dead_job_ends_a_gather_without_a_reply() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    send(&rig, TestOp::Append('x'), winner, 2);
    eventually("it is read", || rig.broker.queues().has_reader(queue)).await;
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    rig.after_settled(1).await;
    eventually("it is let go", || !rig.broker.queues().has_reader(queue)).await;
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    assert!(rig.replies().is_empty());
}

#[tokio::test]
async fn a_drain_returns_a_task_that_gathers() {
    let rig = TestRig::start(|_| {});
    let (winner, queue) = (ExecutionId::new(), queue_of(&rig, PARTITION));
    put(&rig, PARTITION, winner, 0, &["a"]);
    let task = send(&rig, TestOp::Append('x'), winner, 2);
    eventually("it is read", || rig.broker.queues().has_reader(queue)).await;
    rig.worker.drain();
    rig.after_settled(1).await;
    assert_eq!(rig.returned(task), Some(ReturnReason::Draining));
    assert!(!rig.broker.queues().has_reader(queue));
}

#[tokio::test]
async fn the_leader_is_told_about_an_element_that_fails() {
    let rig = TestRig::start(|_| {});
    let winner = ExecutionId::new();
    put(&rig, PARTITION, winner, 0, &["a", "bad", "c"]);
    let task = send(&rig, TestOp::FailOn('b'), winner, 1);
    let segments = rig.result(task).await;
    let Outcome::Failed { element: Some(element), .. } = &segments[1].outcome else {
        panic!("{segments:?}")
    };
    assert_eq!((element.list.partition, element.list.elements), (PARTITION, 3));
    let encoded = codec::encode(&"bad".to_owned()).unwrap();
    let framed = element.encodings.as_ref().expect("its encoding");
    assert!(framed.ends_with(&encoded), "{framed:?}");
    assert_eq!(element.lengths, [framed.len() as u32]);
}

#[tokio::test]
async fn encodings_are_left_out_of_a_result_that_is_too_large() {
    let rig = TestRig::start(|_| {});
    let winner = ExecutionId::new();
    put(&rig, PARTITION, winner, 0, &["a", "bad", "c"]);
    rig.broker.refuse_next(PublishError::TooLarge { size: 20, limit: 10 });
    let task = send(&rig, TestOp::FailOn('b'), winner, 1);
    let segments = rig.result(task).await;
    let Outcome::Failed { element: Some(element), .. } = &segments[1].outcome else {
        panic!("{segments:?}")
    };
    assert_eq!((element.list.elements, &element.encodings), (3, &None));
    assert_eq!(outputs(&rig), ["a", "c"]);
    rig.assert_settled_once();
}
