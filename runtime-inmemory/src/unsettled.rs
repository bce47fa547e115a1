//! The deliveries of one consumer that are not settled yet.

use crate::queue::Queued;

/// The low bits of a delivery tag are the slot that holds the delivery; the others count
/// deliveries. A prefetch is a `u16`, so 16 bits are enough.
const SLOT_BITS: u32 = 16;

/// The deliveries of one consumer that are not settled yet.
///
/// Adding and taking one costs constant time in any order of settling; the memory is that of the
/// most that were unsettled at once.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    slots: Vec<Option<(u64, Queued)>>,
    free: Vec<u16>,
    /// Counts all deliveries, and is never reset, so a tag of an earlier connection matches
    /// nothing.
    delivered: u64,
}

impl Unsettled {
    /// The number of unsettled deliveries.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a delivery and returns its tag. There must be fewer than `u16::MAX` others, which the
    /// caller ensures by the prefetch.
    pub(crate) fn add(&mut self, queued: Queued) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u16
        });
        self.delivered += 1;
        let tag = self.delivered << SLOT_BITS | u64::from(slot);
        self.slots[usize::from(slot)] = Some((tag, queued));
        tag
    }

    /// Removes the delivery with this tag; `None` if it has been removed before.
    pub(crate) fn take(&mut self, tag: u64) -> Option<Queued> {
        let slot = tag as u16;
        let (_, queued) =
            self.slots.get_mut(usize::from(slot))?.take_if(|(kept, _)| *kept == tag)?;
        self.free.push(slot);
        Some(queued)
    }

    /// Removes all, in the order of delivery.
    pub(crate) fn take_all(&mut self) -> Vec<Queued> {
        let mut all: Vec<_> = self.slots.drain(..).flatten().collect();
        self.free.clear();
        all.sort_unstable_by_key(|(tag, _)| *tag);
        all.into_iter().map(|(_, queued)| queued).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use phalanx_core::broker::{Message, Properties};

    use super::*;

    fn queued(body: &'static str) -> Queued {
        let message = Message {
            properties: Properties::default(),
            body: Bytes::from_static(body.as_bytes()),
        };
        Queued { message: message.into(), returns: 0 }
    }

    fn bodies(all: Vec<Queued>) -> Vec<Bytes> {
        all.into_iter().map(|queued| queued.message.body.clone()).collect()
    }

    #[test]
    fn a_tag_is_valid_once_even_if_its_slot_is_reused() {
        let mut unsettled = Unsettled::default();
        let first = unsettled.add(queued("a"));
        assert!(unsettled.take(first).is_some());
        let second = unsettled.add(queued("b"));
        assert!(unsettled.take(first).is_none());
        assert_eq!(unsettled.len(), 1);
        assert_eq!(unsettled.take(second).unwrap().message.body, "b");
        assert_eq!(unsettled.len(), 0);
    }

    #[test]
    fn taking_all_keeps_the_order_and_invalidates_the_tags() {
        let mut unsettled = Unsettled::default();
        let tags: Vec<u64> = ["a", "b", "c"].map(|body| unsettled.add(queued(body))).to_vec();
        unsettled.take(tags[0]);
        unsettled.add(queued("d"));
        assert_eq!(bodies(unsettled.take_all()), ["b", "c", "d"]);
        unsettled.add(queued("e"));
        assert!(tags.iter().all(|tag| unsettled.take(*tag).is_none()));
        assert_eq!(unsettled.len(), 1);
    }
}
