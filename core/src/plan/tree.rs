//! Plans: programs as trees of stages.

use super::{End, Exchange, Stage, StepPlan};
use crate::{codec::Layout, registry::Verb};

/// A program, cut into stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// At least one, each after those that feed it.
    pub(crate) stages: Vec<Stage>,
    pub(crate) exchanges: Vec<Exchange>,
    /// What happens to the outputs of the last stages.
    pub(crate) end: End,
    inlets: Vec<Inlet>,
    outlets: Vec<Outlet>,
    /// The stages by their distance to the end.
    deepest_first: Vec<usize>,
    /// For each source, the stage that it feeds.
    fed_by: Vec<usize>,
    /// The number of branches that meet at the end.
    branches: usize,
}

/// Where the elements of a stage come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inlet {
    /// The source with this number.
    Source(usize),
    /// Another stage.
    Stage(usize),
    /// The exchange with this number.
    Exchange(usize),
}

/// Where the outputs of a stage go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlet {
    /// To another stage.
    Stage(usize),
    /// To an exchange, as the feeder with this number.
    Exchange { exchange: usize, feeder: usize },
    /// To the end of the plan, in this place among the branches.
    End(usize),
}

/// Where the elements of a branch come from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The next source that has no stage yet.
    Source,
    /// The exchange with this number.
    Exchange(usize),
}

/// Puts the stages of a plan together, each after those that feed it.
#[derive(Debug, Default)]
pub(crate) struct PlanBuilder {
    stages: Vec<Stage>,
    exchanges: Vec<Exchange>,
    inlets: Vec<Inlet>,
    outlets: Vec<Outlet>,
    fed_by: Vec<usize>,
}

impl PlanBuilder {
    /// Adds a chain of at least one stage.
    pub(crate) fn chain(&mut self, origin: &Origin, stages: Vec<Stage>, outlet: Outlet) {
        let first = self.stages.len();
        let last = first + stages.len() - 1;
        for (number, stage) in (first..).zip(stages) {
            self.inlets.push(match origin {
                _ if number > first => Inlet::Stage(number - 1),
                Origin::Source => Inlet::Source(self.fed_by.len()),
                Origin::Exchange(exchange) => Inlet::Exchange(*exchange),
            });
            self.outlets.push(if number == last { outlet } else { Outlet::Stage(number + 1) });
            self.stages.push(stage);
        }
        match origin {
            Origin::Source => self.fed_by.push(first),
            Origin::Exchange(exchange) => self.exchanges[*exchange].reader = first,
        }
        if let Outlet::Exchange { exchange, .. } = outlet {
            self.exchanges[exchange].feeders.push(last);
        }
    }

    /// Adds an exchange whose feeders and reader follow, and returns its number.
    pub(crate) fn exchange(&mut self, exchange: Exchange) -> usize {
        self.exchanges.push(exchange);
        self.exchanges.len() - 1
    }

    pub(crate) fn finish(self, end: End) -> Plan {
        let Self { stages, exchanges, inlets, outlets, fed_by } = self;
        // What follows a stage has a higher number.
        let mut distances = vec![0_usize; stages.len()];
        for stage in (0..stages.len()).rev() {
            distances[stage] = match outlets[stage] {
                Outlet::Stage(next) => distances[next] + 1,
                Outlet::Exchange { exchange, .. } => distances[exchanges[exchange].reader] + 1,
                Outlet::End(_) => 0,
            };
        }
        let mut deepest_first: Vec<usize> = (0..stages.len()).collect();
        deepest_first.sort_by_key(|stage| distances[*stage]);
        let branches = outlets.iter().filter(|outlet| matches!(outlet, Outlet::End(_))).count();
        let mut plan =
            Plan { stages, exchanges, end, inlets, outlets, deepest_first, fed_by, branches };
        // What follows an exchange has a lower number than it, and decides how it is read.
        for exchange in 0..plan.exchanges.len() {
            let Exchange { kind, reader, .. } = plan.exchanges[exchange];
            plan.exchanges[exchange].kind = kind.read_as(plan.layout(reader));
        }
        plan
    }
}

impl Plan {
    /// A plan of one source: a chain of stages, of which there is at least one.
    pub(crate) fn chain(stages: Vec<Stage>, end: End) -> Self {
        let mut builder = PlanBuilder::default();
        builder.chain(&Origin::Source, stages, Outlet::End(0));
        builder.finish(end)
    }

    /// Where the elements of a stage come from.
    pub(crate) fn inlet(&self, stage: usize) -> Inlet {
        self.inlets[stage]
    }

    /// Where the outputs of a stage go.
    pub(crate) fn outlet(&self, stage: usize) -> Outlet {
        self.outlets[stage]
    }

    /// Whether the outputs of a stage are those of the program.
    pub(crate) fn is_last(&self, stage: usize) -> bool {
        matches!(self.outlets[stage], Outlet::End(_))
    }

    /// The number of sources.
    pub(crate) fn sources(&self) -> usize {
        self.fed_by.len()
    }

    /// The number of branches that meet at the end.
    pub(crate) fn branches(&self) -> usize {
        self.branches
    }

    /// The stage that a source feeds.
    pub(crate) fn fed_by(&self, source: usize) -> usize {
        self.fed_by[source]
    }

    /// Where the elements of a stage come from, before the stages in between: never a stage.
    pub(crate) fn origin(&self, stage: usize) -> Inlet {
        self.before(stage).last().map_or(self.inlets[stage], |first| self.inlets[first])
    }

    /// The stages that elements pass after this one, up to an exchange.
    pub(crate) fn after(&self, stage: usize) -> impl Iterator<Item = usize> {
        let next = |stage: usize| match self.outlets[stage] {
            Outlet::Stage(next) => Some(next),
            Outlet::Exchange { .. } | Outlet::End(_) => None,
        };
        std::iter::successors(next(stage), move |stage| next(*stage))
    }

    /// The stages that elements pass before this one, from the nearest, up to an exchange.
    pub(crate) fn before(&self, stage: usize) -> impl Iterator<Item = usize> {
        let feeder = |stage: usize| match self.inlets[stage] {
            Inlet::Source(_) | Inlet::Exchange(_) => None,
            Inlet::Stage(feeder) => Some(feeder),
        };
        std::iter::successors(feeder(stage), move |stage| feeder(*stage))
    }

    /// The stages in the order in which their tasks are sent: what is nearest to the end frees the
    /// most memory.
    pub(crate) fn deepest_first(&self) -> &[usize] {
        &self.deepest_first
    }

    /// The layout of the elements that are put into a stage.
    pub(crate) fn layout_into(&self, stage: usize) -> Layout {
        match self.stages[stage].numbered {
            // The leader brings them into the one that the stage reads.
            true => Layout::Plain,
            false => self.layout(stage),
        }
    }

    /// The layout in which a stage reads its elements, if they come through the leader.
    pub(crate) fn layout(&self, stage: usize) -> Layout {
        self.layout_from(stage, 0)
    }

    /// The layout in which the steps of a stage from this one on read their elements.
    pub(crate) fn layout_from(&self, stage: usize, first_step: usize) -> Layout {
        let all = self.stages[stage].steps.get(first_step..).unwrap_or_default();
        // They do not change elements, and need them whole: what follows decides where keys end.
        let samples = all.iter().take_while(|step| step.reference.verb == Verb::Sample).count();
        match self.layout_of(stage, &all[samples..]) {
            Layout::Plain if samples > 0 => Layout::Whole,
            layout => layout,
        }
    }

    /// The layout in which these last steps of a stage read their elements.
    fn layout_of(&self, stage: usize, steps: &[StepPlan]) -> Layout {
        let first = steps.first().map(|step| step.reference.verb.layout());
        if let Some(layout @ (Layout::Pairs | Layout::Whole)) = first {
            return layout;
        }
        match self.outlets[stage] {
            Outlet::Exchange { exchange, feeder } => {
                let exchange = &self.exchanges[exchange];
                let kind = exchange.kind;
                // Only the exchange looks at the keys.
                let alone = steps.len() == usize::from(kind.has_steps());
                if alone { kind.layout(exchange.side(feeder)) } else { Layout::Plain }
            }
            Outlet::Stage(_) | Outlet::End(_) => Layout::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{ExchangeKind, program::tests::directive, stage::cut},
        registry::Verb,
    };

    fn chain(pools: &[&str]) -> Vec<Stage> {
        let steps: Vec<_> = pools.iter().map(|pool| directive(Verb::Map, "a", pool)).collect();
        cut(&steps, None, false)
    }

    #[test]
    fn a_chain_has_one_source_and_one_end() {
        let plan = Plan::chain(chain(&["a", "b", "c"]), End::Count);
        assert_eq!((plan.sources(), plan.fed_by(0), plan.origin(2)), (1, 0, Inlet::Source(0)));
        assert_eq!((plan.inlet(1), plan.outlet(1)), (Inlet::Stage(0), Outlet::Stage(2)));
        assert_eq!(plan.after(0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(plan.before(2).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(plan.deepest_first(), [2, 1, 0]);
    }

    #[test]
    fn the_branches_of_a_union_meet_at_the_end() {
        let mut builder = PlanBuilder::default();
        builder.chain(&Origin::Source, chain(&["a", "b"]), Outlet::End(0));
        builder.chain(&Origin::Source, chain(&["a", "b", "c"]), Outlet::End(1));
        let plan = builder.finish(End::Count);
        assert_eq!((plan.sources(), plan.fed_by(1), plan.origin(4)), (2, 2, Inlet::Source(1)));
        assert_eq!((plan.outlet(1), plan.outlet(4)), (Outlet::End(0), Outlet::End(1)));
        assert_eq!(plan.after(0).collect::<Vec<_>>(), [1], "a branch does not pass into another");
        assert_eq!(plan.before(2).count(), 0);
        assert_eq!((plan.deepest_first(), plan.branches()), (&[1, 4, 0, 3, 2][..], 2));
    }

    #[test]
    fn an_exchange_lies_between_the_stages_that_feed_it_and_the_one_that_reads_it() {
        let mut builder = PlanBuilder::default();
        let kind = ExchangeKind::Distinct { pairs: false };
        let exchange =
            Exchange { kind, partitions: None, feeders: Vec::new(), first_side: 2, reader: 0 };
        let exchange = builder.exchange(exchange);
        for (feeder, pools) in [&["a", "b"][..], &[]].into_iter().enumerate() {
            let outlet = Outlet::Exchange { exchange, feeder };
            builder.chain(&Origin::Source, chain(pools), outlet);
        }
        builder.chain(&Origin::Exchange(exchange), chain(&["a", "b"]), Outlet::End(0));
        let plan = builder.finish(End::Count);
        assert_eq!((&plan.exchanges[0].feeders[..], plan.exchanges[0].reader), (&[1, 2][..], 3));
        assert_eq!((plan.inlet(3), plan.origin(4)), (Inlet::Exchange(0), Inlet::Exchange(0)));
        assert_eq!((plan.after(0).count(), plan.before(4).count()), (1, 1));
        assert_eq!(plan.deepest_first(), [4, 3, 1, 2, 0]);
        let layouts: Vec<_> = (0..5).map(|stage| plan.layout(stage)).collect();
        assert_eq!(layouts[..3], [Layout::Plain, Layout::Plain, Layout::Whole]);
    }
}
