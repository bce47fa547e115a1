//! How a worker ends without losing anything.

use std::{sync::Arc, time::Duration};

use phalanx_core::wire::ReturnReason;
use tokio::{task::JoinSet, time::Instant};

use crate::{control::say_bye, engine::Engine};

/// How long operations have to end once they were told to, when the grace period is over.
const MOMENT: Duration = Duration::from_millis(500);

/// How long the last answers have to reach the broker.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends a worker that takes no more tasks: gives back what is buffered, waits for what runs, ends
/// it when the grace period is nearly over, answers, and says `Bye`. Within the grace period,
/// whether the broker is there or not; but the last two and a half seconds, or half of a shorter
/// one, are kept for what is told to end, and for answers.
pub(crate) async fn drain(engine: &Arc<Engine>, mut intake: JoinSet<()>) {
    let grace = engine.options.grace;
    let until = Instant::now() + grace.saturating_sub(MOMENT + LAST_WORDS).max(grace / 2);
    take_back(engine);
    // Its last deliveries come back at once; a broker that is away must not hold up the rest.
    let all_in = async { while intake.join_next().await.is_some() {} };
    let _ = tokio::time::timeout_at(until, all_in).await;
    intake.abort_all();
    take_back(engine);
    engine.open.close();
    if tokio::time::timeout_at(until, engine.open.wait()).await.is_err() {
        engine.stop_all();
        if tokio::time::timeout(MOMENT, engine.open.wait()).await.is_err() {
            for running in engine.executions.all() {
                running.abandon();
            }
            let _ = tokio::time::timeout(LAST_WORDS, engine.open.wait()).await;
        }
    }
    if engine.broker.health().borrow().is_well() {
        say_bye(engine).await;
    }
}

fn take_back(engine: &Engine) {
    for running in engine.slots.take_back() {
        engine.give_back(&running, ReturnReason::Draining);
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
        testing::{Bench, TestOp, eventually},
    };

    #[tokio::test]
    async fn a_drain_lets_running_tasks_end_and_gives_the_others_back() {
        let bench = Bench::start(|_| {});
        let runs = bench.send(&[TestOp::WaitOn('a')], &["a"]);
        eventually("the first runs", || bench.steps.ran().len() == 1).await;
        let waits = bench.send(&[TestOp::Append('x')], &["b"]);
        eventually("the second was taken", || bench.broker.delivered() == 2).await;
        bench.worker.drain();
        bench.answered(1).await;
        assert_eq!(bench.why(waits), ReturnReason::Draining);
        let late = bench.send(&[TestOp::Append('x')], &["c"]);
        bench.steps.open_gate();
        assert!(matches!(bench.worker.finished().await, Exit::Drained));
        assert!(matches!(bench.segments(runs)[0].outcome, Outcome::Done { .. }));
        assert!(!bench.steps.ran().contains(&"c".to_owned()), "{late} was left in the queue");
        let bye = bench.broker.published(Exchange::Event).pop().unwrap();
        assert!(matches!(Event::decode(&bye.body).unwrap(), Event::Bye { .. }));
        bench.audit();
    }

    #[tokio::test]
    async fn after_the_grace_period_what_runs_is_stopped_and_answered_for() {
        let bench = Bench::start(|options| {
            options.slots = 2;
            options.grace = Duration::from_millis(50);
        });
        let polite = bench.send(&[TestOp::WaitPolitelyOn('b')], &["a", "b"]);
        let stubborn = bench.send(&[TestOp::WaitOn('b')], &["a", "b"]);
        eventually("both run", || bench.steps.ran().len() == 4).await;
        bench.worker.drain();
        assert!(matches!(bench.worker.finished().await, Exit::Drained));
        for number in [polite, stubborn] {
            let segments = bench.segments(number);
            assert!(matches!(segments[0].outcome, Outcome::Done { .. }));
            assert_eq!(segments[1].outcome, Outcome::NotRun { reason: NotRunReason::Draining });
        }
        bench.steps.open_gate();
        bench.audit();
    }

    #[tokio::test]
    async fn a_drain_ends_while_the_broker_is_away() {
        let bench = Bench::start(|options| options.grace = Duration::from_millis(50));
        bench.broker.set_connected(false);
        bench.broker.refuse_next(PublishError::Lost);
        bench.send(&[TestOp::Append('x')], &["a"]);
        eventually("the task ran", || bench.steps.ran().len() == 1).await;
        bench.worker.drain();
        assert!(matches!(bench.worker.finished().await, Exit::Drained));
        assert!(bench.said().is_empty());
    }

    #[tokio::test]
    async fn neither_a_broker_that_is_away_nor_an_operation_that_hangs_outlasts_the_grace_period() {
        for op in [TestOp::Append('x'), TestOp::WaitOn('a')] {
            let bench = Bench::start(|_| {});
            bench.broker.refuse_next(PublishError::Lost);
            bench.broker.set_connected(false);
            bench.send(&[op], &["a"]);
            eventually("the task began", || bench.steps.ran().len() == 1).await;
            tokio::time::pause();
            let began = Instant::now();
            bench.worker.drain();
            assert!(matches!(bench.worker.finished().await, Exit::Drained));
            let slack = Duration::from_millis(100);
            assert!(began.elapsed() < Duration::from_secs(30) + slack, "{:?}", began.elapsed());
            tokio::time::resume();
            bench.steps.open_gate();
        }
    }

    #[tokio::test]
    async fn a_stop_puts_everything_back() {
        let bench = Bench::start(|_| {});
        bench.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        bench.send(&[TestOp::Append('x')], &["b"]);
        eventually("the first runs", || bench.steps.ran().len() == 1).await;
        eventually("the second was taken", || bench.broker.delivered() == 2).await;
        bench.worker.stop();
        assert!(matches!(bench.worker.finished().await, Exit::Stopped));
        eventually("both are back", || bench.broker.settled().len() == 2).await;
        assert!(bench.said().is_empty());
        assert_eq!(bench.steps.ran(), ["a"]);
    }
}
