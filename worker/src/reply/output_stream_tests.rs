//! Results whose outputs go through the queues of their tasks.

use std::{cell::Cell, time::Duration};

use phalanx_core::{
    broker::{Exchange, PublishError, Settle},
    codec,
    id::TaskNumber,
    registry::Refusal,
    wire::{Control, Lease, Outcome, OutputMessage, ResultHeader, ReturnReason, TaskOutlet},
};

use crate::testing::{SentReply, TestOp, TestRig, at_once, eventually};

/// So few bytes that each output is a block.
const EACH: u32 = 1;

fn send(rig: &TestRig, op: TestOp, inputs: &[&str], block: u32) -> TaskNumber {
    rig.send_task(vec![rig.step(&op)], inputs, |header| {
        header.outlet = TaskOutlet::Queue { block };
    })
}

fn blocks(rig: &TestRig) -> Vec<OutputMessage> {
    let published = rig.broker.published(Exchange::Shuffle).into_iter();
    published.map(|message| OutputMessage::decode(&message.body).unwrap()).collect()
}

/// The outputs in all blocks, in the order of their numbers.
fn outputs(rig: &TestRig) -> Vec<String> {
    let mut blocks = blocks(rig);
    blocks.sort_by_key(|block| block.header.number);
    let mut outputs = Vec::new();
    for block in blocks {
        let mut values = &block.values[..];
        for _ in 0..block.header.outputs {
            outputs.push(codec::decode_front(&mut values).unwrap());
        }
        assert!(values.is_empty(), "a block ends between two outputs");
    }
    outputs
}

fn result(rig: &TestRig) -> ResultHeader {
    let results = rig.replies().into_iter().filter_map(|reply| match reply {
        SentReply::Result(result) => Some(result),
        _ => None,
    });
    let [result] = &results.collect::<Vec<_>>()[..] else { panic!("one result") };
    assert!(result.header.output_blocks == 0 || result.payload.is_empty());
    result.header.clone()
}

#[tokio::test]
async fn outputs_are_published_while_their_task_runs_and_its_result_follows_them() {
    let rig = TestRig::start(|_| {});
    let task = send(&rig, TestOp::WaitOn('z'), &["a", "z", "b", "c"], EACH);
    eventually("a block", || blocks(&rig).len() == 1).await;
    assert!(rig.replies().is_empty());
    rig.broker.hold_blocks(true);
    rig.operations.open_gate();
    // The last blocks are on their way, and the slot is free.
    let beside = rig.send(&[TestOp::Append('x')], &["b"]);
    rig.result(beside).await;
    assert_eq!(rig.result_of(task), None);
    rig.broker.hold_blocks(false);
    rig.after_settled(2).await;
    assert_eq!(outputs(&rig), ["a", "z", "b", "c"]);
    let done = rig.segments(task);
    let [segment] = &done[..] else { panic!("{done:?}") };
    let bytes = blocks(&rig).iter().map(|block| block.values.len() as u64).sum();
    let expected = Outcome::Done { bytes, outputs: 4, counts: None, lengths: None };
    assert_eq!(segment.outcome, expected);
    for block in blocks(&rig) {
        assert_eq!((block.header.job, block.header.task), (rig.job, task));
    }
}

#[tokio::test]
async fn few_outputs_come_in_the_result() {
    let rig = TestRig::start(|_| {});
    send(&rig, TestOp::Append('x'), &["a", "b"], 1 << 20);
    rig.after_settled(1).await;
    assert_eq!(result(&rig).output_blocks, 0);
    assert!(blocks(&rig).is_empty());
}

/// What fills no block follows in the last one.
#[tokio::test]
async fn a_block_has_whole_outputs_of_at_least_its_size() {
    let rig = TestRig::start(|_| {});
    send(&rig, TestOp::Chars, &["abcde", "fgh"], 4);
    rig.after_settled(1).await;
    let sizes: Vec<_> = blocks(&rig).iter().map(|block| block.header.outputs).collect();
    assert_eq!((sizes, result(&rig).output_blocks), (vec![2, 2, 2, 2], 4));
    assert_eq!(outputs(&rig).concat(), "abcdefgh");
}

#[tokio::test]
async fn failed_elements_have_no_outputs_in_a_block() {
    let rig = TestRig::start(|_| {});
    send(&rig, TestOp::FailOn('z'), &["a", "z", "b"], EACH);
    rig.after_settled(1).await;
    assert_eq!(outputs(&rig), ["a", "b"]);
    assert_eq!((result(&rig).output_blocks, result(&rig).segments.len()), (2, 3));
}

#[tokio::test]
async fn a_thread_that_is_abandoned_leaves_its_outputs_in_order() {
    let rig = TestRig::start(|_| {});
    let step = rig.operations.step(&TestOp::WaitOn('z'), Some(Duration::from_millis(20)));
    rig.send_task(vec![step], &["a", "z", "b"], |header| {
        header.outlet = TaskOutlet::Queue { block: EACH };
    });
    rig.after_settled(1).await;
    assert_eq!((outputs(&rig), result(&rig).output_blocks), (vec!["a".to_owned()], 1));
    rig.operations.open_gate();
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_outputs_are_not_confirmed_is_leased() {
    let hold = Duration::from_secs(6);
    let rig = TestRig::start(|options| options.hold = hold);
    rig.broker.hold_blocks(true);
    let task = send(&rig, TestOp::Append('x'), &["a"], EACH);
    at_once("it ran", || rig.operations.ran().len() == 1).await;
    rig.pass_beside_leader(2 * hold).await;
    let leased = |lease: &Lease| lease.tasks.iter().any(|leased| leased.copy.task == task);
    assert!(rig.leases().iter().any(leased));
    rig.broker.hold_blocks(false);
    at_once("a result", || rig.result_of(task).is_some()).await;
    rig.assert_settled_once();
}

#[tokio::test]
async fn nobody_publishes_outputs_of_a_dead_job() {
    let rig = TestRig::start(|_| {});
    rig.broker.set_routable(false);
    send(&rig, TestOp::Append('x'), &["a"], EACH);
    eventually("it was tried", || rig.broker.dropped() > 0).await;
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    rig.after_settled(1).await;
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    assert!(rig.replies().is_empty());
}

#[tokio::test]
async fn a_task_whose_outputs_are_refused_is_returned_with_the_reason() {
    let rig = TestRig::start(|_| {});
    rig.broker.refuse_block(PublishError::Refused { reason: "access refused".to_owned() });
    let task = send(&rig, TestOp::Append('x'), &["a", "b"], EACH);
    rig.after_settled(1).await;
    let ReturnReason::Refused(Refusal::Permission { reason }) = rig.return_reason(task) else {
        panic!("{:?}", rig.return_reason(task))
    };
    assert!(reason.contains("access refused"), "{reason}");
    rig.assert_settled_once();
}

/// The slot waits with its task, so that a worker holds no more than its window.
#[tokio::test]
async fn a_task_that_finds_the_window_full_waits_until_its_job_is_dead() {
    let rig = TestRig::start(|_| {});
    rig.broker.hold_blocks(true);
    let large = "x".repeat(1 << 20);
    let inputs = vec![large.as_str(); 40];
    let task = send(&rig, TestOp::Append('x'), &inputs, 1 << 20);
    let before = Cell::new(0);
    eventually("it waits", || {
        let ran = rig.operations.ran().len();
        before.replace(ran) == ran && ran >= 15
    })
    .await;
    assert!(rig.operations.ran().len() < 40, "{}", rig.operations.ran().len());
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    rig.after_settled(1).await;
    assert_eq!(rig.result_of(task), None);
}
