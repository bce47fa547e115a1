//! Stages, and cutting a chain of directives into them.

use std::num::NonZeroU32;

use super::{OnFailure, StepPlan, directive::Directive};
use crate::{broker::Pool, registry::Verb};

/// A maximal chain of steps that needs no data exchange; it runs as one fused pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The pool of workers that runs the stage.
    pub(crate) pool: Pool,
    /// The steps in order. A `Fold` or `Reduce` is the last step of the last stage.
    pub(crate) steps: Vec<StepPlan>,
    /// The number of elements in a task, if the program sets it.
    pub(crate) batch: Option<u32>,
    /// Whether the leader puts its number in front of each element that enters the stage: its
    /// position.
    pub(crate) numbered: bool,
}

impl Stage {
    /// Its pool, if one of its steps has an operation.
    fn chosen_pool(&self) -> Option<Pool> {
        let chooses = self.steps.iter().any(|step| step.reference.verb.has_operation());
        chooses.then(|| self.pool.clone())
    }

    /// Whether `next` can run in the same pass.
    fn admits(&self, next: &Directive, pool: &Pool, deterministic: bool) -> bool {
        let expands = self
            .steps
            .iter()
            .any(|step| matches!(step.reference.verb, Verb::FlatMap | Verb::FlatMapValues));
        // A `try_map` turns the failure of one element into one value. That element must be an
        // input of the stage, not one of the items that a `flat_map` of the stage made from it.
        let splits_failures = expands && next.step.reference.verb == Verb::TryMap;
        // A leaf of a fold of fixed shape succeeds or fails as a whole. Elements that may be left
        // out or turned into values must be so in an earlier stage.
        let folds = matches!(next.step.reference.verb, Verb::Fold | Verb::Reduce);
        let breaks_leaves = deterministic
            && folds
            && self.steps.iter().any(|step| {
                step.reference.verb == Verb::TryMap || step.on_failure != OnFailure::FailJob
            });
        self.pool == *pool && !splits_failures && !breaks_leaves
    }
}

/// Cuts a chain into stages, each as long as possible. `batch` is the number of elements in a task
/// of the first stage, unless one of its steps sets another; `deterministic` is whether the fold at
/// its end has a fixed shape.
pub(super) fn cut(directives: &[Directive], batch: Option<u32>, deterministic: bool) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (place, directive) in directives.iter().enumerate() {
        let pool = pool_of(directives, place);
        match stages.last_mut() {
            Some(stage) if stage.admits(directive, pool, deterministic) => {
                stage.steps.push(directive.step.clone());
                stage.batch = directive.batch.map(NonZeroU32::get).or(stage.batch);
            }
            last => {
                let before_the_first = if last.is_none() { batch } else { None };
                stages.push(Stage {
                    pool: pool.clone(),
                    steps: vec![directive.step.clone()],
                    batch: directive.batch.map(NonZeroU32::get).or(before_the_first),
                    numbered: false,
                });
            }
        }
    }
    if stages.is_empty() {
        stages.push(Stage { pool: Pool::default(), steps: Vec::new(), batch, numbered: false });
    }
    stages
}

/// As [`cut`], with elements that are numbered before the directives at these places. A chain that
/// `reads` an exchange has a stage in front of these.
pub(super) fn cut_numbered(
    directives: &[Directive],
    numbered: &[usize],
    reads: bool,
    batch: Option<u32>,
    deterministic: bool,
) -> Vec<Stage> {
    let (mut stages, mut from, mut batch) = (Vec::new(), 0, batch);
    for (count, place) in numbered.iter().enumerate() {
        // The elements of a source are numbered as they come.
        if from < *place || count > 0 || reads {
            stages.extend(segment(&directives[from..*place], count, batch.take(), deterministic));
        }
        from = *place;
    }
    stages.extend(segment(&directives[from..], numbered.len(), batch, deterministic));
    let pools: Vec<Option<Pool>> = stages.iter().map(Stage::chosen_pool).collect();
    for (number, stage) in stages.iter_mut().enumerate() {
        let near = pools[..=number].iter().rev().chain(&pools[number..]);
        if let Some(pool) = near.flatten().next() {
            stage.pool = pool.clone();
        }
    }
    stages
}

/// The stages of directives that follow so many numberings.
fn segment(
    directives: &[Directive],
    numberings: usize,
    batch: Option<u32>,
    deterministic: bool,
) -> Vec<Stage> {
    let mut stages = cut(directives, batch, deterministic);
    stages[0].numbered = numberings > 0;
    stages
}

/// The pool of a step. One without an operation runs with the operation before it, or else with the
/// next one.
fn pool_of(directives: &[Directive], place: usize) -> &Pool {
    let has_operation = |directive: &&Directive| directive.step.reference.verb.has_operation();
    let before = directives[..=place].iter().rev().find(has_operation);
    before
        .or_else(|| directives[place..].iter().find(has_operation))
        .map_or_else(|| &directives[place].pool, |directive| &directive.pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::program::tests::directive;

    fn cut_names(chain: &[(Verb, &str, &str)]) -> Vec<String> {
        let directives: Vec<_> =
            chain.iter().map(|(verb, name, pool)| directive(*verb, name, pool)).collect();
        names(&cut(&directives, None, false))
    }

    fn names(stages: &[Stage]) -> Vec<String> {
        stages
            .iter()
            .map(|stage| {
                let names: Vec<_> =
                    stage.steps.iter().map(|step| step.reference.name.as_str()).collect();
                format!("{}: {}", stage.pool, names.join(" "))
            })
            .collect()
    }

    #[test]
    fn one_pool_is_one_stage() {
        let chain = [
            (Verb::FlatMap, "a", "default"),
            (Verb::Filter, "b", "default"),
            (Verb::Fold, "c", "default"),
        ];
        assert_eq!(cut_names(&chain), ["default: a b c"]);
    }

    #[test]
    fn a_stage_ends_where_the_pool_changes() {
        let chain = [(Verb::Map, "a", "io"), (Verb::Map, "b", "gpu"), (Verb::Map, "c", "gpu")];
        assert_eq!(cut_names(&chain), ["io: a", "gpu: b c"]);
    }

    #[test]
    fn a_try_map_after_a_flat_map_begins_a_stage() {
        let chain = [
            (Verb::TryMap, "a", "p"),
            (Verb::FlatMap, "b", "p"),
            (Verb::Map, "c", "p"),
            (Verb::TryMap, "d", "p"),
            (Verb::TryMap, "e", "p"),
        ];
        assert_eq!(cut_names(&chain), ["p: a b c", "p: d e"]);
    }

    #[test]
    fn a_fold_of_fixed_shape_begins_a_stage_after_elements_that_may_be_left_out() {
        let fold = directive(Verb::Fold, "fold", "p");
        let mut skipping = directive(Verb::Map, "a", "p");
        skipping.step.on_failure = OnFailure::Skip;
        for (first, deterministic, expected) in [
            (skipping.clone(), true, &["p: a", "p: fold"][..]),
            (directive(Verb::TryMap, "a", "p"), true, &["p: a", "p: fold"]),
            (directive(Verb::Map, "a", "p"), true, &["p: a fold"]),
            (skipping, false, &["p: a fold"]),
        ] {
            assert_eq!(names(&cut(&[first, fold.clone()], None, deterministic)), expected);
        }
    }

    #[test]
    fn a_batch_size_holds_for_the_stage_of_its_step() {
        let mut directives = [
            directive(Verb::Map, "a", "io"),
            directive(Verb::Map, "b", "gpu"),
            directive(Verb::Map, "c", "gpu"),
            directive(Verb::Map, "d", "io"),
        ];
        let batches = |directives: &[Directive], first: Option<u32>| {
            let stages = cut(directives, first, false);
            stages.iter().map(|stage| stage.batch).collect::<Vec<_>>()
        };
        assert_eq!(batches(&directives, None), [None, None, None]);
        assert_eq!(batches(&directives, Some(9)), [Some(9), None, None]);
        directives[1].batch = NonZeroU32::new(5);
        assert_eq!(batches(&directives, Some(9)), [Some(9), Some(5), None]);
        directives[2].batch = NonZeroU32::new(6);
        directives[0].batch = NonZeroU32::new(7);
        assert_eq!(batches(&directives, Some(9)), [Some(7), Some(6), None]);
    }

    #[test]
    fn a_program_without_directives_is_one_stage_without_steps() {
        assert_eq!(cut_names(&[]), ["default: "]);
    }
}
