//! Enforces the timeouts of blocking steps.

use std::{collections::HashMap, sync::Arc, time::Duration};

use phalanx_core::id::ExecutionId;
use tokio::time::Instant;

use crate::{
    Exit,
    execution::{ProgressMark, Running},
    executor::Executor,
    shared::Shared,
};

/// How long a cancelled operation may take to return before its thread is abandoned.
const CANCEL_GRACE: Duration = Duration::from_millis(100);

/// The longest interval between two checks.
const LONGEST_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Enforces the timeouts of blocking steps for as long as the worker lives.
///
/// Elements are not timed one by one. An execution that stays at the same element of the same step
/// for longer than the step's timeout is cancelled, and abandoned shortly after.
pub(super) async fn watch_timeouts(shared: Arc<Shared>, executor: Arc<Executor>) {
    let mut observed: HashMap<ExecutionId, Observed> = HashMap::new();
    loop {
        let timed = executor.executions().timed();
        let Some(shortest) = timed.iter().map(|(_, timeout)| *timeout).min() else {
            observed.clear();
            executor.executions().timed_begun().await;
            continue;
        };
        let now = Instant::now();
        observed = timed
            .into_iter()
            .filter_map(|(running, _)| {
                let before = observed.remove(&running.id());
                Some((running.id(), check(&shared, &executor, &running, before, now)?))
            })
            .collect();
        let interval = (shortest / 10).clamp(Duration::from_millis(1), LONGEST_CHECK_INTERVAL);
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // The new execution may have a shorter timeout.
            () = executor.executions().timed_begun() => {}
        }
    }
}

/// The progress that the last check observed, and since when it has been the same.
#[derive(Debug, Clone, Copy)]
enum Observed {
    At(ProgressMark, Instant),
    Cancelled(Instant),
}

fn check(
    shared: &Shared,
    executor: &Executor,
    running: &Arc<Running>,
    before: Option<Observed>,
    now: Instant,
) -> Option<Observed> {
    let last = match before {
        Some(Observed::Cancelled(since)) => {
            if now - since >= CANCEL_GRACE && running.abandon() {
                abandoned(shared, executor, running);
                return None;
            }
            return before;
        }
        Some(Observed::At(mark, since)) => Some((mark, since)),
        None => None,
    };
    let mark = running.mark()?;
    let since = last.filter(|(last, _)| *last == mark).map_or(now, |(_, since)| since);
    match running.pipeline.timeout(mark.step as usize) {
        Some(timeout) if now - since >= timeout => {
            running.time_out(mark, timeout);
            Some(Observed::Cancelled(now))
        }
        _ => Some(Observed::At(mark, since)),
    }
}

/// Drains the worker once one thread per slot has been abandoned, which is the limit (rule 26).
fn abandoned(shared: &Shared, executor: &Executor, running: &Running) {
    let threads = executor.abandoned_threads();
    let job = running.task.header.job;
    tracing::error!(%job, threads, "abandoned a thread: its operation does not return");
    if threads >= shared.options().slots {
        shared.shutdown().drain(Exit::Abandoned { threads });
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        operation::ErrorKind,
        wire::{NotRunReason, Outcome, Segment},
    };

    use super::*;
    use crate::testing::{TestOp, TestRig, at_once, eventually};

    const TIMEOUT: Option<Duration> = Some(Duration::from_millis(50));

    fn shape(segments: &[Segment]) -> Vec<(u32, &str)> {
        let name = |outcome: &Outcome| match outcome {
            Outcome::Done { .. } => "done",
            Outcome::Failed { error, .. } if error.kind() == ErrorKind::Timeout => "timeout",
            Outcome::NotRun { reason: NotRunReason::TimeSlice } => "not run",
            Outcome::NotRun { reason: NotRunReason::FoldBroken } => "broken",
            _ => "other",
        };
        segments.iter().map(|segment| (segment.to, name(&segment.outcome))).collect()
    }

    #[tokio::test]
    async fn a_thread_past_its_timeout_is_abandoned_and_its_outcomes_are_kept() {
        let rig = TestRig::start(|options| options.slots = 2);
        let steps = vec![rig.operations.step(&TestOp::WaitOn('c'), TIMEOUT)];
        let number = rig.send_task(steps, &["a", "c", "b", "d"], |_| {});
        rig.after_settled(1).await;
        assert_eq!(shape(&rig.segments(number)), [(1, "done"), (2, "timeout"), (4, "not run")]);
        // Both slots still work: the thread was replaced.
        for _ in 0..4 {
            rig.send(&[TestOp::Append('x')], &["a"]);
        }
        rig.after_settled(5).await;
        // The abandoned thread eventually returns, and does not reply.
        rig.operations.open_gate();
        rig.send(&[TestOp::Append('x')], &["a"]);
        assert_eq!(rig.after_settled(6).await.len(), 6);
        assert!(
            !rig.operations.ran().contains(&"d".to_owned()),
            "the rest of its batch does not run"
        );
        rig.assert_settled_once();
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_returns_when_cancelled_costs_no_thread() {
        let rig = TestRig::start(|_| {});
        let steps =
            vec![rig.operations.step(&TestOp::WaitPolitelyOn('c'), Some(Duration::from_secs(9)))];
        let number = rig.send_task(steps, &["a", "c", "b"], |_| {});
        at_once("it runs", || rig.operations.ran().len() == 2).await;
        while !rig.operations.is_cancelled() {
            tokio::time::advance(LONGEST_CHECK_INTERVAL).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        // For the watchdog no time passes until the thread notices the cancellation.
        at_once("it is replied to", || rig.broker.settled().len() == 1).await;
        assert_eq!(shape(&rig.segments(number)), [(1, "done"), (2, "timeout"), (3, "not run")]);
        rig.send(&[TestOp::Append('x')], &["a"]);
        at_once("the slot works", || rig.broker.settled().len() == 2).await;
        assert!(!rig.worker.is_draining());
    }

    #[tokio::test]
    async fn a_blocking_step_of_an_asynchronous_stage_is_timed_too() {
        let rig = TestRig::start(|options| options.slots = 2);
        let steps = vec![
            rig.step(&TestOp::AppendAsync('x')),
            rig.operations.step(&TestOp::WaitOn('c'), TIMEOUT),
        ];
        let number = rig.send_task(steps, &["c"], |_| {});
        rig.after_settled(1).await;
        assert_eq!(shape(&rig.segments(number)), [(1, "timeout")]);
        for _ in 0..4 {
            rig.send(&[TestOp::Append('x')], &["a"]);
        }
        rig.after_settled(5).await;
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn the_timeout_applies_to_each_element_not_to_their_sum() {
        let rig = TestRig::start(|_| {});
        let steps = vec![rig.operations.step(&TestOp::Nap(20), TIMEOUT)];
        let number = rig.send_task(steps, &["a"; 8], |_| {});
        rig.after_settled(1).await;
        assert_eq!(shape(&rig.segments(number)), [(8, "done")]);
    }

    #[tokio::test]
    async fn a_worker_that_has_abandoned_one_thread_per_slot_drains_with_that_reason() {
        let rig = TestRig::start(|options| options.slots = 2);
        for _ in 0..2 {
            rig.send_task(vec![rig.operations.step(&TestOp::WaitOn('c'), TIMEOUT)], &["c"], |_| {});
        }
        let exit = rig.worker.finished().await;
        assert!(matches!(exit, Exit::Abandoned { threads: 2 }), "{exit:?}");
        eventually("both are replied to", || rig.replies().len() == 2).await;
        rig.assert_settled_once();
    }
}
