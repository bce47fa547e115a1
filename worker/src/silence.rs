//! Leaders that have fallen silent (rule 21).

use std::{sync::Arc, time::Duration};

use phalanx_core::wire::{
    ReturnReason,
    timing::{LEADER_TIMEOUT, REPLY_QUEUE_EXPIRES},
};
use tokio::time::Instant;

use crate::{engine::Engine, execution::Stop};

/// How often the leaders' silence is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// A longer gap between two looks is a pause of this process, in which it could hear nobody.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// Gives back what waits for leaders that are silent, and ends what runs for those that nobody will
/// hear of again, for as long as the worker lives.
pub(crate) async fn listen_for_silence(engine: Arc<Engine>) {
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        let elapsed = looked.elapsed().min(LONGEST_LOOK);
        looked = Instant::now();
        // Who is cut off hears nobody; and where the broker takes no messages, leaders cannot speak.
        if !engine.broker.health().borrow().is_well() {
            continue;
        }
        engine.leaders().tick(elapsed);
        for running in engine.executions.all() {
            let silence = engine.leaders().silence(running.task.header.leader);
            if silence >= REPLY_QUEUE_EXPIRES {
                running.stop(Stop::Cancelled);
            }
            if silence >= LEADER_TIMEOUT {
                engine.give_back(&running, ReturnReason::LeaderSilent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::wire::{Control, NotRunReason, Outcome};

    use super::*;
    use crate::testing::{Bench, TestOp, at_once};

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_silent_leader_sent_goes_back_and_what_runs_goes_on() {
        let bench = Bench::start(|options| options.slots = 2);
        let runs = bench.send(&[TestOp::WaitOn('a')], &["a"]);
        at_once("it runs", || bench.steps.ran().len() == 1).await;
        pass(Duration::from_secs(50)).await;
        bench.send(&[TestOp::WaitOn('a')], &["a"]);
        at_once("it runs too", || bench.steps.ran().len() == 2).await;
        let waits = bench.send(&[TestOp::WaitOn('a')], &["a"]);
        pass(Duration::from_secs(5)).await;
        assert!(bench.returned(waits).is_none());
        pass(Duration::from_secs(10)).await;
        assert_eq!(bench.why(waits), ReturnReason::LeaderSilent);
        let late = bench.send(&[TestOp::Append('x')], &["b"]);
        pass(Duration::from_secs(1)).await;
        assert_eq!(bench.why(late), ReturnReason::LeaderSilent);

        bench.say(&Control::Alive {
            leader: bench.leader,
            heartbeat: 1,
            up_to: None,
            live: vec![],
        });
        pass(Duration::from_secs(1)).await;
        bench.steps.open_gate();
        at_once("a result", || bench.result_of(runs).is_some()).await;
        let heard = bench.send(&[TestOp::Append('x')], &["b"]);
        at_once("another", || bench.result_of(heard).is_some()).await;
        bench.audit();
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_for_a_leader_that_is_gone_is_ended() {
        let bench = Bench::start(|_| {});
        let number = bench.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        at_once("it runs", || bench.steps.ran().len() == 1).await;
        pass(minutes(29)).await;
        assert!(!bench.steps.is_told_to_end());
        pass(minutes(2)).await;
        at_once("it is answered for", || bench.result_of(number).is_some()).await;
        let reason = NotRunReason::Cancelled;
        assert_eq!(bench.segments(number)[0].outcome, Outcome::NotRun { reason });
        bench.audit();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_only_while_somebody_could_be_heard() {
        let bench = Bench::start(|_| {});
        let number = bench.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        at_once("it runs", || bench.steps.ran().len() == 1).await;
        bench.broker.set_connected(false);
        pass(minutes(31)).await;
        bench.broker.set_connected(true);
        // Suspended, and then going on.
        tokio::time::advance(minutes(60)).await;
        pass(minutes(29)).await;
        assert!(!bench.steps.is_told_to_end());
        bench.steps.open_gate();
        at_once("a result", || bench.result_of(number).is_some()).await;
    }
}
