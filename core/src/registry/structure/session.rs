//! A tracing session: the structure found so far, and the current place.

use std::{
    any::TypeId,
    collections::{HashMap, HashSet},
};

use super::{
    Unsupported, Visit,
    error::TraceError,
    format::{Branch, Container, Form, Format, Key, Kind, State},
    scalar::Scalar,
    tokens::{Fields, Replay},
};
use crate::{codec::Shape, registry::execution::caught};

/// The most places that all passes over one type visit in total.
const MOST_NODES: usize = 1_000_000;
/// The deepest nesting of a made-up value.
const MOST_DEPTH: usize = 100;

/// The structure found so far, and the position of the current pass.
#[derive(Debug, Default)]
pub(in crate::registry) struct Session {
    pub(super) containers: Vec<Container>,
    /// The format of the type itself.
    pub(super) root: Format,
    numbers: HashMap<(Key, Option<Place>), usize>,
    /// The visitor of each container.
    visitors: Vec<TypeId>,
    /// The mode: see [`Aim`].
    aim: Aim,
    /// The written value that is being read, in place of a made-up one.
    pub(super) replay: Option<Replay>,
    /// The shapes of the values that are read as they are written.
    pub(super) shapes: HashSet<Shape>,
    /// Whether a made-up value was rejected, or not written: something may be unchecked.
    pub(super) partial: bool,
    /// The containers that enclose the current place; after a failed pass, the place of the
    /// failure.
    pub(super) stack: Vec<Frame>,
    /// The sample that each place uses.
    pub(super) samples: HashMap<Place, usize>,
    /// The places of the present pass that took a sample, and of how many.
    pub(super) taken: Vec<(Place, usize)>,
    nodes: usize,
    /// Counts the branches that were settled.
    pub(super) progress: usize,
    pub(super) retries: usize,
    pub(super) unsupported: Option<Unsupported>,
}

/// What the made-up values are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Aim {
    /// To find the structure of the type.
    #[default]
    Structure,
    /// To find what it does not write: each place of the type gets a value that stands for nothing
    /// (`None`, an empty sequence, zero), as well as another one.
    Omissions,
}

/// A branch of which a value is being made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) container: usize,
    pub(super) branch: usize,
    slot: usize,
    /// `nodes` when it began.
    nodes: usize,
}

/// A place: container, branch, slot.
pub(super) type Place = Option<(usize, usize, usize)>;

/// A container that is being made; the caller passes it to [`Session::leave`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Entered {
    pub(super) depth: usize,
    pub(super) container: usize,
    pub(super) branch: usize,
    /// The number of elements of a sequence, of keys and values of a map.
    pub(super) len: usize,
}

/// Makes values until the structure does not change any more.
pub(super) fn explore(visit: Visit, aim: Aim) -> Session {
    let mut session = Session { aim, ..Session::default() };
    loop {
        let known = session.progress;
        session.stack.clear();
        session.taken.clear();
        // Checks of the type may panic on made-up values.
        let made = caught(|| visit(&mut session)).is_ok_and(|made| made.is_ok());
        session.replay = None;
        session.partial |= !made;
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
        if self.replay.is_some() {
            return Ok(());
        }
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
        if let Some(replay) = &mut self.replay {
            return replay.enter(kind);
        }
        let container = self.number(Key { visitor, kind }, variants);
        self.note(Format::Container(container));
        let branch = self.choose(container).ok_or(TraceError)?;
        let depth = self.stack.len();
        self.stack.push(Frame { container, branch, slot: 0, nodes: self.nodes });
        let len = match kind {
            Kind::Seq => 1 - branch,
            Kind::Map => 2 * (1 - branch),
            _ => 0,
        };
        Ok(Entered { depth, container, branch, len })
    }

    fn number(&mut self, key: Key, variants: &'static [&'static str]) -> usize {
        let place = self.place_of(key);
        let Self { containers, numbers, visitors, .. } = self;
        *numbers.entry((key, place)).or_insert_with(|| {
            visitors.push(key.visitor);
            let mut container = Container::new(key.kind);
            let named = |name: &&'static str| Branch { name, ..Branch::default() };
            container.branches.extend(variants.iter().map(named));
            containers.push(container);
            containers.len() - 1
        })
    }

    /// The place of a container that is another one at each place.
    fn place_of(&self, key: Key) -> Option<Place> {
        let named = matches!(key.kind, Kind::Struct | Kind::Enum);
        let recursive = || {
            self.stack.iter().any(|frame| self.visitors.get(frame.container) == Some(&key.visitor))
        };
        (self.aim == Aim::Omissions && !named && !recursive()).then(|| self.place())
    }

    fn place(&self) -> Place {
        self.stack.last().map(|frame| (frame.container, frame.branch, frame.slot))
    }

    /// Ends what [`enter`](Self::enter) began, with success.
    pub(super) fn leave(&mut self, entered: Entered) {
        if self.replay.is_some() {
            return;
        }
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
        if self.replay.is_some() {
            return;
        }
        let branch = &mut self.containers[entered.container].branches[entered.branch];
        branch.form = form;
        branch.names = names;
    }

    /// Moves to a slot of the branch that is being made.
    pub(super) fn go_to(&mut self, entered: Entered, slot: usize) -> &mut Self {
        if self.replay.is_some() {
            return self;
        }
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
        if self.replay.is_some() {
            return;
        }
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

    /// The scalar at this place.
    pub(super) fn scalar<T: Scalar>(&mut self) -> Result<T, TraceError> {
        if let Some(replay) = &mut self.replay {
            return T::read(replay).ok_or_else(|| replay.differs(T::NAME));
        }
        self.note(Format::Leaf(T::NAME));
        self.visit()?;
        let place = self.place();
        self.taken.push((place, T::SAMPLES.len()));
        let chosen = self.samples.get(&place).copied().unwrap_or(0);
        let first = if self.aim == Aim::Omissions { T::EMPTY } else { 0 };
        Ok(T::made_up(T::SAMPLES[(first + chosen) % T::SAMPLES.len()]))
    }

    /// What was written about the fields at this place, if a written value is read.
    pub(super) fn written_fields(&mut self) -> Option<Fields> {
        self.replay.as_mut()?.fields()
    }

    /// Compares them with the number of fields that were read, or the failure to read them.
    pub(super) fn compare_fields(
        &mut self,
        written: Option<Fields>,
        read: Result<usize, TraceError>,
        names: &[&'static str],
    ) {
        if let (Some(replay), Some(written)) = (&mut self.replay, written) {
            replay.compare(&written, read, names);
        }
    }

    /// The error of a variant that is written with a number that is not read.
    pub(super) fn unread_variant(&mut self, index: usize) -> Option<TraceError> {
        Some(self.replay.as_mut()?.unread_variant(index))
    }

    /// Records a part that postcard cannot encode.
    pub(super) fn refuse(&mut self, reason: &str) -> TraceError {
        if self.unsupported.is_none() {
            self.unsupported = Some(Unsupported { path: self.path(), reason: reason.to_owned() });
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
