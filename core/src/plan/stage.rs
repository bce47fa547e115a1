//! Plans, and how a chain of directives is cut into stages.

use super::{End, OnFailure, StepPlan, directive::Directive};
use crate::{broker::Pool, registry::Verb};

/// A program, cut into stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In order; at least one, perhaps without steps.
    pub stages: Vec<Stage>,
    /// What becomes of the last stage's outputs.
    pub end: End,
}

/// A maximal chain of directives that needs no data exchange; runs as one fused pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Whose workers run it.
    pub pool: Pool,
    /// In order. A `Fold` or `Reduce` is the last one of the last stage.
    pub steps: Vec<StepPlan>,
    /// Fixed batch size.
    pub batch: Option<u32>,
}

impl Stage {
    /// Whether `next` can run in the same pass.
    fn admits(&self, next: &Directive, deterministic: bool) -> bool {
        let expands = self.steps.iter().any(|step| step.reference.verb == Verb::FlatMap);
        // A `try_map` turns the failure of one element into one value: it must be the failure of
        // one whole input element of its stage, not of one of its many parts.
        let splits_failures = expands && next.step.reference.verb == Verb::TryMap;
        // A leaf of a fold of fixed shape counts whole or not at all: what is left out or made a
        // value must be so before it comes to the fold.
        let folds = matches!(next.step.reference.verb, Verb::Fold | Verb::Reduce);
        let breaks_leaves = deterministic
            && folds
            && self.steps.iter().any(|step| {
                step.reference.verb == Verb::TryMap || step.on_failure != OnFailure::FailJob
            });
        self.pool == next.pool && !splits_failures && !breaks_leaves
    }
}

/// Cuts a chain into stages, each as long as can be; `deterministic` is the fold at its end.
pub(super) fn cut(directives: &[Directive], batch: Option<u32>, deterministic: bool) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for directive in directives {
        match stages.last_mut() {
            Some(stage) if stage.admits(directive, deterministic) => {
                stage.steps.push(directive.step.clone())
            }
            _ => stages.push(Stage {
                pool: directive.pool.clone(),
                steps: vec![directive.step.clone()],
                batch,
            }),
        }
    }
    if stages.is_empty() {
        stages.push(Stage { pool: Pool::default(), steps: Vec::new(), batch });
    }
    stages
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
    fn a_try_map_behind_a_flat_map_begins_a_stage() {
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
    fn a_fold_of_fixed_shape_begins_a_stage_behind_elements_that_may_drop_out() {
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
    fn a_program_without_directives_is_one_stage_without_steps() {
        assert_eq!(cut_names(&[]), ["default: "]);
    }
}
