//! The structure of a type as a graph.

use std::any::TypeId;

/// The format of one place in a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    /// No made-up value reached it.
    #[default]
    Unknown,
    /// Differs between values, so it counts as unknown.
    Varying,
    /// A scalar, a string or bytes.
    Leaf(&'static str),
    /// A container, by its number.
    Container(usize),
}

impl Format {
    pub(super) fn merge(&mut self, seen: Self) {
        *self = match (*self, seen) {
            (Self::Unknown, other) | (other, Self::Unknown) => other,
            (one, other) if one == other => one,
            _ => Self::Varying,
        };
    }
}

/// Types are identified by their serde visitor: unlike the name that serde reports, it differs
/// between instances of a generic type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) visitor: TypeId,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Option,
    Seq,
    Map,
    Tuple(usize),
    Struct,
    Enum,
}

/// A type that contains others.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) kind: Kind,
    /// The ways to make a value: the variants of an enum; for options, sequences and maps
    /// something and nothing; one for all others.
    pub(super) branches: Vec<Branch>,
}

#[derive(Debug, Default)]
pub(super) struct Branch {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) form: Form,
    /// The names of the fields, if they have names; includes aliases.
    pub(super) names: &'static [&'static str],
    pub(super) slots: Vec<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Untried,
    /// A value was made; the number of nodes of the smallest one.
    Done(usize),
    /// The type rejected every made-up value.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Form {
    #[default]
    Unknown,
    Unit,
    Newtype,
    Tuple,
    Struct,
}

/// A tuple may claim any length before it has elements.
const MOST_KNOWN_SLOTS: usize = 1_024;

impl Container {
    pub(super) fn new(kind: Kind) -> Self {
        let branch = |form| Branch { form, ..Branch::default() };
        let branches = match kind {
            // The branch with a value comes before the empty one, because it leads further.
            Kind::Option | Kind::Seq => vec![branch(Form::Newtype), branch(Form::Unit)],
            Kind::Map => vec![branch(Form::Tuple), branch(Form::Unit)],
            Kind::Tuple(len) => {
                let slots = vec![Format::Unknown; len.min(MOST_KNOWN_SLOTS)];
                vec![Branch { form: Form::Tuple, slots, ..Branch::default() }]
            }
            Kind::Struct => vec![branch(Form::Struct)],
            Kind::Enum => Vec::new(),
        };
        Self { kind, branches }
    }
}

/// Finds a container that contains itself on the path from the root to it.
///
/// If the path contains a named type, only named types count: `[Tree]` inside `Tree` then has the
/// same format wherever the tree is, regardless of the sequence around it.
pub(super) fn way_back(containers: &[Container], stack: &[usize], number: usize) -> Option<usize> {
    let named = |number: usize| matches!(containers[number].kind, Kind::Struct | Kind::Enum);
    let at = stack.iter().rposition(|outer| *outer == number)?;
    let through_names = stack[at..].iter().any(|outer| named(*outer));
    (named(number) || !through_names).then_some(at)
}
