//! The interface of the leader: the runtime, its jobs, and their results.

mod builder;
mod call;
mod dropped;
mod job;
mod launch;
mod results;
mod run;
mod runtime;
mod signal;
mod undecoded;
mod value;

pub use builder::RuntimeBuilder;
pub use call::Call;
pub use job::{Job, JobEvents};
pub use results::Results;
pub use runtime::Runtime;
pub use value::ValueFuture;
