//! Who refuses slows its own consumption.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How long the intake of one pool stays away after refusals (rule 10): a worker that answers each
/// task with a refusal, or with a return because all its slots are lent, is faster than all that run
/// them, and would be a black hole.
#[derive(Debug, Default)]
pub(crate) struct Refusing {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Refusals since the intake was last away.
    pending: bool,
    /// How long it was away last; zero when all is well.
    last: Duration,
}

impl Refusing {
    pub(crate) fn refused(&self) {
        self.state().pending = true;
        self.changed.notify_one();
    }

    pub(crate) fn succeeded(&self) {
        let mut state = self.state();
        if !state.last.is_zero() && !state.pending {
            state.last = Duration::ZERO;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Resolves when there was a refusal, or a success after one. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How long to stay away from now on; `None` when nothing was refused.
    pub(super) fn take_pause(&self) -> Option<Duration> {
        let mut state = self.state();
        if !std::mem::take(&mut state.pending) {
            return None;
        }
        state.last = (state.last * 2).clamp(FIRST, LONGEST);
        Some(state.last)
    }

    /// Whether something was refused and nothing has succeeded since.
    pub(super) fn is_wary(&self) -> bool {
        !self.state().last.is_zero()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.state().pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_thirty_seconds_and_start_anew_after_a_success() {
        let refusing = Refusing::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            refusing.refused();
            refusing.refused();
            pauses.extend(refusing.take_pause().map(|pause| pause.as_secs()));
            assert_eq!(refusing.take_pause(), None, "two refusals at once are one");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        refusing.succeeded();
        assert!(!refusing.is_wary());
        refusing.refused();
        assert_eq!(refusing.take_pause(), Some(FIRST));
    }
}
