//! How many slots are occupied by tasks under a lease.

use std::sync::Arc;

use tokio::sync::watch;

/// The two kinds of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotKind {
    /// A thread.
    Blocking,
    /// An element of an asynchronous operation.
    Asynchronous,
}

/// How many slots are occupied by tasks under a lease. Such a task may run for hours, so no other
/// task waits for its slot.
#[derive(Debug, Clone)]
pub(crate) struct LeasedSlots {
    slots: usize,
    async_slots: usize,
    leased: Arc<watch::Sender<Count>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    blocking: usize,
    asynchronous: usize,
}

/// Slots that count as leased until this is dropped.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    slots: LeasedSlots,
    kind: SlotKind,
    width: usize,
}

impl LeasedSlots {
    /// `slots` threads and `async_slots` elements, of which none is leased yet.
    pub(crate) fn new(slots: usize, async_slots: usize) -> Self {
        Self { slots, async_slots, leased: Arc::default() }
    }

    /// Counts `width` slots as leased.
    pub(crate) fn lease(&self, kind: SlotKind, width: usize) -> SlotGuard {
        self.leased.send_modify(|count| *count.of(kind) += width);
        SlotGuard { slots: self.clone(), kind, width }
    }

    /// Threads that are leased.
    pub(crate) fn blocking(&self) -> usize {
        self.leased.borrow().blocking
    }

    /// Whether all slots of this kind are leased.
    pub(crate) fn is_exhausted(&self, kind: SlotKind) -> bool {
        self.exhausts(*self.leased.borrow(), kind)
    }

    /// If all slots of a kind are leased, resolves when one is free again; otherwise never.
    /// Cancel-safe.
    pub(crate) async fn relieved(&self) {
        let exhausted: Vec<SlotKind> = [SlotKind::Blocking, SlotKind::Asynchronous]
            .into_iter()
            .filter(|kind| self.is_exhausted(*kind))
            .collect();
        if exhausted.is_empty() {
            return std::future::pending().await;
        }
        let mut leased = self.leased.subscribe();
        let has_room = |count: &Count| exhausted.iter().any(|kind| !self.exhausts(*count, *kind));
        // Cannot fail: `self` holds the sender.
        let _ = leased.wait_for(has_room).await;
    }

    fn exhausts(&self, mut count: Count, kind: SlotKind) -> bool {
        let size = match kind {
            SlotKind::Blocking => self.slots,
            SlotKind::Asynchronous => self.async_slots,
        };
        *count.of(kind) >= size
    }
}

impl Count {
    fn of(&mut self, kind: SlotKind) -> &mut usize {
        match kind {
            SlotKind::Blocking => &mut self.blocking,
            SlotKind::Asynchronous => &mut self.asynchronous,
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.slots.leased.send_modify(|count| *count.of(self.kind) -= self.width);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_free_slot_is_reported_only_if_all_slots_of_its_kind_were_leased() {
        let leased = LeasedSlots::new(1, 4);
        assert!(leased.relieved().now_or_never().is_none(), "no kind is exhausted");
        let slot = leased.lease(SlotKind::Blocking, 1);
        let some = leased.lease(SlotKind::Asynchronous, 3);
        assert!(
            leased.is_exhausted(SlotKind::Blocking) && !leased.is_exhausted(SlotKind::Asynchronous)
        );
        let relieved = leased.relieved();
        tokio::pin!(relieved);
        assert!(relieved.as_mut().now_or_never().is_none());
        drop(some);
        assert!(relieved.as_mut().now_or_never().is_none());
        drop(slot);
        assert!(relieved.now_or_never().is_some());
        assert_eq!(leased.blocking(), 0);
    }
}
