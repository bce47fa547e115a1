//! Replays the element of a dead letter.

use std::{num::NonZeroU32, sync::Arc};

use futures::future::BoxFuture;

use super::DeadLetterError;
use crate::{
    error::Error,
    plan::{
        Backoff, End, Exchange, ExchangeKind, OnFailure, Origin, Outlet, Plan, PlanBuilder,
        PlanError, Source, Stage, StepPlan,
    },
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
    let stage = |steps| Stage { pool: header.pool.clone(), steps, batch: None, numbered: false };
    let combining = steps
        .first()
        .filter(|step| matches!(step.reference.verb, Verb::FoldByKey | Verb::ReduceByKey));
    let Some(combining) = combining.cloned() else {
        return Ok(Plan::chain(vec![stage(steps)], end));
    };
    // The elements are the pairs of one key.
    let kind = ExchangeKind::CombineByKey(combining.reference.verb);
    let (partitions, feeders) = (NonZeroU32::new(1), Vec::new());
    let mut builder = PlanBuilder::default();
    let exchange =
        builder.exchange(Exchange { kind, partitions, feeders, first_side: 1, reader: 0 });
    let outlet = Outlet::Exchange { exchange, feeder: 0 };
    builder.chain(&Origin::Source, vec![stage(vec![combining])], outlet);
    builder.chain(&Origin::Exchange(exchange), vec![stage(steps)], Outlet::End(0));
    Ok(builder.finish(end))
}
