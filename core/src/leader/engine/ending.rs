//! Why a leader ends, and with it all its jobs.

use crate::error::Error;

/// Why a leader ends, and with it all its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The program closed the runtime, or dropped all its handles.
    Closed,
    /// The process received a signal.
    Interrupted { signal: &'static str },
    /// The broker was closed on this side.
    BrokerClosed,
    /// The leader itself panicked; the message names the place.
    Panicked { message: String },
}

impl From<Ending> for Error {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Closed => Self::Closed,
            Ending::Interrupted { signal } => Self::Interrupted { signal },
            Ending::BrokerClosed => Self::BrokerClosed,
            Ending::Panicked { message } => Self::LeaderPanicked { message },
        }
    }
}
