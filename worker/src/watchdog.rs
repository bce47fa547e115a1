//! Elements that run longer than they may.

use std::{collections::HashMap, sync::Arc, time::Duration};

use phalanx_core::id::ExecutionId;
use tokio::time::Instant;

use crate::{
    Exit,
    engine::Engine,
    execution::{Overdue, Running},
};

/// How long an operation may take to end once it was told to.
const MOMENT: Duration = Duration::from_millis(100);

/// Looks are at most this far apart.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Looks after the timeouts of blocking steps, for as long as the worker lives.
///
/// Elements are not timed: an execution that stands at the same element of the same step for
/// longer than the step's timeout is told to end, and given up a moment later.
pub(crate) async fn watch(engine: Arc<Engine>) {
    let mut seen: HashMap<ExecutionId, Seen> = HashMap::new();
    loop {
        let watched = engine.executions.watched();
        let Some(shortest) = watched.iter().map(|(_, timeout)| *timeout).min() else {
            seen.clear();
            engine.executions.something_watched().await;
            continue;
        };
        let now = Instant::now();
        seen = watched
            .into_iter()
            .filter_map(|(running, _)| {
                let before = seen.remove(&running.id());
                Some((running.id(), look(&engine, &running, before, now)?))
            })
            .collect();
        let look = (shortest / 10).clamp(Duration::from_millis(1), LONGEST_LOOK);
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            // Perhaps with a shorter timeout.
            () = engine.executions.something_watched() => {}
        }
    }
}

/// Where an execution was seen.
#[derive(Debug, Clone, Copy)]
enum Seen {
    At(Overdue, Instant),
    ToldToEnd(Instant),
}

fn look(
    engine: &Engine,
    running: &Arc<Running>,
    before: Option<Seen>,
    now: Instant,
) -> Option<Seen> {
    let since = match before {
        Some(Seen::ToldToEnd(since)) => {
            if now - since >= MOMENT && running.abandon() {
                given_up(engine, running);
                return None;
            }
            return before;
        }
        Some(Seen::At(place, since)) => Some((place, since)),
        None => None,
    };
    let place = running.place()?;
    let since = since.filter(|(before, _)| *before == place).map_or(now, |(_, since)| since);
    match running.pipeline.timeout(place.step as usize) {
        Some(timeout) if now - since >= timeout => {
            running.time_out(place, timeout);
            Some(Seen::ToldToEnd(now))
        }
        _ => Some(Seen::At(place, since)),
    }
}

/// Has a thread been given up for each slot, the worker has leaked as much as it may (rule 26).
fn given_up(engine: &Engine, running: &Running) {
    let threads = engine.slots.abandoned();
    let job = running.task.header.job;
    tracing::error!(%job, threads, "a thread was given up: its operation does not end");
    if threads >= engine.options.slots {
        engine.drain(Exit::Abandoned { threads });
    }
}

#[cfg(test)]
mod tests {
    use phalanx_core::{
        operation::ErrorKind,
        wire::{NotRunReason, Outcome, Segment},
    };

    use super::*;
    use crate::testing::{Bench, TestOp, at_once, eventually, reference};

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
    async fn a_thread_past_its_timeout_is_given_up_and_what_it_did_is_kept() {
        let bench = Bench::start(|options| options.slots = 2);
        let steps = vec![reference(TestOp::WaitOn('c'), TIMEOUT)];
        let number = bench.send_task(steps, &["a", "c", "b", "d"], |_| {});
        bench.answered(1).await;
        assert_eq!(shape(&bench.segments(number)), [(1, "done"), (2, "timeout"), (4, "not run")]);
        // Both slots still work: the thread was replaced.
        for _ in 0..4 {
            bench.send(&[TestOp::Append('x')], &["a"]);
        }
        bench.answered(5).await;
        // It comes back at last, and nobody listens.
        bench.steps.open_gate();
        bench.send(&[TestOp::Append('x')], &["a"]);
        assert_eq!(bench.answered(6).await.len(), 6);
        assert!(!bench.steps.ran().contains(&"d".to_owned()), "its batch is not run on");
        bench.audit();
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_ends_when_it_is_told_to_costs_no_thread() {
        let bench = Bench::start(|_| {});
        let steps = vec![reference(TestOp::WaitPolitelyOn('c'), Some(Duration::from_secs(9)))];
        let number = bench.send_task(steps, &["a", "c", "b"], |_| {});
        at_once("it runs", || bench.steps.ran().len() == 2).await;
        while !bench.steps.is_told_to_end() {
            tokio::time::advance(LONGEST_LOOK).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        // However long the thread takes to notice: for the watchdog it is no time.
        at_once("it is answered", || bench.broker.settled().len() == 1).await;
        assert_eq!(shape(&bench.segments(number)), [(1, "done"), (2, "timeout"), (3, "not run")]);
        bench.send(&[TestOp::Append('x')], &["a"]);
        at_once("the slot works", || bench.broker.settled().len() == 2).await;
        assert!(!bench.worker.is_draining());
    }

    #[tokio::test]
    async fn a_blocking_step_of_an_asynchronous_stage_is_watched_too() {
        let bench = Bench::start(|options| options.slots = 2);
        let steps =
            vec![reference(TestOp::AppendSoon('x'), None), reference(TestOp::WaitOn('c'), TIMEOUT)];
        let number = bench.send_task(steps, &["c"], |_| {});
        bench.answered(1).await;
        assert_eq!(shape(&bench.segments(number)), [(1, "timeout")]);
        for _ in 0..4 {
            bench.send(&[TestOp::Append('x')], &["a"]);
        }
        bench.answered(5).await;
        bench.audit();
    }

    #[tokio::test]
    async fn elements_that_each_keep_to_the_timeout_may_take_longer_together() {
        let bench = Bench::start(|_| {});
        let steps = vec![reference(TestOp::Nap(20), TIMEOUT)];
        let number = bench.send_task(steps, &["a"; 8], |_| {});
        bench.answered(1).await;
        assert_eq!(shape(&bench.segments(number)), [(8, "done")]);
    }

    #[tokio::test]
    async fn after_as_many_threads_as_slots_the_worker_drains_and_says_why() {
        let bench = Bench::start(|options| options.slots = 2);
        for _ in 0..2 {
            bench.send_task(vec![reference(TestOp::WaitOn('c'), TIMEOUT)], &["c"], |_| {});
        }
        let exit = bench.worker.finished().await;
        assert!(matches!(exit, Exit::Abandoned { threads: 2 }), "{exit:?}");
        eventually("both are answered", || bench.said().len() == 2).await;
        bench.audit();
    }
}
