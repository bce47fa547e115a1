//! Folds: partial results are combined with their neighbours until one is left.

mod fixed;
mod free;
mod partial;
mod tree;

pub(crate) use partial::{FoldState, LEAF, Partial};
pub(crate) use tree::FoldTree;
