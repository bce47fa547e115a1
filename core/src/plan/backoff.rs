//! How long elements wait before they are retried.

use std::time::Duration;

/// The longest back-off, also if an operation asks for a longer one.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(24 * 3600);

/// The bounds of the back-off of a step, which doubles with each try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// After the first try.
    from: Duration,
    /// The most.
    to: Duration,
}

impl Backoff {
    /// The back-off between these bounds, each at most one day; `None` if they are reversed.
    pub(crate) fn new(from: Duration, to: Duration) -> Option<Self> {
        let (from, to) = (from.min(LONGEST_BACKOFF), to.min(LONGEST_BACKOFF));
        (from <= to).then_some(Self { from, to })
    }

    /// The back-off that an operation declares; without one, the default.
    pub(crate) fn declared(bounds: Option<(Duration, Duration)>) -> Self {
        bounds.and_then(|(from, to)| Self::new(from, to)).unwrap_or_default()
    }

    /// The back-off after the `tries`-th try, before jitter.
    pub(crate) fn after(self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        self.from.saturating_mul(1 << doublings).min(self.to)
    }

    pub(crate) fn bounds(self) -> (Duration, Duration) {
        (self.from, self.to)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { from: Duration::from_millis(100), to: Duration::from_secs(30) }
    }
}
