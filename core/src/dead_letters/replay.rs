//! Replays the element of a dead letter.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::DeadLetterError;
use crate::{
    error::Error,
    plan::{Backoff, End, OnFailure, Plan, PlanError, Source, Stage, StepPlan},
    registry::{DEFAULT_RETRIES, Registry, Verb},
    wire::{DeadLetter, DeadLetterHeader},
};

/// Runs a plan to its end, without writing dead letters, and returns the number of its outputs.
pub(crate) type RunPlan =
    Arc<dyn Fn(Plan, Source) -> BoxFuture<'static, Result<u64, Error>> + Send + Sync>;

/// Runs the steps of a dead letter on its element; returns the number of outputs.
pub(super) async fn run(run_plan: &RunPlan, letter: DeadLetter) -> Result<u64, DeadLetterError> {
    let id = letter.header.id;
    let outputs = match plan(&letter.header) {
        Ok(plan) => run_plan(plan, Source::from_encoded(letter.elements().collect())).await,
        Err(error) => Err(error.into()),
    };
    outputs.map_err(|source| DeadLetterError::Replay { id, source: Box::new(source) })
}

/// A stage of the remaining steps. Settings that a dead letter lacks are those that this program
/// declares.
fn plan(header: &DeadLetterHeader) -> Result<Plan, PlanError> {
    let registry = Registry::global()?;
    let steps = header.steps.iter().map(|reference| {
        let known = registry.get(&reference.name);
        StepPlan {
            reference: reference.clone(),
            retries: known.map_or(DEFAULT_RETRIES, |operation| operation.retries()),
            backoff: Backoff::declared(known.and_then(|operation| operation.backoff())),
            is_async: known.is_some_and(|operation| operation.is_async()),
            on_failure: OnFailure::FailJob,
        }
    });
    let steps: Vec<StepPlan> = steps.collect();
    let folds =
        steps.last().is_some_and(|step| matches!(step.reference.verb, Verb::Fold | Verb::Reduce));
    let end = if folds { End::Fold { empty: None, deterministic: false } } else { End::Count };
    Ok(Plan::chain(vec![Stage { pool: header.pool.clone(), steps, batch: None }], end))
}
