//! Deliveries that are settled while their tasks run.

use std::time::Duration;

use phalanx_core::{
    broker::{PublishError, Settle},
    id::CopyId,
    operation::ErrorKind,
    wire::{Control, NotRunReason, Outcome, ReturnReason},
};

use crate::{
    Exit, WorkerOptions,
    testing::{TestOp, TestRig, at_once, eventually, pass},
};

/// A rig with a hold so short that tests can wait for it.
fn rig_with_short_hold(change: impl FnOnce(&mut WorkerOptions)) -> TestRig {
    TestRig::start(|options| {
        options.hold = Duration::from_millis(100);
        change(options);
    })
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

#[tokio::test]
async fn a_long_task_is_acked_when_its_lease_is_confirmed_and_replied_to_later() {
    for op in [TestOp::WaitOn('b'), TestOp::WaitAsyncOn('b')] {
        let rig = rig_with_short_hold(|_| {});
        let number = rig.send(&[op], &["a", "b"]);
        rig.after_settled(1).await;
        assert_eq!(rig.broker.log()[..2], ["confirm", "settle"]);
        assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
        eventually("the lease is renewed", || rig.leases().len() >= 4).await;
        for (lease, heartbeat) in rig.leases().iter().zip(1..) {
            assert_eq!((lease.heartbeat, Some(lease.worker)), (heartbeat, rig.worker.id()));
            let [task] = &lease.tasks[..] else { panic!("{lease:?}") };
            assert_eq!(task.copy, CopyId::new(number, 1));
        }
        rig.operations.open_gate();
        assert!(is_done(&rig.result(number).await[0].outcome));
        // From then on the lease is not renewed.
        let heartbeats = rig.leases().len();
        rig.send(&[TestOp::WaitOn('x')], &["a"]);
        rig.after_settled(2).await;
        assert!(rig.leases().len() <= heartbeats + 1);
        rig.assert_settled_once();
    }
}

#[tokio::test]
async fn a_lease_is_published_within_thirty_seconds_and_renewed_every_five() {
    let rig = TestRig::start(|options| options.slots = 2);
    rig.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("it runs", || rig.operations.ran().len() == 1).await;
    tokio::time::pause();
    pass(Duration::from_secs(24)).await;
    assert!(rig.replies().is_empty());
    pass(Duration::from_secs(5)).await;
    assert_eq!((rig.leases().len(), rig.broker.settled().len()), (1, 1));
    pass(Duration::from_secs(15)).await;
    assert_eq!(rig.leases().len(), 4);
    tokio::time::resume();
    rig.operations.open_gate();
}

#[tokio::test]
async fn a_lease_has_the_offset_of_each_of_its_tasks() {
    let rig = rig_with_short_hold(|options| options.slots = 2);
    let first = rig.send(&[TestOp::WaitOn('c')], &["a", "b", "c"]);
    let second = rig.send(&[TestOp::WaitOn('c')], &["c"]);
    rig.after_settled(2).await;
    eventually("both in one", || rig.leases().iter().any(|lease| lease.tasks.len() == 2)).await;
    let leases = rig.leases();
    let both = leases.iter().find(|lease| lease.tasks.len() == 2).unwrap();
    for (number, offset) in [(first, 2), (second, 0)] {
        let task = both.tasks.iter().find(|task| task.copy.task == number).unwrap();
        assert_eq!(task.offset, offset);
    }
    rig.operations.open_gate();
    rig.result(second).await;
    rig.assert_settled_once();
}

#[tokio::test]
async fn tasks_that_wait_for_leased_slots_are_returned_until_a_slot_is_free() {
    for op in [TestOp::WaitOn('a'), TestOp::WaitAsyncOn('a')] {
        let rig = rig_with_short_hold(|options| options.async_slots = 1);
        rig.send(std::slice::from_ref(&op), &["a"]);
        eventually("it runs", || rig.operations.ran().len() == 1).await;
        let waiting = rig.send(std::slice::from_ref(&op), &["b"]);
        rig.after_settled(2).await;
        assert_eq!(rig.return_reason(waiting), ReturnReason::NotStarted);
        let late = rig.send(std::slice::from_ref(&op), &["b"]);
        rig.after_settled(3).await;
        assert_eq!(rig.return_reason(late), ReturnReason::NotStarted);
        eventually("consumption pauses", || rig.broker.consumers() == 0).await;
        let next = rig.send(&[op], &["b"]);
        // Consumption resumes as soon as the slot is free: the clock is paused, so the back-off is
        // not over.
        tokio::time::pause();
        rig.operations.open_gate();
        at_once("consumption resumes", || rig.broker.consumers() == 1).await;
        tokio::time::resume();
        assert!(is_done(&rig.result(next).await[0].outcome));
        rig.assert_settled_once();
    }
}

#[tokio::test]
async fn free_slots_run_tasks_beside_a_leased_one() {
    let rig = rig_with_short_hold(|options| options.slots = 2);
    rig.send(&[TestOp::WaitOn('a')], &["a"]);
    rig.after_settled(1).await;
    for _ in 0..10 {
        let number = rig.send(&[TestOp::Append('x')], &["b"]);
        assert!(is_done(&rig.result(number).await[0].outcome));
    }
    let asynchronous = rig.send(&[TestOp::AppendAsync('x')], &["b"]);
    assert!(is_done(&rig.result(asynchronous).await[0].outcome));
    rig.operations.open_gate();
    rig.assert_settled_once();
}

#[tokio::test]
async fn a_reply_and_a_lease_published_at_the_same_time_settle_once() {
    let rig = rig_with_short_hold(|_| {});
    rig.broker.hold_confirms(true);
    let number = rig.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("the lease is on its way", || rig.broker.waiting() == 1).await;
    assert!(rig.broker.settled().is_empty());
    rig.operations.open_gate();
    eventually("so is the reply", || rig.broker.waiting() == 2).await;
    assert!(rig.broker.settled().is_empty());
    rig.broker.hold_confirms(false);
    rig.result(number).await;
    rig.after_settled(1).await;
    assert_eq!(rig.broker.log()[0], "confirm");
    assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
    rig.assert_settled_once();
}

#[tokio::test]
async fn a_lost_lease_is_published_again_before_the_delivery_is_acked() {
    let rig = rig_with_short_hold(|_| {});
    rig.broker.refuse_next(PublishError::Lost);
    rig.broker.set_connected(false);
    rig.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("it was lost", || rig.broker.refused() == 1).await;
    assert!(rig.leases().is_empty() && rig.broker.settled().is_empty());
    rig.broker.set_connected(true);
    rig.after_settled(1).await;
    assert_eq!(rig.broker.log()[..2], ["confirm", "settle"]);
    rig.operations.open_gate();
    rig.assert_settled_once();
}

#[tokio::test]
async fn a_drain_replies_for_leased_tasks() {
    let rig = rig_with_short_hold(|options| options.grace = Duration::from_millis(50));
    let number = rig.send(&[TestOp::WaitOn('b')], &["a", "b"]);
    rig.after_settled(1).await;
    rig.worker.drain();
    assert!(matches!(rig.worker.finished().await, Exit::Drained));
    let segments = rig.segments(number);
    assert!(is_done(&segments[0].outcome));
    assert_eq!(segments[1].outcome, Outcome::NotRun { reason: NotRunReason::Draining });
    rig.operations.open_gate();
    rig.assert_settled_once();
}

#[tokio::test]
async fn a_cancel_reaches_leased_tasks() {
    let rig = rig_with_short_hold(|_| {});
    let number = rig.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
    rig.after_settled(1).await;
    rig.send_control(&Control::Cancel { leader: rig.leader, job: rig.job });
    let reason = NotRunReason::Cancelled;
    assert_eq!(rig.result(number).await[0].outcome, Outcome::NotRun { reason });
    rig.assert_settled_once();
}

#[tokio::test]
async fn abandoning_a_thread_ends_its_lease() {
    let rig = rig_with_short_hold(|options| options.slots = 2);
    let timeout = Some(Duration::from_millis(300));
    let steps = vec![rig.operations.step(&TestOp::WaitOn('a'), timeout)];
    let number = rig.send_task(steps, &["a"], |_| {});
    rig.after_settled(1).await;
    assert!(!rig.leases().is_empty());
    let segments = rig.result(number).await;
    let Outcome::Failed { error, .. } = &segments[0].outcome else { panic!("{segments:?}") };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let heartbeats = rig.leases().len();
    let next = rig.send(&[TestOp::Append('x')], &["b"]);
    rig.result(next).await;
    assert!(rig.leases().len() <= heartbeats + 1);
    rig.operations.open_gate();
    rig.assert_settled_once();
}
