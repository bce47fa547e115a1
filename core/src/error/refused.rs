//! The error of a stage that no worker can run.

use crate::{
    broker::Pool,
    id::{JobId, WorkerId},
    registry::Refusal,
    report::number,
};

/// The error of a stage that no live worker of its pool can run: at least one has refused it, and
/// none lists all of its operations as they are in this program.
#[derive(Clone, thiserror::Error)]
#[error(
    "job {job}: {} of pool `{pool}` can run operation `{operation}`: {}",
    none_of(*workers), describe_refusals(structure.as_deref(), refusals)
)]
#[non_exhaustive]
pub struct RefusedError {
    /// The job that failed.
    pub job: JobId,
    /// The pool of the stage.
    pub pool: Pool,
    /// An operation that was refused.
    pub operation: String,
    /// All operations of the stage.
    pub operations: Vec<String>,
    /// The version of the operation, and the structure of its state, input and output, in this
    /// program.
    pub structure: Option<String>,
    /// The number of live workers of the pool, at least 1. Only some may have refused a task: the
    /// others were busy.
    pub workers: usize,
    /// The reasons of workers that refused a task, at most 64.
    pub refusals: Vec<(WorkerId, Refusal)>,
}

fn none_of(workers: usize) -> String {
    match workers {
        1 => "no live worker".to_owned(),
        workers => format!("none of the {workers} live workers"),
    }
}

/// The reasons of up to three workers, beside the structure in this program.
fn describe_refusals(structure: Option<&str>, refusals: &[(WorkerId, Refusal)]) -> String {
    const SHOWN: usize = 3;
    let shown = refusals.iter().take(SHOWN);
    let mut texts: Vec<String> =
        shown.map(|(worker, refusal)| format!("worker {worker}: {refusal}")).collect();
    let differs = refusals.iter().any(|(_, it)| matches!(it, Refusal::Fingerprint { .. }));
    if let Some(structure) = structure.filter(|_| differs) {
        texts.insert(0, format!("this program has {structure}"));
    }
    if let Some(more) = refusals.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        texts.push(format!("{} alike", number(more, "other worker refuses", "others refuse")));
    }
    let is_of_build = |(_, refusal): &(_, Refusal)| {
        !matches!(refusal, Refusal::Permission { .. } | Refusal::Spill { .. })
    };
    if refusals.iter().any(is_of_build) {
        texts.push("start workers with the same build as this program".to_owned());
    }
    texts.join("; ")
}

crate::__debug_as_report!(RefusedError);
