//! Programs as inspectable data, before anything runs.

mod block;
mod directive;
mod end;
mod error;
mod explain;
mod program;
mod pump;
mod source;
mod stage;
mod stream;
mod value;

pub use block::{Block, BlockBuffer, PushError};
pub use directive::{OnFailure, StepPlan};
pub use end::End;
pub use error::PlanError;
pub use source::{Budget, Source, SourceError, SourceState};
pub use stage::{Plan, Stage};
pub use stream::IndexedStream;
pub use value::{FoldProgram, ValueProgram};

pub(crate) use program::Program;
