//! Programs, without the types of their elements.

use std::num::NonZeroU32;

use super::{End, OnFailure, Plan, PlanError, Source, directive::Directive, explain, stage};
use crate::{operation::RemoteExecute, registry::Verb};

/// The most branches of a union. The leader pulls from all of them, and keeps what it knows of each.
pub(crate) const MAX_BRANCHES: usize = 1_024;

/// Branches, each a source and directives, and an end, without the types of their elements.
///
/// The first mistake is kept and returned by [`into_parts`](Self::into_parts), so the methods of a
/// chain need no `?`.
#[derive(Debug)]
pub(crate) struct Program {
    /// At least one; all but the first were added by `union`.
    branches: Vec<Branch>,
    end: End,
    mistake: Option<PlanError>,
}

/// A source, and the directives for its elements.
#[derive(Debug)]
struct Branch {
    source: Source,
    directives: Vec<Directive>,
    /// The number of directives from before the last union.
    united: usize,
    /// The number of elements in a task of the first stage, if it is set before the first step.
    batch: Option<NonZeroU32>,
}

impl Program {
    pub(super) fn new(source: Source) -> Self {
        let branch = Branch { source, directives: Vec::new(), united: 0, batch: None };
        Self { branches: vec![branch], end: End::default(), mistake: None }
    }

    /// Adds a step.
    pub(super) fn step<O: RemoteExecute>(&mut self, operation: &O, verb: Verb) {
        // One output for one input: taking before or after makes no difference.
        if !matches!(verb, Verb::Map | Verb::TryMap) {
            self.reject_after_take(verb.name());
        }
        match Directive::new(operation, verb) {
            Ok(directive) => self.push(&directive),
            Err(mistake) => self.note(mistake),
        }
    }

    fn push(&mut self, directive: &Directive) {
        for branch in &mut self.branches {
            branch.directives.push(directive.clone());
        }
    }

    /// Adds the branches of another program behind those of this one.
    pub(super) fn union(&mut self, other: Self) {
        self.reject_after_take("union");
        if let Some(mistake) = other.mistake {
            self.note(mistake);
        }
        if matches!(other.end, End::Stream { take: Some(_), .. }) {
            self.note(PlanError::AfterTake { directive: "union" });
        }
        if matches!(other.end, End::Stream { ordered: true, .. }) {
            self.set_ordered();
        }
        self.branches.extend(other.branches);
        for branch in &mut self.branches {
            branch.united = branch.directives.len();
        }
        if self.branches.len() > MAX_BRANCHES {
            self.note(PlanError::TooManyBranches { limit: MAX_BRANCHES });
        }
    }

    /// Changes the previous step; `setting` is the method that was called.
    pub(super) fn set(
        &mut self,
        setting: &'static str,
        change: impl Fn(&mut Directive) -> Result<(), PlanError>,
    ) {
        // If the previous step was rejected, this error is not reported: its own mistake came
        // first.
        for branch in &mut self.branches {
            let outcome = match branch.directives[branch.united..].last_mut() {
                Some(directive) => change(directive),
                None => Err(PlanError::NoStep { setting }),
            };
            if let Err(mistake) = outcome {
                self.mistake.get_or_insert(mistake);
            }
        }
    }

    pub(super) fn set_on_failure(&mut self, on_failure: OnFailure) {
        self.set("on_failure", |directive| {
            directive.step.on_failure = on_failure;
            Ok(())
        });
    }

    pub(super) fn set_batch(&mut self, elements: u32) {
        let Some(elements) = NonZeroU32::new(elements) else {
            return self.note(PlanError::EmptyBatch);
        };
        match &mut self.branches[..] {
            [first] if first.directives.is_empty() => first.batch = Some(elements),
            _ => self.set("batch", |directive| {
                directive.batch = Some(elements);
                Ok(())
            }),
        }
    }

    pub(super) fn set_ordered(&mut self) {
        if let End::Stream { ordered, .. } = &mut self.end {
            *ordered = true;
        }
    }

    /// Keeps `count` elements: of the input if there are no directives yet, otherwise of the
    /// outputs.
    pub(super) fn take(&mut self, count: u64) {
        match &mut self.branches[..] {
            [first] if first.directives.is_empty() => first.source.limit(count),
            _ => {
                if let End::Stream { take, .. } = &mut self.end {
                    *take = Some(take.map_or(count, |before| before.min(count)));
                }
            }
        }
    }

    /// Sets an end other than a stream; `directive` is the method that was called.
    pub(super) fn end(&mut self, end: End, directive: &'static str) {
        self.reject_after_take(directive);
        self.end = end;
    }

    pub(super) fn end_mut(&mut self) -> &mut End {
        &mut self.end
    }

    /// Keeps a mistake, unless there is an earlier one.
    pub(super) fn note(&mut self, mistake: PlanError) {
        self.mistake.get_or_insert(mistake);
    }

    fn reject_after_take(&mut self, directive: &'static str) {
        if matches!(self.end, End::Stream { take: Some(_), .. }) {
            self.note(PlanError::AfterTake { directive });
        }
    }

    fn plan(&self) -> Result<Plan, PlanError> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        let deterministic = matches!(self.end, End::Fold { deterministic: true, .. });
        if deterministic && self.branches.len() > 1 {
            return Err(PlanError::Deterministic { directive: "union" });
        }
        let branch = |branch: &Branch| {
            stage::cut(&branch.directives, branch.batch.map(NonZeroU32::get), deterministic)
        };
        Ok(Plan::union(self.branches.iter().map(branch).collect(), self.end.clone()))
    }

    pub(super) fn explain(&self) -> Result<String, PlanError> {
        let inputs: Vec<_> = self.branches.iter().map(|branch| branch.source.size_hint()).collect();
        Ok(explain::explain(&self.plan()?, &inputs))
    }

    /// The plan and its sources, or the first mistake.
    pub(crate) fn into_parts(self) -> Result<(Plan, Vec<Source>), PlanError> {
        Ok((self.plan()?, self.branches.into_iter().map(|branch| branch.source).collect()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::{
        broker::Pool, plan::Backoff, plan::StepPlan, registry::DEFAULT_RETRIES,
        registry::StepReference,
    };

    pub(in crate::plan) fn directive(verb: Verb, name: &str, pool: &str) -> Directive {
        let reference = StepReference {
            name: name.to_owned(),
            fingerprint: 0,
            verb,
            timeout: None,
            state: Bytes::new(),
        };
        let step = StepPlan {
            reference,
            retries: DEFAULT_RETRIES,
            backoff: Backoff::default(),
            is_async: false,
            on_failure: OnFailure::default(),
        };
        Directive { step, pool: Pool::new(pool).unwrap(), batch: None }
    }

    fn program() -> Program {
        Program::new(Source::from_iter([1u8, 2, 3].into_iter().map(Ok)))
    }

    fn mistake(program: Program) -> String {
        program.into_parts().unwrap_err().to_string()
    }

    #[test]
    fn the_first_mistake_is_the_one_that_is_reported() {
        let mut program = program();
        program.set_on_failure(OnFailure::Skip);
        program.set_batch(0);
        assert!(mistake(program).starts_with("`on_failure` applies to the previous step"));
    }

    #[test]
    fn an_empty_batch_is_rejected() {
        let mut program = program();
        program.set_batch(0);
        assert!(mistake(program).contains("at least 1"));
    }

    #[test]
    fn an_invalid_pool_is_rejected_with_the_name_of_the_operation() {
        let mut program = program();
        program.push(&directive(Verb::Map, "ops::Fetch", "default"));
        program.set("pool", |directive| directive.set_pool("No Pool"));
        assert!(mistake(program).contains("`ops::Fetch`"));
    }

    #[test]
    fn a_back_off_with_reversed_bounds_is_rejected_with_the_name_of_the_operation() {
        let mut program = program();
        program.push(&directive(Verb::Map, "ops::Fetch", "default"));
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(9));
        program.set("backoff", |directive| directive.set_backoff(short, long));
        assert!(program.mistake.is_none());
        program.set("backoff", |directive| directive.set_backoff(long, short));
        let mistake = mistake(program);
        assert!(mistake.contains("`ops::Fetch` begins at 9s"), "{mistake}");
    }

    #[test]
    fn a_take_after_the_source_limits_the_input_and_every_directive_can_follow() {
        let mut program = program();
        program.take(2);
        program.end(End::Count, "count");
        let (plan, sources) = program.into_parts().unwrap();
        assert_eq!((plan.end, sources[0].size_hint()), (End::Count, (2, Some(2))));
    }

    #[test]
    fn a_take_after_a_step_limits_the_outputs_and_no_end_can_follow() {
        let mut program = program();
        program.push(&directive(Verb::Filter, "odd", "default"));
        program.take(5);
        program.take(2);
        assert_eq!(program.plan().unwrap().end, End::Stream { ordered: false, take: Some(2) });
        program.end(End::Count, "count");
        assert!(mistake(program).starts_with("`count` cannot follow a `take`"));
    }

    #[test]
    fn a_step_after_a_union_is_a_step_of_every_branch_and_settings_change_it_alone() {
        let mut left = program();
        left.push(&directive(Verb::Map, "left", "default"));
        left.union(program());
        left.set_on_failure(OnFailure::Skip);
        assert!(left.plan().unwrap_err().to_string().contains("`on_failure`"));
        let mut left = program();
        left.push(&directive(Verb::Map, "left", "default"));
        left.union(program());
        left.push(&directive(Verb::Map, "both", "default"));
        left.set_on_failure(OnFailure::Skip);
        let (plan, sources) = left.into_parts().unwrap();
        let settings = |stage: &crate::plan::Stage| {
            stage.steps.iter().map(|step| step.on_failure).collect::<Vec<_>>()
        };
        let settings: Vec<_> = plan.stages.iter().map(settings).collect();
        assert_eq!(settings, [vec![OnFailure::FailJob, OnFailure::Skip], vec![OnFailure::Skip]]);
        assert_eq!(sources.len(), 2);
    }

    #[test]
    fn mistakes_of_both_sides_of_a_union_are_reported() {
        let mut cut = program();
        cut.push(&directive(Verb::Map, "a", "default"));
        cut.take(1);
        let mut whole = program();
        whole.union(cut);
        assert!(mistake(whole).starts_with("`union` cannot follow a `take`"));
        let mut many = program();
        (0..MAX_BRANCHES).for_each(|_| many.union(program()));
        assert!(mistake(many).contains("1024"));
    }

    #[test]
    fn a_fold_of_fixed_shape_after_a_union_is_rejected() {
        let mut both = program();
        both.union(program());
        both.end(End::Fold { empty: None, deterministic: true }, "reduce");
        assert!(mistake(both).contains("`union`"));
    }
}
