//! Plans: programs as trees of stages.

use super::{End, Stage};

/// A program, cut into stages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// At least one, each after those that feed it.
    pub(crate) stages: Vec<Stage>,
    /// What happens to the outputs of the last stages.
    pub(crate) end: End,
    inlets: Vec<Inlet>,
    outlets: Vec<Outlet>,
    /// The stages by their distance to the end.
    deepest_first: Vec<usize>,
    /// For each source, the stage that it feeds.
    fed_by: Vec<usize>,
}

/// Where the elements of a stage come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inlet {
    /// The source with this number.
    Source(usize),
    /// Another stage.
    Stage(usize),
}

/// Where the outputs of a stage go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlet {
    /// To another stage.
    Stage(usize),
    /// To the end of the plan, in this place among the branches.
    End(usize),
}

impl Plan {
    /// A plan of one source: a chain of stages, of which there is at least one.
    pub(crate) fn chain(stages: Vec<Stage>, end: End) -> Self {
        Self::union(vec![stages], end)
    }

    /// A plan of several branches, each a source and a chain of at least one stage. Their outputs
    /// meet at the end.
    pub(crate) fn union(branches: Vec<Vec<Stage>>, end: End) -> Self {
        let (mut stages, mut inlets, mut outlets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut fed_by, mut distances) = (Vec::new(), Vec::new());
        for (branch, chain) in branches.into_iter().enumerate() {
            let length = chain.len();
            fed_by.push(stages.len());
            for (place, stage) in chain.into_iter().enumerate() {
                let number = stages.len();
                inlets.push(match place {
                    0 => Inlet::Source(branch),
                    _ => Inlet::Stage(number - 1),
                });
                outlets.push(match length - place - 1 {
                    0 => Outlet::End(branch),
                    _ => Outlet::Stage(number + 1),
                });
                distances.push(length - place - 1);
                stages.push(stage);
            }
        }
        let mut deepest_first: Vec<usize> = (0..stages.len()).collect();
        deepest_first.sort_by_key(|stage| distances[*stage]);
        Self { stages, end, inlets, outlets, deepest_first, fed_by }
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

    /// The stage that a source feeds.
    pub(crate) fn fed_by(&self, source: usize) -> usize {
        self.fed_by[source]
    }

    /// The source from which the elements of a stage come.
    pub(crate) fn source_of(&self, mut stage: usize) -> usize {
        loop {
            match self.inlets[stage] {
                Inlet::Source(source) => return source,
                Inlet::Stage(feeder) => stage = feeder,
            }
        }
    }

    /// The stages that elements pass after this one.
    pub(crate) fn after(&self, stage: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.next(stage), |stage| self.next(*stage))
    }

    /// The stages that elements pass before this one, from the nearest.
    pub(crate) fn before(&self, stage: usize) -> impl Iterator<Item = usize> {
        let feeder = |stage: usize| match self.inlets[stage] {
            Inlet::Source(_) => None,
            Inlet::Stage(feeder) => Some(feeder),
        };
        std::iter::successors(feeder(stage), move |stage| feeder(*stage))
    }

    /// The stages in the order in which their tasks are sent: what is nearest to the end frees the
    /// most memory.
    pub(crate) fn deepest_first(&self) -> &[usize] {
        &self.deepest_first
    }

    fn next(&self, stage: usize) -> Option<usize> {
        match self.outlets[stage] {
            Outlet::Stage(next) => Some(next),
            Outlet::End(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{program::tests::directive, stage::cut},
        registry::Verb,
    };

    fn chain(pools: &[&str]) -> Vec<Stage> {
        let steps: Vec<_> = pools.iter().map(|pool| directive(Verb::Map, "a", pool)).collect();
        cut(&steps, None, false)
    }

    #[test]
    fn a_chain_has_one_source_and_one_end() {
        let plan = Plan::chain(chain(&["a", "b", "c"]), End::Count);
        assert_eq!((plan.sources(), plan.fed_by(0), plan.source_of(2)), (1, 0, 0));
        assert_eq!((plan.inlet(1), plan.outlet(1)), (Inlet::Stage(0), Outlet::Stage(2)));
        assert_eq!(plan.after(0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(plan.before(2).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(plan.deepest_first(), [2, 1, 0]);
    }

    #[test]
    fn the_branches_of_a_union_meet_at_the_end() {
        let plan = Plan::union(vec![chain(&["a", "b"]), chain(&["a", "b", "c"])], End::Count);
        assert_eq!((plan.sources(), plan.fed_by(1), plan.source_of(4)), (2, 2, 1));
        assert_eq!((plan.outlet(1), plan.outlet(4)), (Outlet::End(0), Outlet::End(1)));
        assert_eq!(plan.after(0).collect::<Vec<_>>(), [1], "a branch does not pass into another");
        assert_eq!(plan.before(2).count(), 0);
        assert_eq!(plan.deepest_first(), [1, 4, 0, 3, 2]);
    }
}
