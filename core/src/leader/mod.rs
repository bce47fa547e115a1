//! Drives jobs: what decides is in `engine`, what does is in `driver`.

mod batch;
mod combine;
mod command;
mod copy;
mod dead_letters;
mod driver;
mod elements;
mod engine;
mod event;
mod flow;
mod fold;
mod handle;
mod interrupt;
mod job;
mod launch;
mod letters;
mod order;
mod outputs;
mod pending;
mod probe;
mod protocol;
mod pull;
mod results;
mod retry;
mod run;
mod runtime;
mod task;
mod workers;

pub use dead_letters::{
    DeadLetterContent, DeadLetterEntry, DeadLetterError, DeadLetters, UnreadableLetter,
};
pub use event::{JobEvent, Progress, Stall};
pub use handle::{Job, JobEvents};
pub use pending::Pending;
pub use results::Results;
pub use runtime::{Runtime, RuntimeBuilder};
