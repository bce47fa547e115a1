//! Where the elements of a task come from: its payload has them, or the blocks of partitions.

mod elements;
mod framed;
mod gathered;
mod joined;
mod listed;
mod partitions;

use phalanx_core::{
    codec::Layout,
    registry::{Column, Refusal},
    wire::TaskInlet,
};

use self::{elements::Elements, framed::Framed, partitions::Partitions};
use super::{Pipeline, Running, pipeline::StepFailure, rows::Rows};

/// The elements of a task that have not begun yet.
pub(super) enum Inlet {
    /// The payload has them, and the first step decodes them.
    Elements(Elements),
    /// The payload has their keys and values.
    Framed(Framed),
    /// They are made from blocks.
    Partitions(Partitions),
}

/// Elements that go through all steps together.
pub(super) struct InletChunk {
    pub(super) values: Values,
    /// Elements that failed before the first step, or in it.
    pub(super) failures: Vec<StepFailure>,
    /// Whether the last element is that of a list: no segment has elements of two.
    pub(super) ends_list: bool,
}

/// Elements between two steps, or behind the last.
pub(super) enum Values {
    Typed(Column),
    Encoded(Rows),
}

impl Values {
    /// No values.
    pub(super) fn nothing() -> Self {
        Self::Typed(Column::empty())
    }

    /// The values as rows, in front of step `step`. Elements with values that do not serialize are added
    /// to `failures`.
    pub(super) fn into_rows(
        self,
        pipeline: &Pipeline,
        step: usize,
        failures: &mut Vec<StepFailure>,
    ) -> Rows {
        match self {
            Self::Encoded(rows) => rows,
            Self::Typed(column) if column.is_empty() => Rows::default(),
            Self::Typed(column) => {
                let before = step.saturating_sub(1);
                Rows::encode(pipeline, before, &column, failures, &mut Vec::new())
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Typed(column) => column.is_empty(),
            Self::Encoded(rows) => rows.len() == 0,
        }
    }
}

impl Inlet {
    pub(super) fn of(running: &Running) -> Self {
        let task = &running.task;
        let payload = task.payload.clone();
        match &task.header.inlet {
            TaskInlet::Partitions(gather) => {
                Self::Partitions(Partitions::new(gather, &task.header.ranges, payload))
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
