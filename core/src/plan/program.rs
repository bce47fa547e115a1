//! Programs, without the types of their elements.

use std::num::NonZeroU32;

use super::{
    End, Exchange, ExchangeKind, OnFailure, Origin, Outlet, Plan, PlanBuilder, PlanError, Side,
    Source, directive::Directive, explain, stage,
};
use crate::{
    codec::Layout,
    operation::RemoteExecute,
    registry::{Sample, Verb},
    wire::MAX_PARTITIONS,
};

/// The most branches of a union. The leader pulls from all of them, and keeps what it knows of
/// each.
pub(crate) const MAX_BRANCHES: usize = 1_024;

/// The most exchanges of a program.
const MAX_EXCHANGES: usize = 256;

/// The number of partitions of an exchange whose program sets none, if the order of its elements
/// must be the same in each run.
const REPEATABLE_PARTITIONS: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// Branches, each a source and directives, and an end, without the types of their elements.
///
/// The first mistake is kept and returned by [`into_parts`](Self::into_parts), so the methods of a
/// chain need no `?`.
#[derive(Debug)]
pub(crate) struct Program {
    /// At least one; all but the first were added by `union`.
    branches: Vec<Branch>,
    end: End,
    exchanges: usize,
    mistake: Option<PlanError>,
}

/// A source or an exchange, and the directives for its elements.
#[derive(Debug)]
struct Branch {
    origin: BranchOrigin,
    /// The first is that of an exchange whose values an operation combines.
    directives: Vec<Directive>,
    /// The number of directives that settings no longer change: from before the last union, or the
    /// last time that elements were numbered.
    settled: usize,
    /// The places of the directives before which elements are numbered.
    numbered: Vec<usize>,
    /// The number of elements in a task of the first stage, if it is set before the first step.
    batch: Option<NonZeroU32>,
}

#[derive(Debug)]
enum BranchOrigin {
    Source(Source),
    Exchange {
        kind: ExchangeKind,
        partitions: Option<NonZeroU32>,
        /// In the order in which their outputs are read.
        feeders: Vec<Branch>,
        /// How many of them belong to the first side; all if there is one.
        first_side: usize,
    },
}

impl Branch {
    fn new(origin: BranchOrigin) -> Self {
        Self { origin, directives: Vec::new(), settled: 0, numbered: Vec::new(), batch: None }
    }

    /// Its source, unless a directive follows it.
    fn bare_source(&mut self) -> Option<&mut Source> {
        match &mut self.origin {
            BranchOrigin::Source(source) if self.directives.is_empty() => Some(source),
            _ => None,
        }
    }

    fn sources(&self, found: &mut impl FnMut(&Source)) {
        match &self.origin {
            BranchOrigin::Source(source) => found(source),
            BranchOrigin::Exchange { feeders, .. } => {
                feeders.iter().for_each(|feeder| feeder.sources(found));
            }
        }
    }

    fn into_sources(self, sources: &mut Vec<Source>) {
        match self.origin {
            BranchOrigin::Source(source) => sources.push(source),
            BranchOrigin::Exchange { feeders, .. } => {
                feeders.into_iter().for_each(|feeder| feeder.into_sources(sources));
            }
        }
    }

    /// Adds its stages to a plan. `combining` combines its outputs before they travel. `repeatable`
    /// is whether their order must be the same in each run.
    fn build(
        &self,
        builder: &mut PlanBuilder,
        combining: Option<&Directive>,
        outlet: Outlet,
        deterministic: bool,
        repeatable: bool,
    ) -> Result<(), PlanError> {
        // Behind an exchange, it looks at the places of elements.
        let samples = |directive: &Directive| directive.step.reference.verb == Verb::Sample;
        let repeatable =
            repeatable || !self.numbered.is_empty() || self.directives.iter().any(samples);
        let origin = match &self.origin {
            BranchOrigin::Source(_) => Origin::Source,
            BranchOrigin::Exchange { kind, partitions, feeders, first_side } => {
                if deterministic {
                    return Err(PlanError::Deterministic { directive: kind.name() });
                }
                let kind = *kind;
                let exchange = builder.exchange(Exchange {
                    kind,
                    partitions: partitions.or(repeatable.then_some(REPEATABLE_PARTITIONS)),
                    feeders: Vec::new(),
                    first_side: *first_side,
                    reader: 0,
                });
                let combining = self.directives.first().filter(|_| kind.has_steps());
                for (number, feeder) in feeders.iter().enumerate() {
                    feeder.check_end(kind)?;
                    let outlet = Outlet::Exchange { exchange, feeder: number };
                    feeder.build(builder, combining, outlet, false, repeatable)?;
                }
                Origin::Exchange(exchange)
            }
        };
        let mut directives = self.directives.clone();
        if let Some(combining) = combining {
            // Where its values are made: they travel combined.
            let has_operation = |it: &&Directive| it.step.reference.verb.has_operation();
            let last = directives.iter().rev().find(has_operation);
            let pool = last.map_or(&combining.pool, |last| &last.pool).clone();
            directives.push(Directive { pool, batch: None, ..combining.clone() });
        }
        let batch = self.batch.map(NonZeroU32::get);
        let reads = matches!(origin, Origin::Exchange(_));
        let numbered = &self.numbered;
        let stages = stage::cut_numbered(&directives, numbered, reads, batch, deterministic);
        builder.chain(&origin, stages, outlet);
        Ok(())
    }

    /// The step that gives a part of each pair, if no operation follows it. If that part is a pair
    /// in turn, workers cannot find its key: they know where the first item of an outermost tuple
    /// ends, or ask an operation for the type.
    fn ends_with_part(&self) -> Option<Verb> {
        let verbs = self.directives[self.numbered.last().copied().unwrap_or(0)..].iter();
        let mut verbs = verbs.map(|directive| directive.step.reference.verb);
        match verbs.rfind(|verb| *verb != Verb::Sample) {
            Some(verb) => matches!(verb, Verb::Keys | Verb::Values).then_some(verb),
            None if !self.numbered.is_empty() => None,
            None => match &self.origin {
                BranchOrigin::Exchange { kind, feeders, first_side, .. }
                    if kind.keeps_elements() =>
                {
                    feeders[..*first_side].iter().find_map(Self::ends_with_part)
                }
                _ => None,
            },
        }
    }

    /// An exchange is read only when all that feeds it has ended.
    fn check_end(&self, kind: ExchangeKind) -> Result<(), PlanError> {
        match &self.origin {
            BranchOrigin::Source(source) if source.is_endless() => {
                Err(PlanError::Endless { directive: kind.name() })
            }
            _ => Ok(()),
        }
    }
}

impl Program {
    pub(super) fn new(source: Source) -> Self {
        let branches = vec![Branch::new(BranchOrigin::Source(source))];
        Self { branches, end: End::default(), exchanges: 0, mistake: None }
    }

    /// Adds a step.
    pub(super) fn step<O: RemoteExecute>(&mut self, operation: &O, verb: Verb) {
        // One output for one input: taking before or after makes no difference.
        if !verb.is_one_to_one() {
            self.reject_after_take(verb.name());
        }
        match Directive::new(operation, verb) {
            Ok(directive) => self.push(&directive),
            Err(mistake) => self.note(mistake),
        }
    }

    /// Adds a step without an operation.
    pub(super) fn step_without_operation(&mut self, verb: Verb) {
        self.push(&Directive::without_operation(verb));
    }

    /// Adds a step that keeps a fraction of the elements.
    pub(super) fn sample(&mut self, fraction: f64, seed: u64) {
        self.reject_after_take(Verb::Sample.name());
        for (number, branch) in (0..).zip(&mut self.branches) {
            let Some(sample) = Sample::new(fraction, seed, number) else {
                return self.note(PlanError::Fraction { fraction: fraction.to_string() });
            };
            branch.directives.push(Directive::sample(&sample));
        }
    }

    /// Numbers the elements, for this directive.
    pub(super) fn enumerate(&mut self, directive: &'static str) {
        self.reject_after_take(directive);
        let [branch] = &mut self.branches[..] else {
            return self.note(PlanError::SeveralInputs { directive });
        };
        branch.settled = branch.directives.len();
        branch.numbered.push(branch.directives.len());
    }

    fn push(&mut self, directive: &Directive) {
        let verb = directive.step.reference.verb;
        if verb.layout() == Layout::Pairs {
            self.check_keys(verb.name(), |_| true);
        }
        for branch in &mut self.branches {
            branch.directives.push(directive.clone());
        }
    }

    /// Notes a mistake if workers cannot find the keys of elements of one of these branches, by
    /// their numbers.
    fn check_keys(&mut self, directive: &'static str, read: impl Fn(usize) -> bool) {
        let mut read = self.branches.iter().enumerate().filter(|(number, _)| read(*number));
        if let Some(verb) = read.find_map(|(_, branch)| branch.ends_with_part()) {
            self.note(PlanError::UnknownKey { directive, after: verb.name() });
        }
    }

    /// Adds the branches of another program behind those of this one.
    pub(super) fn union(&mut self, other: Self) {
        if matches!(other.end, End::Stream { ordered: true, .. }) {
            self.set_ordered();
        }
        self.adopt(other, "union");
        for branch in &mut self.branches {
            branch.settled = branch.directives.len();
        }
    }

    /// Adds the branches of another program, for this directive.
    fn adopt(&mut self, other: Self, directive: &'static str) {
        self.reject_after_take(directive);
        if let Some(mistake) = other.mistake {
            self.note(mistake);
        }
        if matches!(other.end, End::Stream { take: Some(_), .. }) {
            self.note(PlanError::AfterTake { directive });
        }
        self.exchanges += other.exchanges;
        self.branches.extend(other.branches);
        let mut sources = 0;
        self.branches.iter().for_each(|branch| branch.sources(&mut |_| sources += 1));
        if sources > MAX_BRANCHES {
            self.note(PlanError::TooManyBranches { limit: MAX_BRANCHES });
        }
    }

    /// Adds an exchange with another program as its second side.
    pub(super) fn join(&mut self, kind: ExchangeKind, other: Self) {
        let first_side = self.branches.len();
        self.adopt(other, kind.name());
        self.exchange_of(kind, None, first_side);
    }

    /// Adds an exchange; `combining` is the operation that combines the values of each key.
    pub(super) fn exchange(&mut self, kind: ExchangeKind, combining: Option<Directive>) {
        self.exchange_of(kind, combining, self.branches.len());
    }

    fn exchange_of(&mut self, kind: ExchangeKind, combining: Option<Directive>, first_side: usize) {
        self.reject_after_take(kind.name());
        self.exchanges += 1;
        if self.exchanges > MAX_EXCHANGES {
            return self.note(PlanError::TooManyExchanges { limit: MAX_EXCHANGES });
        }
        self.check_keys(kind.name(), |number| {
            let side = if number < first_side { Side::First } else { Side::Second };
            kind.layout(side) == Layout::Pairs
        });
        let feeders = std::mem::take(&mut self.branches);
        let mut branch =
            Branch::new(BranchOrigin::Exchange { kind, partitions: None, feeders, first_side });
        branch.directives.extend(combining);
        self.branches.push(branch);
    }

    /// Adds an exchange whose values an operation combines.
    pub(super) fn combine_by_key<O: RemoteExecute>(&mut self, operation: &O, verb: Verb) {
        match Directive::new(operation, verb) {
            Ok(combining) => self.exchange(ExchangeKind::CombineByKey(verb), Some(combining)),
            Err(mistake) => self.note(mistake),
        }
    }

    /// Sets the number of partitions of the exchange just before.
    pub(super) fn set_partitions(&mut self, count: u32) {
        let Some(count) = NonZeroU32::new(count).filter(|count| count.get() <= MAX_PARTITIONS)
        else {
            return self.note(PlanError::Partitions { count, limit: MAX_PARTITIONS });
        };
        if let [branch] = &mut self.branches[..]
            && let BranchOrigin::Exchange { kind, partitions, .. } = &mut branch.origin
            && branch.directives.len() == usize::from(kind.has_steps())
            && branch.numbered.is_empty()
        {
            *partitions = Some(count);
        } else {
            self.note(PlanError::NoExchange);
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
            let outcome = match branch.directives[branch.settled..].last_mut() {
                Some(directive) if directive.step.reference.verb.has_operation() => {
                    change(directive)
                }
                _ => Err(PlanError::NoStep { setting }),
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
        if let [first] = &mut self.branches[..]
            && first.bare_source().is_some()
        {
            first.batch = Some(elements);
        } else {
            self.set("batch", |directive| {
                directive.batch = Some(elements);
                Ok(())
            });
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
        if let [first] = &mut self.branches[..]
            && let Some(source) = first.bare_source()
        {
            source.limit(count);
        } else if let End::Stream { take, .. } = &mut self.end {
            *take = Some(take.map_or(count, |before| before.min(count)));
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
        let mut builder = PlanBuilder::default();
        for (number, branch) in self.branches.iter().enumerate() {
            branch.build(&mut builder, None, Outlet::End(number), deterministic, false)?;
        }
        Ok(builder.finish(self.end.clone()))
    }

    pub(super) fn explain(&self) -> Result<String, PlanError> {
        let mut inputs = Vec::new();
        let mut add = |source: &Source| inputs.push(source.size_hint());
        self.branches.iter().for_each(|branch| branch.sources(&mut add));
        Ok(explain::explain(&self.plan()?, &inputs))
    }

    /// The plan and its sources, or the first mistake.
    pub(crate) fn into_parts(self) -> Result<(Plan, Vec<Source>), PlanError> {
        let plan = self.plan()?;
        let mut sources = Vec::new();
        self.branches.into_iter().for_each(|branch| branch.into_sources(&mut sources));
        for (number, source) in sources.iter_mut().enumerate() {
            source.set_layout(plan.layout_into(plan.fed_by(number)));
        }
        Ok((plan, sources))
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
