//! What one consumer has taken and not yet settled.

use crate::queue::Queued;

/// The bits of a tag that say where its delivery is kept; the rest counts deliveries.
const SLOT_BITS: u32 = 16;

/// The deliveries of one consumer that wait to be settled: constant time to add and to take,
/// as large as the most that were out at once, whatever the order of settling.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    slots: Vec<Option<(u64, Queued)>>,
    free: Vec<u16>,
    /// Never reset, so that a tag of an earlier connection finds nothing.
    delivered: u64,
}

impl Unsettled {
    /// How many are out.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps a delivery; the tag by which it can be taken. The caller sees to it that there are
    /// never more than a prefetch allows.
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

    /// Takes the delivery with this tag, unless it has been taken already.
    pub(crate) fn take(&mut self, tag: u64) -> Option<Queued> {
        let slot = tag as u16;
        let (_, queued) =
            self.slots.get_mut(usize::from(slot))?.take_if(|(kept, _)| *kept == tag)?;
        self.free.push(slot);
        Some(queued)
    }

    /// Takes all, in the order in which they were delivered.
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
    fn a_tag_is_good_once_even_when_its_slot_is_used_again() {
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
    fn what_is_taken_back_keeps_its_order_and_leaves_no_valid_tag() {
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
