//! How much of a worker is lent to tasks that run for long.

use std::sync::Arc;

use tokio::sync::watch;

/// Slots, or elements of asynchronous stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Blocking,
    Asynchronous,
}

/// How much of a worker is lent to tasks under a lease: they may run for hours, and nothing is to
/// wait for them.
#[derive(Debug, Clone)]
pub(crate) struct Lent {
    slots: usize,
    async_slots: usize,
    now: Arc<watch::Sender<Amount>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    slots: usize,
    async_slots: usize,
}

/// A part of a worker that is lent until this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    lent: Lent,
    kind: Kind,
    width: usize,
}

impl Lent {
    pub(crate) fn new(slots: usize, async_slots: usize) -> Self {
        Self { slots, async_slots, now: Arc::default() }
    }

    /// Lends `width` slots of a kind.
    pub(crate) fn lend(&self, kind: Kind, width: usize) -> Loan {
        self.now.send_modify(|now| *now.of(kind) += width);
        Loan { lent: self.clone(), kind, width }
    }

    /// Slots that are lent.
    pub(crate) fn slots(&self) -> usize {
        self.now.borrow().slots
    }

    /// Whether nothing of this kind is left for anybody else.
    pub(crate) fn is_all(&self, kind: Kind) -> bool {
        self.is_all_of(*self.now.borrow(), kind)
    }

    /// Resolves when something has come back after all of a kind was lent; never when nothing is
    /// missed. Cancel-safe.
    pub(crate) async fn relieved(&self) {
        let missed: Vec<Kind> = [Kind::Blocking, Kind::Asynchronous]
            .into_iter()
            .filter(|kind| self.is_all(*kind))
            .collect();
        if missed.is_empty() {
            return std::future::pending().await;
        }
        let mut now = self.now.subscribe();
        let back = |now: &Amount| missed.iter().any(|kind| !self.is_all_of(*now, *kind));
        // An error cannot be: the sender is ours.
        let _ = now.wait_for(back).await;
    }

    fn is_all_of(&self, mut now: Amount, kind: Kind) -> bool {
        let size = match kind {
            Kind::Blocking => self.slots,
            Kind::Asynchronous => self.async_slots,
        };
        *now.of(kind) >= size
    }
}

impl Amount {
    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Blocking => &mut self.slots,
            Kind::Asynchronous => &mut self.async_slots,
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lent.now.send_modify(|now| *now.of(self.kind) -= self.width);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn relief_comes_when_a_slot_does_and_not_where_none_was_missed() {
        let lent = Lent::new(1, 4);
        assert!(lent.relieved().now_or_never().is_none(), "nothing is missed");
        let slot = lent.lend(Kind::Blocking, 1);
        let some = lent.lend(Kind::Asynchronous, 3);
        assert!(lent.is_all(Kind::Blocking) && !lent.is_all(Kind::Asynchronous));
        let relieved = lent.relieved();
        tokio::pin!(relieved);
        assert!(relieved.as_mut().now_or_never().is_none());
        drop(some);
        assert!(relieved.as_mut().now_or_never().is_none());
        drop(slot);
        assert!(relieved.now_or_never().is_some());
        assert_eq!(lent.slots(), 0);
    }
}
