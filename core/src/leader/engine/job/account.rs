//! The job account: the bytes that a job holds in the leader's memory.

use super::{Batch, Elements};

/// The bytes that a job may hold: pulled, in tasks, expected as output, and not yet read.
pub(crate) const MAX_JOB_BYTES: usize = 32 << 20;

/// The bytes that the account adds for each buffered block. Without them, empty blocks and failures
/// could pile up without bound after a slow element.
const ENTRY: usize = 256;

/// The bytes that a job holds; only this type changes the three numbers.
///
/// `held` counts elements that are not settled, and outputs: expected, out of order, or not yet
/// read. It does not count the partial results of a fold: they wait for neighbours, so a limit on
/// them could block the job. The tree of the fold limits them by having them combined.
///
/// Invariant: `held >= outgoing >= undelivered`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobAccount {
    held: usize,
    /// The part of `held` that is output of tasks: expected, out of order, or not yet read.
    outgoing: usize,
    /// The part of `outgoing` that waits for the reader.
    undelivered: usize,
}

impl JobAccount {
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn outgoing(&self) -> usize {
        self.outgoing
    }

    pub(crate) fn undelivered(&self) -> usize {
        self.undelivered
    }

    /// The bytes that the job may hold in addition to those that it holds now.
    pub(crate) fn room(&self) -> usize {
        MAX_JOB_BYTES.saturating_sub(self.held)
    }

    /// Whether a block of outputs may be read from a queue: there is room for it, or the reader has
    /// nothing else.
    pub(crate) fn may_read_ahead(&self) -> bool {
        self.room() > 0 || self.undelivered == 0
    }

    /// Whether the job holds nothing but outputs that wait for the reader.
    pub(crate) fn balances(&self) -> bool {
        self.held == self.undelivered && self.outgoing == self.undelivered
    }

    /// Elements entered a stage.
    pub(super) fn feed(&mut self, elements: &Elements) {
        self.held += elements.held();
    }

    /// Elements of a stage were settled.
    pub(super) fn settle(&mut self, elements: &Batch) {
        self.release(elements.held());
    }

    /// The bytes of an element were replaced by others.
    pub(crate) fn replace(&mut self, old: &Batch, new: &Elements) {
        self.release(old.held());
        self.held += new.held();
    }

    /// A task went out, from which this much output is expected.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.held += bytes;
        self.outgoing += bytes;
    }

    /// A task from which this much output was expected is no longer out.
    pub(super) fn stop_expecting(&mut self, bytes: usize) {
        self.release(bytes);
        self.outgoing = self.outgoing.saturating_sub(bytes);
        self.check();
    }

    /// A block of outputs of an earlier stage, or a failure, waits for its predecessors.
    pub(crate) fn buffer(&mut self, bytes: usize) {
        self.held += bytes + ENTRY;
    }

    /// A block or failure of this size has its predecessors.
    pub(crate) fn unbuffer(&mut self, bytes: usize) {
        self.release(bytes + ENTRY);
    }

    /// The last stage produced a block of outputs; returns the bytes that are charged for it.
    pub(crate) fn output(&mut self, bytes: usize) -> usize {
        let charged = bytes + ENTRY;
        self.held += charged;
        self.outgoing += charged;
        charged
    }

    /// A block of outputs was handed to the reader.
    pub(crate) fn deliver(&mut self, charged: usize) {
        self.undelivered += charged;
        self.check();
    }

    /// A block without outputs was dropped.
    pub(crate) fn discard(&mut self, charged: usize) {
        self.release(charged);
        self.outgoing = self.outgoing.saturating_sub(charged);
        self.check();
    }

    /// The reader read a block of outputs.
    pub(crate) fn taken(&mut self, charged: usize) {
        self.undelivered = self.undelivered.saturating_sub(charged);
        self.discard(charged);
    }

    fn release(&mut self, bytes: usize) {
        debug_assert!(self.held >= bytes, "bytes are released once: {self:?}, {bytes}");
        self.held = self.held.saturating_sub(bytes);
    }

    fn check(&self) {
        debug_assert!(
            self.held >= self.outgoing && self.outgoing >= self.undelivered,
            "held >= outgoing >= undelivered: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_charged_from_the_task_to_the_reader() {
        let mut account = JobAccount::default();
        account.expect(100);
        assert_eq!((account.held(), account.outgoing()), (100, 100));
        account.stop_expecting(100);
        let charged = account.output(10);
        account.deliver(charged);
        assert!(account.balances() && account.undelivered() == charged);
        account.taken(charged);
        assert_eq!(account, JobAccount::default());
    }

    #[test]
    fn an_empty_block_that_waits_is_charged_too() {
        let mut account = JobAccount::default();
        account.buffer(0);
        assert!(account.held() > 0);
        account.unbuffer(0);
        assert_eq!(account, JobAccount::default());
    }
}
