//! What may go wrong in a world, and how often.

use std::collections::BTreeSet;

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A worker dies, with what it holds; what it leased is gone, the rest is delivered again.
    Crash,
    /// The leader does not learn whether a copy was taken (it was, or it was not).
    LostPublish,
    /// A worker does not learn that its answer was taken, and sends it again.
    LostConfirm,
    /// An element fails and may be tried again.
    Transient,
    /// A worker answers with a prefix only.
    Cut,
    /// A worker gives a task back unread.
    Return,
    /// A worker takes its leader for gone, which it is not, and gives a task back.
    Silence,
    /// The broker takes a task back from a worker that goes on with it all the same.
    GiveUp,
    /// The broker loses a message of the task queue that it has confirmed.
    LostCopy,
    /// The broker loses a message of the reply queue that it has confirmed.
    LostReply,
    /// A worker that holds a lease is suspended, or cut off, for a while.
    Suspension,
    /// The leader is suspended, or cut off, for a while.
    Deafness,
    /// Memory runs out: a isolated run takes its worker down with it.
    OutOfMemory,
    /// Not a fault: an operation runs so long that its worker leases it.
    Lease,
}

pub(super) const KINDS: usize = 14;

/// How often each of them may still happen.
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
