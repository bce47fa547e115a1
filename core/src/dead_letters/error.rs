//! Errors of dead letters.

use crate::{
    broker::{BrokerError, Pool},
    error::Error,
    id::DeadLetterId,
    wire::LeftOut,
};

/// Why dead letters could not be listed, shown, replayed or deleted.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no dead letter with this id: it was deleted, has expired, or never existed.
    #[error("pool `{pool}` has no dead letter {id}")]
    Missing {
        /// The requested id.
        id: DeadLetterId,
        /// The pool that was searched.
        pool: Pool,
    },
    /// The broker did not deliver all dead letters, so the requested one may be among the others.
    #[error(
        "the broker did not deliver {unseen} of the dead letters of pool `{pool}`: another program \
         is reading them, or the broker is busy; try again"
    )]
    Unseen {
        /// The pool of the dead letters.
        pool: Pool,
        /// The number of dead letters that were not delivered.
        unseen: u16,
    },
    /// The message is not a dead letter of this version, so it cannot be replayed.
    #[error("cannot replay dead letter {id}: {reason}")]
    Unreadable {
        /// The id of the dead letter.
        id: DeadLetterId,
        /// Why the message does not decode.
        reason: String,
    },
    /// The element was not kept.
    #[error("cannot replay dead letter {id}: its element was {reason}{}", of_size(*size))]
    LeftOut {
        /// The id of the dead letter.
        id: DeadLetterId,
        /// The encoded size of the element in bytes; 0 if it is not known.
        size: u64,
        /// Why it was not kept.
        reason: LeftOut,
    },
    /// The element failed again, or could not be run. The dead letter was kept.
    #[error("replaying dead letter {id} failed; it was kept: {source}")]
    Replay {
        /// The id of the dead letter.
        id: DeadLetterId,
        /// The error of the replay.
        #[source]
        source: Box<Error>,
    },
    /// The queue does not exist, the user has no permission to read it, or the connection was lost.
    #[error("cannot read the dead letters of pool `{pool}`: {source}")]
    Broker {
        /// The pool of the dead letters.
        pool: Pool,
        /// The error of the broker.
        #[source]
        source: BrokerError,
    },
}

fn of_size(size: u64) -> String {
    match size {
        0 => String::new(),
        size => format!(" ({size} bytes)"),
    }
}

crate::__debug_as_report!(DeadLetterError);
