//! What becomes of the bytes on their way.

use std::time::Duration;

/// What becomes of the bytes on their way, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// They arrive.
    #[default]
    Open,
    /// They arrive later, each piece by this much.
    Slow(Duration),
    /// Nobody reads them: senders fill their buffers, and go on when the way opens.
    Stalled,
    /// They are read and vanish. What was swallowed never comes: cut such a connection when the way
    /// opens, or it is out of step.
    Silent,
}
