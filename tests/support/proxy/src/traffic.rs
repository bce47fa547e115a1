//! What a proxy does with the bytes that it receives.

use std::time::Duration;

/// What a proxy does with the bytes that it receives, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traffic {
    /// Sends them on at once.
    #[default]
    Forward,
    /// Sends them on later: each read waits this long.
    Delay(Duration),
    /// Does not read them. Senders block once their buffers are full, and continue afterwards.
    Stall,
    /// Reads and discards them. A connection that lost bytes is out of step: cut it afterwards.
    Discard,
}
