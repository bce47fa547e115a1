//! The ways in which a proxy handles the bytes that it receives.

use std::time::Duration;

/// How a proxy handles the bytes that it receives, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// Sends them on at once.
    #[default]
    Forward,
    /// Sends them on later: each read waits this long.
    Delay(Duration),
    /// Does not read them. Senders block once their buffers are full, and continue afterwards.
    Stall,
    /// Reads and discards them. A connection that lost bytes is unusable: cut it afterwards.
    Discard,
}
