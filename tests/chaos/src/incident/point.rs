//! The points of the protocol at which an incident happens.

use std::fmt;

use clap::ValueEnum;
use phalanx_core::broker::{Address, Exchange, MessageKind};

/// A point on the path of a task or its blocks through a worker or the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Point {
    /// A delivery has arrived, but its task has not started.
    Delivered,
    /// A delivery has arrived that is marked as redelivered.
    Redelivered,
    /// An element is running.
    Running,
    /// The task has run, but its result is not published yet.
    Replying,
    /// The result is published, but the broker has not confirmed it.
    Published,
    /// The broker has confirmed the result, but the delivery is not acked.
    Confirmed,
    /// The worker has acked the delivery; the ack may not have been sent.
    Acking,
    /// The broker has received the ack.
    Acked,
    /// The worker returns the task unrun, but the return is not published yet.
    Returning,
    /// The broker has confirmed the return, but the delivery is not acked.
    Returned,
    /// The worker is about to lease the task.
    Leasing,
    /// A block for a partition is ready, but not published yet.
    Writing,
    /// A block is published, but the broker has not confirmed it.
    Written,
    /// The broker has confirmed a block; others of its task may follow, and the result.
    Stored,
    /// The worker may read the queue of a partition.
    Opened,
    /// A block has been read.
    Gathering,
    /// More has been read than the worker gathers in memory.
    Spilled,
    /// A partition is read, and its blocks are back in the queue.
    Gathered,
    /// Outputs are ready that go into a queue, but they are not published yet.
    Yielding,
    /// The broker has confirmed outputs in a queue; the result may follow.
    Yielded,
    /// The leader is about to declare queues.
    Declaring,
    /// The queues are declared, but no task that writes to them is published yet.
    Declared,
    /// An exchange is sealed, and a task that reads its queues is about to be published.
    Sealed,
    /// Outputs from a queue have arrived at the leader.
    Served,
    /// The leader is about to delete queues.
    Deleting,
}

impl Point {
    /// The points of a worker that every job reaches.
    pub const COMMON: [Self; 7] = [
        Self::Delivered,
        Self::Running,
        Self::Replying,
        Self::Published,
        Self::Confirmed,
        Self::Acking,
        Self::Acked,
    ];

    /// The points that a worker reaches only after another was lost, or with a long element.
    pub const RARE: [Self; 4] = [Self::Redelivered, Self::Returning, Self::Returned, Self::Leasing];

    /// The points of a worker whose jobs have blocks and outputs in queues.
    pub const QUEUES: [Self; 9] = [
        Self::Writing,
        Self::Written,
        Self::Stored,
        Self::Opened,
        Self::Gathering,
        Self::Spilled,
        Self::Gathered,
        Self::Yielding,
        Self::Yielded,
    ];

    /// The points of the leader of such jobs.
    pub const LEADER: [Self; 5] =
        [Self::Declaring, Self::Declared, Self::Sealed, Self::Served, Self::Deleting];

    /// The point before a message of this kind is published.
    pub(crate) fn before(kind: Option<MessageKind>, address: &Address) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Replying),
            MessageKind::Return => Some(Self::Returning),
            MessageKind::Lease => Some(Self::Leasing),
            MessageKind::Block if is_for_leader(address) => Some(Self::Yielding),
            MessageKind::Block => Some(Self::Writing),
            _ => None,
        }
    }

    /// The point between the publication of a message of this kind and its confirm.
    pub(crate) fn amid(kind: Option<MessageKind>, address: &Address) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Published),
            MessageKind::Block if !is_for_leader(address) => Some(Self::Written),
            _ => None,
        }
    }

    /// The point after the broker has confirmed a message of this kind.
    pub(crate) fn after(kind: Option<MessageKind>, address: &Address) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Confirmed),
            MessageKind::Return => Some(Self::Returned),
            MessageKind::Block if is_for_leader(address) => Some(Self::Yielded),
            MessageKind::Block => Some(Self::Stored),
            _ => None,
        }
    }
}

/// Whether a block has outputs, which the leader reads.
fn is_for_leader(address: &Address) -> bool {
    address.exchange == Exchange::Shuffle && address.key.ends_with(".output")
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |name| name.get_name()))
    }
}
