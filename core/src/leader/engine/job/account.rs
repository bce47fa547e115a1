//! What a job holds, in bytes.

use super::Elements;

/// What a job may hold: pulled, in tasks, expected as output, and not taken by its reader.
pub(crate) const MAX_JOB_BYTES: usize = 32 << 20;

/// What the account counts for anything that is held, beside its bytes: runs without outputs, and
/// failures, must not pile up without a bound after a slow element.
const ENTRY: usize = 256;

/// The bytes that a job holds. Nothing else changes them.
///
/// `held` counts elements that are not settled, and outputs: expected, out of order, or not taken.
/// Partial results of a fold are not among them: they wait for neighbours, which must go on coming.
/// There are at most `fan_in` of them for each task that is out.
///
/// Invariant: `held >= outgoing >= undelivered`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct JobAccount {
    held: usize,
    /// The part of `held` that are outputs of tasks: expected, out of order, or not taken.
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

    /// How much more the job may hold.
    pub(crate) fn room(&self) -> usize {
        MAX_JOB_BYTES.saturating_sub(self.held)
    }

    /// Whether only outputs are counted, and all of them wait for the reader.
    pub(crate) fn balances(&self) -> bool {
        self.held == self.undelivered && self.outgoing == self.undelivered
    }

    /// Elements came into a stage.
    pub(super) fn feed(&mut self, elements: &Elements) {
        self.held += elements.held();
    }

    /// Elements of a stage were settled.
    pub(super) fn settle(&mut self, elements: &Elements) {
        self.release(elements.held());
    }

    /// The bytes of an element were replaced by others.
    pub(crate) fn replace(&mut self, old: &Elements, new: &Elements) {
        self.release(old.held());
        self.held += new.held();
    }

    /// A task went out; this much output is expected.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.held += bytes;
        self.outgoing += bytes;
    }

    /// The task came back.
    pub(super) fn stop_expecting(&mut self, bytes: usize) {
        self.release(bytes);
        self.outgoing = self.outgoing.saturating_sub(bytes);
        self.check();
    }

    /// Something that is not an output of the last stage waits for its predecessors.
    pub(crate) fn buffer(&mut self, bytes: usize) {
        self.held += bytes + ENTRY;
    }

    /// What was held back moves on.
    pub(crate) fn unbuffer(&mut self, bytes: usize) {
        self.release(bytes + ENTRY);
    }

    /// Outputs of the last stage exist; returns what they are charged with.
    pub(crate) fn output(&mut self, bytes: usize) -> usize {
        let charged = bytes + ENTRY;
        self.held += charged;
        self.outgoing += charged;
        charged
    }

    /// Outputs are handed to the reader.
    pub(crate) fn deliver(&mut self, charged: usize) {
        self.undelivered += charged;
        self.check();
    }

    /// Outputs turned out to be none.
    pub(crate) fn discard(&mut self, charged: usize) {
        self.release(charged);
        self.outgoing = self.outgoing.saturating_sub(charged);
        self.check();
    }

    /// The reader took outputs.
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
            "the parts are no more than the whole: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_counted_from_the_task_to_the_reader() {
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
    fn what_is_empty_still_takes_room() {
        let mut account = JobAccount::default();
        account.buffer(0);
        assert!(account.held() > 0);
        account.unbuffer(0);
        assert_eq!(account, JobAccount::default());
    }
}
