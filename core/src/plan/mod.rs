//! Programs, and the plans that are built from them before anything runs.

mod backoff;
mod block;
mod collector;
mod directive;
mod end;
mod error;
mod exchange;
mod explain;
mod program;
mod pump;
mod source;
mod stage;
mod stream;
mod tree;
mod value;

pub use directive::OnFailure;
pub use error::PlanError;
pub use stream::IndexedStream;
pub use value::{FoldProgram, ValueProgram};

pub(crate) use backoff::{Backoff, LONGEST_BACKOFF};
pub(crate) use block::{Block, BlockBuffer, Budget, PushError};
pub(crate) use collector::Collector;
#[cfg(test)]
pub(crate) use collector::{One, Top, TopByKey};
pub(crate) use directive::StepPlan;
pub(crate) use end::End;
pub(crate) use exchange::{Exchange, ExchangeKind, Side};
pub(crate) use program::{MAX_BRANCHES, Program};
pub(crate) use source::{Source, SourceState};
pub(crate) use stage::Stage;
pub(crate) use tree::{Inlet, Origin, Outlet, Plan, PlanBuilder};
