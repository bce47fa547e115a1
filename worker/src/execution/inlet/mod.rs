//! Where the elements of a task come from: its payload has them, or the blocks of partitions.

mod combined;
mod elements;
mod framed;
mod gathered;
mod partitions;
mod wanted;

use phalanx_core::{codec::Layout, registry::Refusal, wire::TaskInlet};

use self::{elements::Elements, framed::Framed, partitions::Partitions};
use super::{Running, pipeline::StepFailure, values::Values};

/// The elements of a task that have not begun yet.
pub(super) enum Inlet {
    /// The payload has them, and the first step decodes them.
    Elements(Elements),
    /// The payload has their keys and values.
    Framed(Framed),
    /// They are made from blocks.
    Partitions(Box<Partitions>),
}

/// Elements that go through all steps together.
pub(super) struct InletChunk {
    pub(super) values: Values,
    /// Elements that failed before the first step, or in it.
    pub(super) failures: Vec<StepFailure>,
    /// Whether the last element is that of a list: no segment has elements of two.
    pub(super) ends_list: bool,
}

impl Inlet {
    pub(super) fn of(running: &Running) -> Self {
        let payload = running.task.payload.clone();
        match &running.task.header.inlet {
            inlet if inlet.reads_partitions() => {
                Self::Partitions(Box::new(Partitions::of(running)))
            }
            TaskInlet::Elements(Layout::Pairs | Layout::Whole) => {
                Self::Framed(Framed::new(payload, running.count()))
            }
            _ => Self::Elements(Elements::new(payload, running.count())),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Elements(elements) => elements.is_empty(),
            Self::Framed(framed) => framed.is_empty(),
            Self::Partitions(partitions) => partitions.is_empty(),
        }
    }

    /// The offset of the next element.
    pub(super) fn next_offset(&self) -> u32 {
        match self {
            Self::Elements(elements) => elements.next_offset(),
            Self::Framed(framed) => framed.next_offset(),
            Self::Partitions(partitions) => partitions.next_offset(),
        }
    }

    /// Whether the next chunk needs much computing, and perhaps code of the user.
    pub(super) fn computes(&self) -> bool {
        matches!(self, Self::Partitions(_))
    }

    /// Takes up to `max` elements.
    pub(super) fn next_chunk(
        &mut self,
        running: &Running,
        max: u32,
    ) -> Result<InletChunk, Refusal> {
        match self {
            Self::Elements(elements) => {
                let column = elements.next_chunk(&running.pipeline, max)?;
                let values = Values::Typed(column);
                Ok(InletChunk { values, failures: Vec::new(), ends_list: false })
            }
            Self::Framed(framed) => {
                let values = Values::Encoded(framed.next_chunk(max)?);
                Ok(InletChunk { values, failures: Vec::new(), ends_list: false })
            }
            Self::Partitions(partitions) => partitions.next_chunk(running, max),
        }
    }
}
