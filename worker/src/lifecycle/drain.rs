//! Ends a worker without losing a task.

use std::time::Duration;

use phalanx_core::wire::ReturnReason;
use tokio::{task::JoinSet, time::Instant};

use super::{Parts, control::publish_bye};

/// How long operations may take to return after they were cancelled at the end of the grace period.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// How long the broker may take to confirm the last replies.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// Ends a worker that accepts no more tasks: returns the tasks that wait, lets those that run
/// finish, cancels them near the end of the grace period, and publishes their replies and a `Bye`.
///
/// It ends within the grace period, connected or not. The last 2.5 s of the period, or half of a
/// shorter one, are for cancelled operations and for replies.
pub(super) async fn drain(parts: &Parts, mut consumers: JoinSet<()>) {
    let Parts { shared, replies, executor, .. } = parts;
    let grace = shared.options().grace;
    let until = Instant::now() + grace.saturating_sub(CANCEL_GRACE + LAST_REPLIES).max(grace / 2);
    executor.return_queued(&ReturnReason::Draining);
    // The consumers end at once, unless the broker is away.
    let all_ended = async { while consumers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout_at(until, all_ended).await;
    consumers.abort_all();
    executor.return_queued(&ReturnReason::Draining);
    if tokio::time::timeout_at(until, replies.all_published()).await.is_err() {
        executor.stop_all();
        if tokio::time::timeout(CANCEL_GRACE, replies.all_published()).await.is_err() {
            executor.abandon_all();
            let _ = tokio::time::timeout(LAST_REPLIES, replies.all_published()).await;
        }
    }
    if shared.is_broker_well() {
        publish_bye(shared).await;
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        broker::{Exchange, PublishError},
        wire::{Event, NotRunReason, Outcome},
    };

    use super::*;
    use crate::{
        Exit,
        testing::{TestOp, TestRig, eventually, pass},
    };

    #[tokio::test]
    async fn a_drain_lets_running_tasks_finish_and_returns_the_others() {
        let rig = TestRig::start(|_| {});
        let runs = rig.send(&[TestOp::WaitOn('a')], &["a"]);
        eventually("the first runs", || rig.operations.ran().len() == 1).await;
        let waits = rig.send(&[TestOp::Append('x')], &["b"]);
        eventually("the second was taken", || rig.broker.delivered() == 2).await;
        rig.worker.drain();
        rig.after_settled(1).await;
        assert_eq!(rig.return_reason(waits), ReturnReason::Draining);
        let late = rig.send(&[TestOp::Append('x')], &["c"]);
        rig.operations.open_gate();
        assert!(matches!(rig.worker.finished().await, Exit::Drained));
        assert!(matches!(rig.segments(runs)[0].outcome, Outcome::Done { .. }));
        assert!(!rig.operations.ran().contains(&"c".to_owned()), "{late} was left in the queue");
        let bye = rig.broker.published(Exchange::Event).pop().unwrap();
        assert!(matches!(Event::decode(&bye.body).unwrap(), Event::Bye { .. }));
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn after_the_grace_period_running_tasks_are_stopped_with_a_reply() {
        let rig = TestRig::start(|options| {
            options.slots = 2;
            options.grace = Duration::from_millis(50);
        });
        let polite = rig.send(&[TestOp::WaitPolitelyOn('b')], &["a", "b"]);
        let stubborn = rig.send(&[TestOp::WaitOn('b')], &["a", "b"]);
        eventually("both run", || rig.operations.ran().len() == 4).await;
        rig.worker.drain();
        assert!(matches!(rig.worker.finished().await, Exit::Drained));
        for number in [polite, stubborn] {
            let segments = rig.segments(number);
            assert!(matches!(segments[0].outcome, Outcome::Done { .. }));
            assert_eq!(segments[1].outcome, Outcome::NotRun { reason: NotRunReason::Draining });
        }
        rig.operations.open_gate();
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_drain_ends_without_a_connection() {
        let rig = TestRig::start(|options| options.grace = Duration::from_millis(50));
        rig.broker.set_connected(false);
        rig.broker.refuse_next(PublishError::Lost);
        rig.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || rig.operations.ran().len() == 1).await;
        rig.worker.drain();
        assert!(matches!(rig.worker.finished().await, Exit::Drained));
        assert!(rig.replies().is_empty());
    }

    #[tokio::test]
    async fn a_drain_never_exceeds_the_grace_period() {
        for op in [TestOp::Append('x'), TestOp::WaitOn('a')] {
            let rig = TestRig::start(|_| {});
            rig.broker.refuse_next(PublishError::Lost);
            rig.broker.set_connected(false);
            rig.send(&[op], &["a"]);
            eventually("the task began", || rig.operations.ran().len() == 1).await;
            tokio::time::pause();
            let began = Instant::now();
            rig.worker.drain();
            let exit = tokio::select! {
                exit = rig.worker.finished() => exit,
                () = pass(Duration::from_secs(60)) => panic!("the worker does not end"),
            };
            assert!(matches!(exit, Exit::Drained));
            // Each of its timers ends at a step of the clock.
            let slack = Duration::from_millis(600);
            assert!(began.elapsed() < Duration::from_secs(30) + slack, "{:?}", began.elapsed());
            tokio::time::resume();
            rig.operations.open_gate();
        }
    }

    #[tokio::test]
    async fn a_stop_requeues_everything() {
        let rig = TestRig::start(|_| {});
        rig.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        rig.send(&[TestOp::Append('x')], &["b"]);
        eventually("the first runs", || rig.operations.ran().len() == 1).await;
        eventually("the second was taken", || rig.broker.delivered() == 2).await;
        rig.worker.stop();
        assert!(matches!(rig.worker.finished().await, Exit::Stopped));
        eventually("both are back", || rig.broker.settled().len() == 2).await;
        assert!(rig.replies().is_empty());
        assert_eq!(rig.operations.ran(), ["a"]);
    }
}
