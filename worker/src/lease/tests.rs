//! Deliveries that are settled while their tasks run.

use phalanx_core::{
    broker::Settle,
    id::CopyId,
    operation::ErrorKind,
    wire::{Control, NotRunReason, Outcome},
};

use super::*;
use crate::{
    Exit, WorkerOptions,
    testing::{Bench, TestOp, at_once, eventually, reference},
};

/// With a hold so short that tests can wait for it.
fn brief(change: impl FnOnce(&mut WorkerOptions)) -> Bench {
    Bench::start(|options| {
        options.hold = Duration::from_millis(100);
        change(options);
    })
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

#[tokio::test]
async fn what_runs_for_long_is_acked_when_its_lease_is_confirmed_and_answered_later() {
    for op in [TestOp::WaitOn('b'), TestOp::WaitSoonOn('b')] {
        let bench = brief(|_| {});
        let number = bench.send(&[op], &["a", "b"]);
        bench.answered(1).await;
        assert_eq!(bench.broker.log()[..2], ["confirm", "settle"]);
        assert_eq!(bench.broker.settled(), [(1, Settle::Ack)]);
        eventually("it goes on to be held", || bench.leases().len() >= 4).await;
        for (lease, heartbeat) in bench.leases().iter().zip(1..) {
            assert_eq!((lease.heartbeat, Some(lease.worker)), (heartbeat, bench.worker.id()));
            let [held] = &lease.tasks[..] else { panic!("{lease:?}") };
            assert_eq!(held.copy, CopyId::new(number, 1));
        }
        bench.steps.open_gate();
        assert!(is_done(&bench.result(number).await[0].outcome));
        // And then nothing is held any more.
        let beats = bench.leases().len();
        bench.send(&[TestOp::WaitOn('x')], &["a"]);
        bench.answered(2).await;
        assert!(bench.leases().len() <= beats + 1);
        bench.audit();
    }
}

#[tokio::test]
async fn a_lease_is_out_before_thirty_seconds_are_over_and_then_every_five() {
    let bench = Bench::start(|options| options.slots = 2);
    bench.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("it runs", || bench.steps.ran().len() == 1).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(24)).await;
    assert!(bench.said().is_empty());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((bench.leases().len(), bench.broker.settled().len()), (1, 1));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(bench.leases().len(), 4);
    tokio::time::resume();
    bench.steps.open_gate();
}

#[tokio::test]
async fn a_lease_says_where_each_of_its_tasks_is() {
    let bench = brief(|options| options.slots = 2);
    let first = bench.send(&[TestOp::WaitOn('c')], &["a", "b", "c"]);
    let second = bench.send(&[TestOp::WaitOn('c')], &["c"]);
    bench.answered(2).await;
    eventually("both in one", || bench.leases().iter().any(|lease| lease.tasks.len() == 2)).await;
    let leases = bench.leases();
    let both = leases.iter().find(|lease| lease.tasks.len() == 2).unwrap();
    for (number, offset) in [(first, 2), (second, 0)] {
        let held = both.tasks.iter().find(|held| held.copy.task == number).unwrap();
        assert_eq!(held.offset, offset);
    }
    bench.steps.open_gate();
    bench.result(second).await;
    bench.audit();
}

#[tokio::test]
async fn what_waits_behind_leased_tasks_goes_back_and_nothing_more_is_kept_waiting() {
    for op in [TestOp::WaitOn('a'), TestOp::WaitSoonOn('a')] {
        let bench = brief(|options| options.async_slots = 1);
        bench.send(std::slice::from_ref(&op), &["a"]);
        eventually("it runs", || bench.steps.ran().len() == 1).await;
        let behind = bench.send(std::slice::from_ref(&op), &["b"]);
        bench.answered(2).await;
        assert_eq!(bench.why(behind), ReturnReason::NotStarted);
        let late = bench.send(std::slice::from_ref(&op), &["b"]);
        bench.answered(3).await;
        assert_eq!(bench.why(late), ReturnReason::NotStarted);
        eventually("it stays away", || bench.broker.consumers() == 0).await;
        let waiting = bench.send(&[op], &["b"]);
        // Back as soon as the slot is: time stands still, so its pause is not over.
        tokio::time::pause();
        bench.steps.open_gate();
        at_once("it is back", || bench.broker.consumers() == 1).await;
        tokio::time::resume();
        assert!(is_done(&bench.result(waiting).await[0].outcome));
        bench.audit();
    }
}

#[tokio::test]
async fn other_slots_go_on_beside_a_leased_one() {
    let bench = brief(|options| options.slots = 2);
    bench.send(&[TestOp::WaitOn('a')], &["a"]);
    bench.answered(1).await;
    for _ in 0..10 {
        let number = bench.send(&[TestOp::Append('x')], &["b"]);
        assert!(is_done(&bench.result(number).await[0].outcome));
    }
    let soon = bench.send(&[TestOp::AppendSoon('x')], &["b"]);
    assert!(is_done(&bench.result(soon).await[0].outcome));
    bench.steps.open_gate();
    bench.audit();
}

#[tokio::test]
async fn an_answer_and_a_lease_on_their_way_at_once_settle_once() {
    let bench = brief(|_| {});
    bench.broker.hold_answers(true);
    let number = bench.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("the lease is on its way", || bench.broker.waiting() == 1).await;
    assert!(bench.broker.settled().is_empty());
    bench.steps.open_gate();
    eventually("so is the answer", || bench.broker.waiting() == 2).await;
    assert!(bench.broker.settled().is_empty());
    bench.broker.hold_answers(false);
    bench.result(number).await;
    bench.answered(1).await;
    assert_eq!(bench.broker.log()[0], "confirm");
    assert_eq!(bench.broker.settled(), [(1, Settle::Ack)]);
    bench.audit();
}

#[tokio::test]
async fn a_lease_that_was_lost_is_published_again_and_nothing_is_acked_before() {
    let bench = brief(|_| {});
    bench.broker.refuse_next(PublishError::Lost);
    bench.broker.set_connected(false);
    bench.send(&[TestOp::WaitOn('a')], &["a"]);
    eventually("it was lost", || bench.broker.refused() == 1).await;
    assert!(bench.leases().is_empty() && bench.broker.settled().is_empty());
    bench.broker.set_connected(true);
    bench.answered(1).await;
    assert_eq!(bench.broker.log()[..2], ["confirm", "settle"]);
    bench.steps.open_gate();
    bench.audit();
}

#[tokio::test]
async fn a_drain_answers_for_what_is_leased() {
    let bench = brief(|options| options.grace = Duration::from_millis(50));
    let number = bench.send(&[TestOp::WaitOn('b')], &["a", "b"]);
    bench.answered(1).await;
    bench.worker.drain();
    assert!(matches!(bench.worker.finished().await, Exit::Drained));
    let segments = bench.segments(number);
    assert!(is_done(&segments[0].outcome));
    assert_eq!(segments[1].outcome, Outcome::NotRun { reason: NotRunReason::Draining });
    bench.steps.open_gate();
    bench.audit();
}

#[tokio::test]
async fn a_cancel_reaches_what_is_leased_and_takes_what_waits() {
    let bench = brief(|_| {});
    let number = bench.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
    bench.answered(1).await;
    bench.say(&Control::Cancel { leader: bench.leader, job: bench.job });
    let reason = NotRunReason::Cancelled;
    assert_eq!(bench.result(number).await[0].outcome, Outcome::NotRun { reason });
    bench.audit();
}

#[tokio::test]
async fn a_thread_that_is_given_up_ends_its_lease() {
    let bench = brief(|options| options.slots = 2);
    let timeout = Some(Duration::from_millis(300));
    let steps = vec![reference(TestOp::WaitOn('a'), timeout)];
    let number = bench.send_task(steps, &["a"], |_| {});
    bench.answered(1).await;
    assert!(!bench.leases().is_empty());
    let segments = bench.result(number).await;
    let Outcome::Failed { error, .. } = &segments[0].outcome else { panic!("{segments:?}") };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let beats = bench.leases().len();
    let next = bench.send(&[TestOp::Append('x')], &["b"]);
    bench.result(next).await;
    assert!(bench.leases().len() <= beats + 1);
    bench.steps.open_gate();
    bench.audit();
}
