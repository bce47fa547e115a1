//! Exchanges: between the stages that write keyed elements and the one that reads them by key.

use std::num::NonZeroU32;

use crate::{
    codec::Layout,
    registry::Verb,
    wire::{Combine, Grouping},
};

/// An exchange of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) kind: ExchangeKind,
    /// The number of partitions, if the program sets it.
    pub(crate) partitions: Option<NonZeroU32>,
    /// The stages that write to it, in the order in which what they wrote is read.
    pub(crate) feeders: Vec<usize>,
    /// The stage that reads it.
    pub(crate) reader: usize,
}

/// The directive that an exchange is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeKind {
    /// `reduce_by_key` or `fold_by_key`: the last step of each feeding stage, and the first one of the
    /// reading stage, combine values.
    CombineByKey(Verb),
    CountByKey,
    GroupByKey,
    CountByValue,
    /// The whole element is the key. `pairs` if where its own key ends must not be forgotten, because
    /// the elements go into another exchange at once.
    Distinct {
        pairs: bool,
    },
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
        }
    }

    /// Whether steps of its feeding and reading stages combine values.
    pub(crate) fn has_steps(self) -> bool {
        matches!(self, Self::CombineByKey(_))
    }

    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::CombineByKey(_)
            | Self::CountByKey
            | Self::GroupByKey
            | Self::Distinct { pairs: true } => Layout::Pairs,
            Self::CountByValue | Self::Distinct { pairs: false } => Layout::Whole,
        }
    }

    /// Whether equal keys are equal elements.
    pub(crate) fn is_by_element(self) -> bool {
        matches!(self, Self::CountByValue | Self::Distinct { .. })
    }

    /// What becomes of elements with equal keys before they travel.
    pub(crate) fn combine(self) -> Combine {
        match self {
            Self::CombineByKey(_) => Combine::Step,
            Self::CountByKey | Self::CountByValue => Combine::Count,
            Self::GroupByKey => Combine::Nothing,
            Self::Distinct { .. } => Combine::First,
        }
    }

    /// What the reading stage makes of them.
    pub(crate) fn grouping(self) -> Grouping {
        match self {
            Self::CombineByKey(_) => Grouping::Combine,
            Self::CountByKey | Self::CountByValue => Grouping::Count,
            Self::GroupByKey => Grouping::Group,
            Self::Distinct { .. } => Grouping::Distinct,
        }
    }
}
