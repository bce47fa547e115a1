//! A tracing session: decides which made-up value is tried next.

use std::{any::TypeId, collections::HashMap};

use super::{
    Unsupported, Visit,
    error::TraceError,
    format::{Branch, Container, Form, Format, Key, Kind, State},
};
use crate::registry::execution::caught;

/// The most places that all passes over one type visit in total.
const MOST_NODES: usize = 1_000_000;
/// The deepest nesting of a made-up value.
const MOST_DEPTH: usize = 100;
/// The most samples that are tried after one rejection.
const MOST_RETRIES: usize = 256;

/// The structure found so far, and the position of the current pass.
#[derive(Debug, Default)]
pub(in crate::registry) struct Session {
    pub(super) containers: Vec<Container>,
    /// The format of the type itself.
    pub(super) root: Format,
    numbers: HashMap<Key, usize>,
    /// The containers that enclose the current place; after a failed pass, the place of the
    /// failure.
    stack: Vec<Frame>,
    /// The sample that each place uses.
    samples: HashMap<Place, usize>,
    /// The places of the present pass that took a sample, and of how many.
    taken: Vec<(Place, usize)>,
    nodes: usize,
    /// Counts the branches that were settled.
    progress: usize,
    retries: usize,
    pub(super) unsupported: Option<Unsupported>,
}

/// A branch of which a value is being made.
#[derive(Debug, Clone, Copy)]
struct Frame {
    container: usize,
    branch: usize,
    slot: usize,
    /// `nodes` when it began.
    nodes: usize,
}

/// The place of a scalar: container, branch, slot.
type Place = Option<(usize, usize, usize)>;

/// A container that is being made; the caller passes it to [`Session::leave`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    depth: usize,
    pub(super) container: usize,
    pub(super) branch: usize,
}

/// Makes values until the structure does not change any more.
pub(super) fn explore(visit: Visit) -> Session {
    let mut session = Session::default();
    loop {
        let known = session.progress;
        session.stack.clear();
        session.taken.clear();
        // Checks of the type may panic on made-up values.
        let made = caught(|| visit(&mut session)).is_ok_and(|made| made.is_ok());
        let learnt = session.progress > known;
        if session.unsupported.is_some() || session.nodes > MOST_NODES {
            break;
        }
        let goes_on = if made {
            learnt && session.leads_to_untried(session.root)
        } else {
            learnt || session.next_sample() || session.abandon_branch()
        };
        if !goes_on {
            break;
        }
    }
    session
}

impl Session {
    /// Counts one more place.
    pub(super) fn visit(&mut self) -> Result<(), TraceError> {
        self.nodes += 1;
        if self.nodes > MOST_NODES || self.stack.len() > MOST_DEPTH {
            return Err(TraceError);
        }
        Ok(())
    }

    /// Begins to make a value of the container with this visitor.
    pub(super) fn enter(
        &mut self,
        visitor: TypeId,
        kind: Kind,
        variants: &'static [&'static str],
    ) -> Result<Entered, TraceError> {
        let container = self.number(Key { visitor, kind }, variants);
        self.note(Format::Container(container));
        let branch = self.choose(container).ok_or(TraceError)?;
        let depth = self.stack.len();
        self.stack.push(Frame { container, branch, slot: 0, nodes: self.nodes });
        Ok(Entered { depth, container, branch })
    }

    fn number(&mut self, key: Key, variants: &'static [&'static str]) -> usize {
        let Self { containers, numbers, .. } = self;
        *numbers.entry(key).or_insert_with(|| {
            let mut container = Container::new(key.kind);
            let named = |name: &&'static str| Branch { name, ..Branch::default() };
            container.branches.extend(variants.iter().map(named));
            containers.push(container);
            containers.len() - 1
        })
    }

    /// Ends what [`enter`](Self::enter) began, with success.
    pub(super) fn leave(&mut self, entered: Entered) {
        let Some(frame) = self.stack.get(entered.depth) else {
            return;
        };
        let nodes = self.nodes - frame.nodes;
        let branch = &mut self.containers[entered.container].branches[entered.branch];
        branch.state = match branch.state {
            State::Done(smallest) => State::Done(smallest.min(nodes)),
            State::Untried | State::Failed => {
                self.progress += 1;
                State::Done(nodes)
            }
        };
        // The type may have ignored the errors of values inside it.
        self.stack.truncate(entered.depth);
    }

    /// The form of the branch that is being made.
    pub(super) fn shape(&mut self, entered: Entered, form: Form, names: &'static [&'static str]) {
        let branch = &mut self.containers[entered.container].branches[entered.branch];
        branch.form = form;
        branch.names = names;
    }

    /// Moves to a slot of the branch that is being made.
    pub(super) fn go_to(&mut self, entered: Entered, slot: usize) -> &mut Self {
        // The type may have ignored the errors of earlier slots.
        self.stack.truncate(entered.depth + 1);
        if let Some(frame) = self.stack.last_mut() {
            frame.slot = slot;
        }
        self
    }

    /// Records the format of this place immediately, because the type may reject the value or
    /// panic.
    pub(super) fn note(&mut self, format: Format) {
        let Some(frame) = self.stack.last() else {
            self.root.merge(format);
            return;
        };
        let slots = &mut self.containers[frame.container].branches[frame.branch].slots;
        if slots.len() <= frame.slot {
            slots.resize(frame.slot + 1, Format::Unknown);
        }
        slots[frame.slot].merge(format);
    }

    /// The sample for the scalar at this place.
    pub(super) fn sample<T: Copy>(&mut self, samples: &[T]) -> T {
        let place = self.stack.last().map(|frame| (frame.container, frame.branch, frame.slot));
        self.taken.push((place, samples.len()));
        let chosen = self.samples.get(&place).copied().unwrap_or(0);
        samples[chosen % samples.len()]
    }

    /// Which branch to make: one that was never made; else one that leads to such; else the one
    /// that ends soonest.
    fn choose(&self, container: usize) -> Option<usize> {
        let branches = &self.containers[container].branches;
        let running = |branch: usize| {
            self.stack.iter().any(|frame| (frame.container, frame.branch) == (container, branch))
        };
        let recursive = self.stack.iter().any(|frame| frame.container == container);
        let untried = (0..branches.len())
            .find(|branch| branches[*branch].state == State::Untried && !running(*branch));
        let leading = || {
            (0..branches.len()).find(|branch| {
                !recursive
                    && matches!(branches[*branch].state, State::Done(_))
                    && branches[*branch].slots.iter().any(|slot| self.leads_to_untried(*slot))
            })
        };
        let soonest = || {
            let done = |branch: usize| match branches[branch].state {
                State::Done(nodes) => Some((nodes, branch)),
                State::Untried | State::Failed => None,
            };
            (0..branches.len()).filter_map(done).min().map(|(_, branch)| branch)
        };
        // A struct inside itself: its options and sequences will end it.
        let only = || (branches.len() == 1).then_some(0);
        untried.or_else(leading).or_else(soonest).or_else(only)
    }

    fn leads_to_untried(&self, format: Format) -> bool {
        let mut seen = vec![false; self.containers.len()];
        let mut todo = vec![format];
        while let Some(format) = todo.pop() {
            let Format::Container(number) = format else {
                continue;
            };
            if std::mem::replace(&mut seen[number], true) {
                continue;
            }
            for branch in &self.containers[number].branches {
                if branch.state == State::Untried {
                    return true;
                }
                todo.extend(&branch.slots);
            }
        }
        false
    }

    /// After a refusal: the scalar before it takes its next sample; when it has had all, the one
    /// before that, and so on.
    fn next_sample(&mut self) -> bool {
        self.retries += 1;
        if self.retries > MOST_RETRIES {
            return false;
        }
        for (place, samples) in self.taken.iter().rev().take(8) {
            let chosen = self.samples.entry(*place).or_insert(0);
            *chosen += 1;
            if *chosen < *samples {
                return true;
            }
            *chosen = 0;
        }
        false
    }

    /// The type rejected every sample: the current branch cannot be made.
    fn abandon_branch(&mut self) -> bool {
        self.retries = 0;
        while let Some(frame) = self.stack.pop() {
            let container = &mut self.containers[frame.container];
            let branch = &mut container.branches[frame.branch];
            if branch.state == State::Untried {
                branch.state = State::Failed;
                self.progress += 1;
                // If it is the only branch, its enclosing values cannot be made either.
                if container.branches.len() > 1 {
                    return true;
                }
            }
        }
        false
    }

    /// Records a part that postcard cannot encode.
    pub(super) fn refuse(&mut self, reason: &'static str) -> TraceError {
        if self.unsupported.is_none() {
            self.unsupported = Some(Unsupported { path: self.path(), reason });
        }
        TraceError
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            let container = &self.containers[frame.container];
            let branch = &container.branches[frame.branch];
            match container.kind {
                Kind::Option => continue,
                Kind::Seq => path.push_str("[]"),
                Kind::Map if frame.slot == 0 => path.push_str("[key]"),
                Kind::Map => path.push_str("[value]"),
                Kind::Enum => {
                    path.push_str("::");
                    path.push_str(branch.name);
                }
                Kind::Tuple(_) | Kind::Struct => {}
            }
            match branch.form {
                Form::Struct => {
                    path.push('.');
                    path.push_str(branch.names.get(frame.slot).unwrap_or(&"_"));
                }
                Form::Tuple if container.kind != Kind::Map => {
                    path.push('.');
                    path.push_str(&frame.slot.to_string());
                }
                _ => {}
            }
        }
        path
    }
}
