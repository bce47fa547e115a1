//! Combines partial results on the leader, without a worker.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    id::{JobId, WorkerId},
    operation::{ElementRange, ErrorKind, Execution, OperationError, TaskContext},
    registry::{Registry, StepReference},
};

/// Runs a fold step over partial results, in order. Blocks, because it runs the user's code.
pub(super) fn combine(
    job: JobId,
    step: &StepReference,
    partials: &[Bytes],
) -> Result<Bytes, OperationError> {
    // Steps catch the panics of operations, but a `Deserialize` or `Drop` of the user can panic,
    // too.
    catch_unwind(AssertUnwindSafe(|| combine_in_order(job, step, partials))).unwrap_or_else(|_| {
        let text = format!("`{}` panicked while it combined partial results", step.name);
        Err(OperationError::new(ErrorKind::Panic, text))
    })
}

fn combine_in_order(
    job: JobId,
    step: &StepReference,
    partials: &[Bytes],
) -> Result<Bytes, OperationError> {
    let codec = |text: String| OperationError::new(ErrorKind::Codec, text);
    let registry = Registry::global().map_err(|error| codec(error.to_string()))?;
    let compiled = registry.compile(step).map_err(|refusal| codec(refusal.to_string()))?;
    let mut fold =
        compiled.fold().ok_or_else(|| codec(format!("operation `{}` does not fold", step.name)))?;
    let count = partials.len() as u32;
    let execution = Execution {
        job,
        stage: 0,
        worker: WorkerId(uuid::Uuid::nil()),
        ranges: vec![ElementRange { from: 0, to: u64::from(count), tries: 1 }],
        indexes: Vec::new(),
        cancelled: CancellationToken::new(),
    };
    let context = TaskContext::new(Arc::new(execution), 0);
    let joined = partials.concat();
    let (mut rest, mut at) = (&joined[..], 0);
    while at < count {
        let column = compiled
            .decode(&mut rest, at, count - at, usize::MAX)
            .map_err(|refusal| codec(refusal.to_string()))?;
        at += column.len() as u32;
        fold.absorb(column, &context).map_err(|failed| failed.0.error)?;
    }
    let mut combined = Vec::new();
    fold.finish(&mut combined)?;
    Ok(combined.into())
}
