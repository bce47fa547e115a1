//! The graph of a type's structure.

use std::any::TypeId;

/// What stands in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Format {
    /// Nothing reached it.
    #[default]
    Unknown,
    /// Differs from value to value: as good as unknown.
    Varying,
    /// A scalar, text or bytes.
    Leaf(&'static str),
    /// By its number.
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

/// Types are told apart by their serde visitor, which differs between instances of a generic type
/// where serde's name for it does not.
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

/// A type that holds others.
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
    /// Of the fields, where they have names. Aliases are among them.
    pub(super) names: &'static [&'static str],
    pub(super) slots: Vec<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Untried,
    /// A value was made; how many nodes the smallest one had.
    Done(usize),
    /// No made-up value was good enough.
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
            // Something is tried before nothing, for it leads further.
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

/// Where a container that stands inside itself is found on the way down to it.
///
/// Only types with names count, as long as there is one: `[Tree]` inside `Tree` looks the same
/// wherever the tree stands, whichever sequence that is in.
pub(super) fn way_back(containers: &[Container], stack: &[usize], number: usize) -> Option<usize> {
    let named = |number: usize| matches!(containers[number].kind, Kind::Struct | Kind::Enum);
    let at = stack.iter().rposition(|outer| *outer == number)?;
    let through_names = stack[at..].iter().any(|outer| named(*outer));
    (named(number) || !through_names).then_some(at)
}
