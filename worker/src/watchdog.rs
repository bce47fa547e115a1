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
