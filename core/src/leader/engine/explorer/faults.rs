//! The faults that a world may suffer, and how often each.

use std::collections::BTreeSet;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A worker dies. The tasks that it leased are lost; its unsettled delivery is redelivered.
    Crash,
    /// The confirm of a copy is lost; the broker has the copy, or it does not.
    LostPublish,
    /// The confirm of a reply is lost, and the worker publishes the reply again.
    LostConfirm,
    /// An element fails transiently.
    Transient,
    /// A worker runs only a prefix of its batch.
    Cut,
    /// A worker returns a task.
    Return,
    /// A worker returns a task because it wrongly considers its leader dead.
    FalseTimeout,
    /// The broker requeues a delivery while its worker keeps running it.
    Requeue,
    /// The broker had assigned a message to a consumer that was cancelled, and flags it although
    /// nothing died.
    Redelivery,
    /// The broker loses a confirmed message from the task queue.
    LostCopy,
    /// The broker loses a confirmed message from the reply queue.
    LostReply,
    /// A worker that holds a lease is suspended or cut off for one hold.
    WorkerCutOff,
    /// The leader is suspended or cut off for one hold.
    LeaderCutOff,
    /// Memory runs out: an isolated run takes down its worker.
    OutOfMemory,
    /// A child process does not come up, and its worker starts no other.
    NoChild,
    /// The reply queue has lost its binding when a worker replies: the worker keeps the reply, and
    /// publishes it again later.
    Unroutable,
    /// A block is published twice.
    BlockTwice,
    /// The broker loses a block.
    BlockLost,
    /// Somebody deletes the queue of a partition.
    QueueDeleted,
    /// Not a fault: an operation outlasts the hold, so its worker leases the task.
    Lease,
}

pub(super) const KINDS: usize = 20;

/// How often each kind of fault may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Faults([u8; KINDS]);

impl Faults {
    pub(super) fn of(kinds: &[Fault]) -> Self {
        kinds.iter().fold(Self::default(), |faults, kind| faults.and(*kind))
    }

    pub(super) fn and(mut self, fault: Fault) -> Self {
        self.0[fault as usize] += 1;
        self
    }

    pub(super) fn may(&self, fault: Fault) -> bool {
        self.0[fault as usize] > 0
    }

    pub(super) fn spend(&mut self, fault: Fault) {
        self.0[fault as usize] -= 1;
    }

    /// All combinations of `count` faults.
    pub(super) fn combinations(count: usize) -> BTreeSet<Self> {
        let mut all = BTreeSet::from([Self::default()]);
        for _ in 0..count {
            let one_more = |before: &Self| {
                let before = *before;
                (0..KINDS).map(move |kind| {
                    let mut more = before;
                    more.0[kind] += 1;
                    more
                })
            };
            all = all.iter().flat_map(one_more).collect();
        }
        all
    }
}
