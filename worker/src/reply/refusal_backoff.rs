//! Backs off consumption after refusing tasks.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;

use crate::lock::lock;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long the consumer of one pool pauses after refusals (rule 10).
///
/// A worker that refuses every task, or returns every task because all its slots are leased, is
/// faster than the workers that run them. Without pauses it would take every task of the pool.
#[derive(Debug, Default)]
pub(crate) struct RefusalBackoff {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a task was refused since the last pause.
    refused: bool,
    /// The last pause; zero after a success.
    last_pause: Duration,
}

impl RefusalBackoff {
    /// Records a refusal.
    pub(crate) fn refused(&self) {
        self.state().refused = true;
        self.changed.notify_one();
    }

    /// Records a task that this worker could run.
    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        if !state.last_pause.is_zero() && !state.refused {
            state.last_pause = Duration::ZERO;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Resolves after a refusal, or after the first success that follows one. Cancel-safe.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The pause that is due: twice the last one, between 1 and 30 seconds. `None` if nothing was
    /// refused.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        let mut state = self.state();
        if !std::mem::take(&mut state.refused) {
            return None;
        }
        state.last_pause = (state.last_pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        Some(state.last_pause)
    }

    /// Whether no task has succeeded since the last pause.
    pub(crate) fn is_cautious(&self) -> bool {
        !self.state().last_pause.is_zero()
    }

    /// Whether a pause is due.
    pub(crate) fn is_pause_due(&self) -> bool {
        self.state().refused
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_restart_after_a_success() {
        let backoff = RefusalBackoff::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            backoff.refused();
            backoff.refused();
            pauses.extend(backoff.take_pause().map(|pause| pause.as_secs()));
            assert_eq!(backoff.take_pause(), None, "two refusals at once count as one");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        backoff.succeeded();
        assert!(!backoff.is_cautious());
        backoff.refused();
        assert_eq!(backoff.take_pause(), Some(FIRST_PAUSE));
    }
}
