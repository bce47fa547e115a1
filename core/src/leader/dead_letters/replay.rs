//! Runs the element of a letter again.

use super::DeadLetterError;
use crate::{
    codec,
    error::Error,
    leader::Runtime,
    plan::{DEFAULT_RETRIES, End, OnFailure, Plan, PlanError, Source, Stage, StepPlan},
    registry::{Registry, Verb},
    wire::{DeadLetter, DeadLetterHeader},
};

/// Runs the steps of a letter on its element: how many outputs there are.
pub(super) async fn run(runtime: &Runtime, letter: DeadLetter) -> Result<u64, DeadLetterError> {
    let id = letter.header.id;
    let outputs = async {
        let plan = plan(&letter.header)?;
        let counts = matches!(plan.end, End::Count);
        let source = Source::from_encoded(letter.elements().collect());
        let mut outputs = runtime.launch_with(plan, source, false)?.outputs;
        let mut count = 0;
        while let Some(block) = outputs.recv().await {
            let block = block?;
            // A fold gives the value itself, everything else is counted by the leader.
            count += if counts {
                codec::decode(&block.values).unwrap_or_default()
            } else {
                u64::from(block.count)
            };
        }
        Ok::<u64, Error>(count)
    };
    outputs.await.map_err(|source| DeadLetterError::Replay { id, source: Box::new(source) })
}

/// One stage of the steps that are left. What a letter does not say, this program may know.
fn plan(header: &DeadLetterHeader) -> Result<Plan, PlanError> {
    let registry = Registry::global()?;
    let steps = header.steps.iter().map(|reference| {
        let known = registry.get(&reference.name);
        StepPlan {
            reference: reference.clone(),
            retries: known.map_or(DEFAULT_RETRIES, |operation| operation.retries()),
            is_async: known.is_some_and(|operation| operation.is_async()),
            on_failure: OnFailure::FailJob,
        }
    });
    let steps: Vec<StepPlan> = steps.collect();
    let folds =
        steps.last().is_some_and(|step| matches!(step.reference.verb, Verb::Fold | Verb::Reduce));
    let end = if folds { End::Fold { empty: None, deterministic: false } } else { End::Count };
    Ok(Plan { stages: vec![Stage { pool: header.pool.clone(), steps, batch: None }], end })
}
