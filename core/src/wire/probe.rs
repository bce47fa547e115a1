//! A message through a task queue, whose reply shows that earlier messages have left it (rule 12).

use serde::{Deserialize, Serialize};

use super::envelope::headed_only;
use crate::{broker::Pool, id::LeaderId};

/// A request, sent through a task queue, for a [`ProbeReply`]: the worker that takes it replies at
/// once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The leader that waits for the reply.
    pub leader: LeaderId,
    /// The pool whose queue is probed.
    pub pool: Pool,
    /// Repeated in the reply; increases with each probe of a leader.
    pub nonce: u64,
}

/// The reply to a [`Probe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReply {
    /// The pool whose queue was probed.
    pub pool: Pool,
    /// The nonce of the probe.
    pub nonce: u64,
}
headed_only!(Probe, ProbeReply);
