//! What can go wrong with dead letters.

use crate::{
    broker::{BrokerError, Pool},
    error::Error,
    id::DeadLetterId,
};

/// What can go wrong with dead letters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is none of this identity: it was removed, or too old, or never there.
    #[error("pool `{pool}` has no dead letter {id}")]
    Missing {
        /// What was asked for.
        id: DeadLetterId,
        /// Where.
        pool: Pool,
    },
    /// Not all were looked at, so it may be among the others.
    #[error(
        "the broker did not hand out {unseen} of the dead letters of pool `{pool}`: somebody else \
         looks at them, or it is busy; try again"
    )]
    Unseen {
        /// Whose they are.
        pool: Pool,
        /// How many.
        unseen: u16,
    },
    /// It is no letter of this version, so there is nothing to run again.
    #[error("dead letter {id} cannot be run again: {reason}")]
    Unreadable {
        /// Which.
        id: DeadLetterId,
        /// Why it does not decode.
        reason: String,
    },
    /// The element was too large to be kept.
    #[error(
        "dead letter {id} cannot be run again: its element of {size} bytes was too large to be kept"
    )]
    LeftOut {
        /// Which.
        id: DeadLetterId,
        /// The encoded size of the element.
        size: u64,
    },
    /// The element failed again, or could not be run. Its letter stays.
    #[error("the element of dead letter {id} was not run to its end, and its letter stays")]
    Replay {
        /// Which.
        id: DeadLetterId,
        /// How the job ended.
        #[source]
        source: Box<Error>,
    },
    /// The queue cannot be used: it is not there, or the user may not read it, or the connection
    /// was lost meanwhile.
    #[error("the dead letters of pool `{pool}` cannot be read")]
    Broker {
        /// Whose they are.
        pool: Pool,
        /// What the broker said.
        #[source]
        source: BrokerError,
    },
}
