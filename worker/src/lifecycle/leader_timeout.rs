//! Handles leaders that have gone quiet (rule 21).

use std::{sync::Arc, time::Duration};

use phalanx_core::wire::{ReturnReason, timing::REPLY_QUEUE_EXPIRES};
use tokio::time::Instant;

use crate::{execution::Stop, executor::Executor, leaders::Leaders, shared::Shared};

/// How often leaders are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The most time that counts between two checks. A longer gap means that this process was suspended
/// and could receive nothing.
const LONGEST_GAP: Duration = Duration::from_secs(10);

/// For as long as the worker lives, returns the waiting tasks of leaders that seem to be gone, and
/// cancels the running tasks of those that exceed [`REPLY_QUEUE_EXPIRES`].
pub(super) async fn watch_leaders(
    shared: Arc<Shared>,
    leaders: Arc<Leaders>,
    executor: Arc<Executor>,
) {
    let mut checked = Instant::now();
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        let elapsed = checked.elapsed().min(LONGEST_GAP);
        checked = Instant::now();
        // Without a connection no messages of leaders arrive, and a blocked broker accepts none
        // from them: such time does not count.
        if !shared.is_broker_well() {
            continue;
        }
        leaders.advance(elapsed);
        for running in executor.executions().all() {
            let leader = running.task.header.leader;
            if leaders.unheard_for(leader) >= REPLY_QUEUE_EXPIRES {
                running.stop(Stop::Cancelled);
            }
            if leaders.is_silent(leader) {
                executor.return_unrun(&running, ReturnReason::LeaderTimeout);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::wire::{Control, NotRunReason, Outcome};

    use super::*;
    use crate::testing::{TestOp, TestRig, at_once, pass};

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_tasks_of_a_timed_out_leader_are_returned_and_running_ones_continue() {
        let rig = TestRig::start(|options| options.slots = 2);
        let alive = |heartbeat| Control::Alive {
            leader: rig.leader,
            heartbeat,
            up_to: None,
            live: vec![],
            asks_for_operations: false,
        };
        rig.send_control(&alive(1));
        let runs = rig.send(&[TestOp::WaitOn('a')], &["a"]);
        at_once("it runs", || rig.operations.ran().len() == 1).await;
        pass(Duration::from_secs(50)).await;
        rig.send(&[TestOp::WaitOn('a')], &["a"]);
        at_once("it runs too", || rig.operations.ran().len() == 2).await;
        let waits = rig.send(&[TestOp::WaitOn('a')], &["a"]);
        pass(Duration::from_secs(5)).await;
        assert!(rig.returned(waits).is_none());
        pass(Duration::from_secs(10)).await;
        assert_eq!(rig.return_reason(waits), ReturnReason::LeaderTimeout);
        let late = rig.send(&[TestOp::Append('x')], &["b"]);
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.return_reason(late), ReturnReason::LeaderTimeout);

        rig.send_control(&alive(2));
        pass(Duration::from_secs(1)).await;
        rig.operations.open_gate();
        at_once("a result", || rig.result_of(runs).is_some()).await;
        let heard = rig.send(&[TestOp::Append('x')], &["b"]);
        at_once("another", || rig.result_of(heard).is_some()).await;
        rig.assert_settled_once();
    }

    #[tokio::test(start_paused = true)]
    async fn running_tasks_of_a_leader_that_is_gone_are_cancelled() {
        let rig = TestRig::start(|_| {});
        let number = rig.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        at_once("it runs", || rig.operations.ran().len() == 1).await;
        pass(minutes(29)).await;
        assert!(!rig.operations.is_cancelled());
        pass(minutes(2)).await;
        at_once("it is replied to", || rig.result_of(number).is_some()).await;
        let reason = NotRunReason::Cancelled;
        assert_eq!(rig.segments(number)[0].outcome, Outcome::NotRun { reason });
        rig.assert_settled_once();
    }

    #[tokio::test(start_paused = true)]
    async fn the_leader_timeout_counts_only_time_in_which_leaders_could_be_heard() {
        let rig = TestRig::start(|_| {});
        let number = rig.send(&[TestOp::WaitPolitelyOn('a')], &["a"]);
        at_once("it runs", || rig.operations.ran().len() == 1).await;
        rig.broker.set_connected(false);
        pass(minutes(31)).await;
        rig.broker.set_connected(true);
        // As if the process had been suspended.
        tokio::time::advance(minutes(60)).await;
        pass(minutes(29)).await;
        assert!(!rig.operations.is_cancelled());
        rig.operations.open_gate();
        at_once("a result", || rig.result_of(number).is_some()).await;
    }
}
