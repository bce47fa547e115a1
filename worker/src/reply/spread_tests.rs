//! Results whose blocks go through queues.

use std::time::Duration;

use phalanx_core::{
    broker::{Exchange, PublishError, Settle},
    codec::Layout,
    id::{JobId, TaskNumber},
    registry::Refusal,
    wire::{
        BlockMessage, BlockRoute, Combine, Control, Lease, Outcome, ResultMessage, ReturnReason,
        Scatter, TaskHeader, TaskOutlet,
    },
};

use super::window::BlockWindow;
use crate::testing::{SentReply, TestOp, TestRig, at_once, eventually};

const PARTITIONS: u32 = 4;

fn spreads(header: &mut TaskHeader) {
    header.outlet = TaskOutlet::Exchange(Scatter {
        partitions: PARTITIONS,
        layout: Layout::Pairs,
        combine: Combine::Nothing,
        route: BlockRoute::Spread { exchange: 5, feeder: 1 },
    });
    header.ranges[0].from += 100;
    header.ranges[0].to += 100;
}

fn send(rig: &TestRig, op: TestOp, inputs: &[&str]) -> TaskNumber {
    rig.send_task(vec![rig.step(&op), rig.step(&TestOp::PairUp)], inputs, spreads)
}

fn blocks(rig: &TestRig) -> Vec<BlockMessage> {
    let published = rig.broker.published(Exchange::Shuffle);
    let mut blocks: Vec<_> =
        published.iter().map(|message| BlockMessage::decode(&message.body).unwrap()).collect();
    blocks.sort_by_key(|block| block.name.number);
    blocks
}

fn result(rig: &TestRig) -> ResultMessage {
    let results = rig.replies().into_iter().filter_map(|reply| match reply {
        SentReply::Result(result) => Some(result),
        _ => None,
    });
    let mut results: Vec<_> = results.collect();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

#[tokio::test]
async fn a_result_follows_its_blocks_and_says_how_many_they_are() {
    let rig = TestRig::start(|_| {});
    rig.broker.hold_blocks(true);
    send(&rig, TestOp::WaitOn('z'), &["a", "b", "c"]);
    // Its slot is free although its blocks wait.
    let beside = rig.send(&[TestOp::Append('x')], &["b"]);
    rig.result(beside).await;
    assert_eq!((rig.replies().len(), rig.broker.settled().len()), (1, 1));
    rig.broker.hold_blocks(false);
    rig.after_settled(2).await;
    let blocks = blocks(&rig);
    let results = rig.replies().into_iter().filter_map(|reply| match reply {
        SentReply::Result(result) if !result.header.spread.is_empty() => Some(result.header),
        _ => None,
    });
    let [header] = &results.collect::<Vec<_>>()[..] else { panic!("one result") };
    let written: Vec<_> = header.spread.iter().map(|it| (it.partition, it.blocks)).collect();
    let mut expected: Vec<_> = blocks.iter().map(|block| (block.name.partition, 1)).collect();
    expected.sort_unstable();
    assert_eq!(written, expected);
    let size: usize = blocks.iter().map(|block| block.block.len()).sum();
    assert_eq!(header.spread.iter().map(|it| it.bytes).sum::<u64>(), size as u64);
    assert!(header.blocks.is_empty());
    for (number, block) in (0..).zip(&blocks) {
        let name = block.name;
        assert_eq!((name.number, name.first, name.exchange, name.feeder), (number, 100, 5, 1));
        assert_eq!((name.job, name.execution), (rig.job, header.execution));
    }
}

/// What is written for an element that runs again comes between what is before it and behind it.
#[tokio::test]
async fn a_segment_ends_at_an_element_that_may_run_again_and_its_rows_are_in_no_block() {
    let rig = TestRig::start(|_| {});
    send(&rig, TestOp::StumbleOn('b'), &["a", "b", "c"]);
    rig.after_settled(1).await;
    let segments = result(&rig).header.segments;
    assert!(matches!(segments[1].outcome, Outcome::Failed { .. }), "{segments:?}");
    let firsts: Vec<u64> = blocks(&rig).iter().map(|block| block.name.first).collect();
    assert_eq!(firsts, [100, 102]);
}

#[tokio::test]
async fn a_block_without_a_queue_is_published_again_under_its_number() {
    let rig = TestRig::start(|_| {});
    rig.broker.set_routable(false);
    send(&rig, TestOp::Append('x'), &["a"]);
    eventually("it was tried twice", || rig.broker.dropped() > 1).await;
    assert!(rig.replies().is_empty());
    rig.broker.refuse_block(PublishError::Lost);
    rig.broker.refuse_block(PublishError::Nacked { reason: "full".to_owned() });
    rig.broker.set_routable(true);
    rig.after_settled(1).await;
    assert_eq!(blocks(&rig).iter().map(|block| block.name.number).collect::<Vec<_>>(), [0]);
    assert_eq!(result(&rig).header.spread.len(), 1);
}

#[tokio::test]
async fn nobody_publishes_blocks_of_a_dead_job() {
    let rig = TestRig::start(|_| {});
    rig.broker.set_routable(false);
    send(&rig, TestOp::Append('x'), &["a"]);
    eventually("it was tried", || rig.broker.dropped() > 0).await;
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    rig.after_settled(1).await;
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    assert!(rig.replies().is_empty());
}

/// A late copy whose exchange has been read: nothing but the return tells it apart from one that is
/// awaited.
#[tokio::test(start_paused = true)]
async fn a_task_whose_blocks_have_no_queue_for_a_minute_is_returned_and_holds_nothing() {
    let rig = TestRig::start(|_| {});
    rig.broker.hold_blocks(true);
    let late = send(&rig, TestOp::Append('x'), &["a"]);
    at_once("it ran", || rig.operations.ran().len() == 1).await;
    rig.pass_beside_leader(Duration::from_secs(90)).await;
    assert_eq!(rig.returned(late), None, "the broker does not confirm");
    rig.broker.set_blocks_routable(false);
    rig.broker.hold_blocks(false);
    rig.pass_beside_leader(Duration::from_secs(58)).await;
    assert_eq!(rig.returned(late), None);
    rig.pass_beside_leader(Duration::from_secs(6)).await;
    assert_eq!(rig.returned(late), Some(ReturnReason::NotStarted));
    rig.assert_settled_once();
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_blocks_are_not_confirmed_is_leased_and_its_slot_is_free() {
    let hold = Duration::from_secs(6);
    let rig = TestRig::start(|options| options.hold = hold);
    rig.broker.hold_blocks(true);
    let task = send(&rig, TestOp::Append('x'), &["a"]);
    at_once("it ran", || rig.operations.ran().len() == 1).await;
    rig.pass_beside_leader(hold).await;
    let leased = |lease: &Lease| lease.tasks.iter().any(|leased| leased.copy.task == task);
    assert!(rig.leases().iter().any(leased));
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    let beside = rig.send(&[TestOp::Append('x')], &["b"]);
    at_once("another runs", || rig.result_of(beside).is_some()).await;
    let leases = rig.leases().len();
    rig.pass_beside_leader(2 * hold).await;
    assert!(rig.leases()[leases..].iter().any(leased), "its heartbeats go on");
    rig.broker.hold_blocks(false);
    at_once("a result", || rig.result_of(task).is_some()).await;
    rig.assert_settled_once();
}

/// More of them than replies may wait for their confirms.
#[tokio::test]
async fn replies_do_not_wait_for_the_blocks_of_others() {
    let rig = TestRig::start(|options| options.slots = 160);
    rig.broker.hold_blocks(true);
    let tasks = 300;
    for _ in 0..tasks {
        send(&rig, TestOp::Append('x'), &["a"]);
    }
    eventually("all ran", || rig.operations.ran().len() == tasks).await;
    let plain = rig.send(&[TestOp::Append('x')], &["b"]);
    rig.result(plain).await;
    rig.broker.hold_blocks(false);
    rig.after_settled(tasks + 1).await;
    rig.assert_settled_once();
}

#[tokio::test]
async fn a_task_whose_block_is_refused_is_returned_with_the_reason() {
    let denied = PublishError::Refused { reason: "access refused".to_owned() };
    let too_large = PublishError::TooLarge { size: 9, limit: 8 };
    for error in [denied, too_large] {
        let rig = TestRig::start(|_| {});
        rig.broker.refuse_block(error);
        let task = send(&rig, TestOp::Append('x'), &["a"]);
        rig.after_settled(1).await;
        match rig.return_reason(task) {
            ReturnReason::Refused(Refusal::Permission { reason }) => {
                assert!(reason.contains("access refused"), "{reason}");
            }
            ReturnReason::TooLarge { size: 9, limit: 8 } => {}
            other => panic!("{other:?}"),
        }
        rig.assert_settled_once();
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_lets_blocks_in_as_others_leave() {
    let window = BlockWindow::new();
    let most = window.enter(10 << 20).await;
    let soon = Duration::from_secs(1);
    assert!(tokio::time::timeout(soon, window.enter(7 << 20)).await.is_err(), "it is full");
    drop(most);
    let all = tokio::time::timeout(soon, window.enter(usize::MAX)).await;
    assert!(all.is_ok(), "one that is too large takes all of it");
}

/// The blocks of another task are in the window when it ends.
#[tokio::test]
async fn a_task_that_waits_for_the_window_replies_when_its_job_is_dead() {
    let rig = TestRig::start(|_| {});
    rig.broker.hold_blocks(true);
    let large = "x".repeat(1 << 20);
    let inputs = vec![large.as_str(); 12];
    send(&rig, TestOp::Append('x'), &inputs);
    let waiting = send(&rig, TestOp::Append('x'), &inputs);
    let other = JobId::new();
    rig.send_task(vec![rig.step(&TestOp::Append('y'))], &["a"], |header| header.job = other);
    eventually("all are delivered", || rig.broker.delivered() == 2).await;
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    eventually("the slot is free", || !rig.replies().is_empty()).await;
    assert!(rig.result_of(waiting).is_none());
}
