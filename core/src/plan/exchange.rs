//! Exchanges: between the stages that write keyed elements and the one that reads them by key.

use std::num::NonZeroU32;

use crate::{
    codec::Layout,
    registry::Verb,
    wire::{Combine, Grouping, JoinKind},
};

/// An exchange of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) kind: ExchangeKind,
    /// The number of partitions, if the program sets it.
    pub(crate) partitions: Option<NonZeroU32>,
    /// The stages that write to it, in the order in which what they wrote is read.
    pub(crate) feeders: Vec<usize>,
    /// How many of them belong to the first side; all if there is one.
    pub(crate) first_side: usize,
    /// The stage that reads it.
    pub(crate) reader: usize,
}

/// The directive that an exchange is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeKind {
    /// `reduce_by_key` or `fold_by_key`: the last step of each feeding stage, and the first one of
    /// the reading stage, combine values.
    CombineByKey(Verb),
    CountByKey,
    GroupByKey,
    CountByValue,
    /// The whole element is the key. `pairs` if where its own key ends must not be forgotten,
    /// because what follows looks at keys or values alone.
    Distinct {
        pairs: bool,
    },
    /// The keys are the numbers of the elements on either side.
    Zip,
    /// As `Distinct`, of elements that the second side has.
    Intersection {
        pairs: bool,
    },
    /// As `Distinct`, but that equal elements stay, of those that the second side lacks.
    Subtract {
        pairs: bool,
    },
    Join(JoinKind),
    Cogroup,
    /// `semi_join` or `anti_join`: the elements of the second side are keys.
    Filter {
        present: bool,
    },
}

/// One of the two sides of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

impl Exchange {
    /// The side that this feeder belongs to.
    pub(crate) fn side(&self, feeder: usize) -> Side {
        if feeder < self.first_side { Side::First } else { Side::Second }
    }
}

impl ExchangeKind {
    /// The name of the method of `IndexedStream`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CombineByKey(verb) => verb.name(),
            Self::CountByKey => "count_by_key",
            Self::GroupByKey => "group_by_key",
            Self::CountByValue => "count_by_value",
            Self::Distinct { .. } => "distinct",
            Self::Zip => "zip",
            Self::Intersection { .. } => "intersection",
            Self::Subtract { .. } => "subtract",
            Self::Join(JoinKind::Left) => "left_join",
            Self::Join(JoinKind::Full) => "full_join",
            Self::Join(_) => "join",
            Self::Cogroup => "cogroup",
            Self::Filter { present: true } => "semi_join",
            Self::Filter { present: false } => "anti_join",
        }
    }

    /// Whether steps of its feeding and reading stages combine values.
    pub(crate) fn has_steps(self) -> bool {
        matches!(self, Self::CombineByKey(_))
    }

    /// How the elements of one side are told apart into keys and values.
    pub(crate) fn layout(self, side: Side) -> Layout {
        match (self, side) {
            (Self::CountByValue | Self::Distinct { pairs: false }, _)
            | (Self::Intersection { pairs: false } | Self::Subtract { pairs: false }, _)
            | (Self::Intersection { .. } | Self::Subtract { .. }, Side::Second)
            | (Self::Filter { .. }, Side::Second) => Layout::Whole,
            _ => Layout::Pairs,
        }
    }

    /// The same for elements that are read in this layout.
    pub(super) fn read_as(self, layout: Layout) -> Self {
        let pairs = layout == Layout::Pairs;
        match self {
            Self::Distinct { .. } => Self::Distinct { pairs },
            Self::Intersection { .. } => Self::Intersection { pairs },
            Self::Subtract { .. } => Self::Subtract { pairs },
            _ => self,
        }
    }

    /// Whether its outputs are elements of its first side.
    pub(super) fn keeps_elements(self) -> bool {
        self.is_by_element() && self != Self::CountByValue
    }

    /// Whether equal keys are equal elements.
    pub(crate) fn is_by_element(self) -> bool {
        matches!(
            self,
            Self::CountByValue
                | Self::Distinct { .. }
                | Self::Intersection { .. }
                | Self::Subtract { .. }
        )
    }

    /// What becomes of elements with equal keys before they travel.
    pub(crate) fn combine(self, side: Side) -> Combine {
        match (self, side) {
            (Self::CombineByKey(_), _) => Combine::Step,
            (Self::CountByKey | Self::CountByValue, _) => Combine::Count,
            (Self::Distinct { .. } | Self::Intersection { .. }, _)
            | (Self::Filter { .. } | Self::Subtract { .. }, Side::Second) => Combine::First,
            (Self::Subtract { .. }, Side::First) => Combine::Whole,
            (
                Self::GroupByKey | Self::Join(_) | Self::Cogroup | Self::Zip | Self::Filter { .. },
                _,
            ) => Combine::Nothing,
        }
    }

    /// What the reading stage makes of them.
    pub(crate) fn grouping(self) -> Grouping {
        match self {
            Self::CombineByKey(_) => Grouping::Combine,
            Self::CountByKey | Self::CountByValue => Grouping::Count,
            Self::GroupByKey => Grouping::Group,
            Self::Distinct { .. } => Grouping::Distinct,
            Self::Zip => Grouping::Zip,
            Self::Intersection { .. } => Grouping::Intersection,
            Self::Subtract { .. } => Grouping::Subtract,
            Self::Join(kind) => Grouping::Join(kind),
            Self::Cogroup => Grouping::Cogroup,
            Self::Filter { present } => Grouping::Filter { present },
        }
    }
}
