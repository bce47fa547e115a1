//! The state of a stage: its elements, from their arrival to their outcome.

use std::collections::VecDeque;

use super::{Elements, ListPart, Partitions, RefusedStage, ReorderBuffer, StageOutput};
use crate::leader::engine::{
    event::StageProgress,
    flow::{Cost, Rate},
};

/// The state of a stage of a job. Its counts change only together with the elements that they
/// count.
#[derive(Debug, Clone, Default)]
pub(crate) struct StageState {
    /// The elements that no task owns yet, in order.
    pending: VecDeque<Elements>,
    /// The lists of sealed partitions that no task owns yet, in order.
    pending_lists: VecDeque<ListPart>,
    /// The number of elements in `pending`.
    pending_elements: u64,
    /// The encoded size of the elements in `pending`, in bytes.
    pending_bytes: usize,
    /// The position of the next element that enters the stage.
    next_position: u64,
    /// The number of elements that have entered the stage.
    entered: u64,
    /// The number of positions that are settled. One of a list can be so before the list is known.
    settled: u64,
    /// The number of lists whose lengths are not known.
    open_lists: u64,
    /// The number of tasks that are out: not those that wait for their back-off or for credit.
    pub(super) tasks_out: u32,
    /// The number of elements that failed permanently, and did not fail their job.
    pub(crate) failed: u64,
    /// The number of tries beyond the first of each element or combination.
    pub(crate) retried: u64,
    /// Whether pending elements are sent although they do not fill a batch, because the source
    /// pauses.
    pub(crate) flush: bool,
    /// The outputs for the next stage that wait for their predecessors.
    pub(crate) reorder: ReorderBuffer<StageOutput>,
    /// The cost of running an element.
    pub(crate) cost: Cost,
    /// The cost of combining a partial result, which says nothing about that of an element.
    pub(crate) combining: Cost,
    pub(crate) rate: Rate,
    /// Set while workers refuse the stage, and no result of it comes.
    pub(crate) refused: Option<RefusedStage>,
}

impl StageState {
    /// The elements that no task owns yet, in order.
    pub(crate) fn pending(&self) -> &VecDeque<Elements> {
        &self.pending
    }

    pub(crate) fn pending_elements(&self) -> u64 {
        self.pending_elements
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// The position of the next element that enters the stage.
    pub(crate) fn next_position(&self) -> u64 {
        self.next_position
    }

    /// The lists of sealed partitions that no task owns yet, in order.
    #[cfg(test)]
    pub(crate) fn pending_lists(&self) -> &VecDeque<ListPart> {
        &self.pending_lists
    }

    /// Whether there is anything that no task owns yet.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_elements > 0 || !self.pending_lists.is_empty()
    }

    /// The number of known positions that are not settled.
    pub(crate) fn open(&self) -> u64 {
        self.entered.saturating_sub(self.settled)
    }

    /// Whether everything that has entered the stage is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.open_lists == 0 && self.open() == 0
    }

    /// The number of tasks that are out.
    pub(crate) fn tasks_out(&self) -> u32 {
        self.tasks_out
    }

    pub(super) fn progress(&self) -> StageProgress {
        StageProgress {
            entered: self.entered,
            done: self.settled.min(self.entered),
            failed: self.failed,
            retried: self.retried,
            tasks_out: self.tasks_out,
        }
    }

    pub(super) fn feed(&mut self, elements: Elements) {
        debug_assert_eq!(elements.first(), self.next_position, "positions are assigned in order");
        let count = elements.len() as u64;
        self.next_position += count;
        self.entered += count;
        self.pending_elements += count;
        self.pending_bytes += elements.bytes().len();
        self.pending.push_back(elements);
    }

    /// The lists of sealed partitions enter the stage.
    pub(super) fn feed_lists(&mut self, lists: Vec<ListPart>) {
        self.open_lists += lists.len() as u64;
        self.pending_lists.extend(lists);
    }

    /// The length of a list is known, and with it the positions of its elements.
    pub(super) fn close_list(&mut self, elements: u64) {
        debug_assert!(self.open_lists > 0, "each list is closed once");
        self.open_lists -= 1;
        self.entered += elements;
    }

    /// Takes neighbouring lists with up to this many bytes of blocks together; at least one.
    pub(super) fn cut_lists(&mut self, bytes: usize) -> Option<Partitions> {
        let mut cut = vec![self.pending_lists.pop_front()?];
        let mut size = cut[0].bytes();
        while let Some(next) = self.pending_lists.front()
            && size + next.bytes() <= bytes
        {
            size += next.bytes();
            cut.extend(self.pending_lists.pop_front());
        }
        Some(Partitions::whole(cut))
    }

    /// Assigns the next position to a failure in the place of an element, and returns it.
    pub(crate) fn skip_position(&mut self) -> u64 {
        let position = self.next_position;
        self.next_position += 1;
        position
    }

    /// Takes up to `wanted` elements of up to `bytes` bytes together; at least one element.
    pub(super) fn cut(&mut self, wanted: usize, bytes: usize) -> Option<Elements> {
        let (mut left, mut room) = (wanted, bytes);
        let mut parts = Vec::new();
        while left > 0
            && let Some(front) = self.pending.front_mut()
        {
            if !parts.is_empty() && front.size_of_first(1) > room {
                break;
            }
            let count = front.fitting(room).min(left);
            let part = front.slice(0..count);
            if count == front.len() {
                self.pending.pop_front();
            } else {
                *front = front.slice(count..front.len());
            }
            left -= count;
            room = room.saturating_sub(part.bytes().len());
            parts.push(part);
        }
        let batch = Elements::join(parts)?;
        self.pending_elements -= batch.len() as u64;
        self.pending_bytes -= batch.bytes().len();
        Some(batch)
    }

    /// The encoded size of the first `count` pending elements, in bytes.
    pub(super) fn size_of_first(&self, count: usize) -> u64 {
        let (mut left, mut size) = (count, 0);
        for elements in &self.pending {
            let count = left.min(elements.len());
            size += elements.size_of_first(count) as u64;
            left -= count;
        }
        size
    }

    /// Whether the pending elements fill a batch of this many elements, or bytes.
    pub(super) fn fills(&self, wanted: u64, bytes: usize) -> bool {
        self.pending_elements >= wanted || self.pending_bytes >= bytes
    }

    pub(super) fn settle(&mut self, count: u64) {
        self.settled += count;
        let known = self.open_lists == 0;
        debug_assert!(!known || self.settled <= self.entered, "each position is settled once");
    }
}
