//! The jobs of a leader, and what each of them holds.

mod account;
mod batch;
mod elements;
mod exchange;
mod jobs;
mod output_queues;
mod outputs;
mod partitions;
mod passage;
mod refused_stage;
mod reorder;
mod stage;
mod state;

pub(crate) use account::{JobAccount, MAX_JOB_BYTES};
pub(crate) use batch::Batch;
pub(crate) use elements::Elements;
pub(crate) use exchange::{ExchangeState, InlineBlock, Queues, Winner};
pub(crate) use jobs::Jobs;
pub(crate) use output_queues::{NextOutputs, OutputQueues, QueuedOutputs};
pub(crate) use outputs::{Indexes, JobOutput, OutputBlock, StageOutput};
pub(crate) use partitions::{ListPart, Partitions};
pub(crate) use passage::{Onward, Passage};
pub(crate) use refused_stage::RefusedStage;
pub(crate) use reorder::ReorderBuffer;
pub(crate) use stage::StageState;
pub(crate) use state::{JobState, in_branch};
