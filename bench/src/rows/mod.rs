//! The comparisons, one module for each row of the table.

pub(crate) mod build_time;
pub(crate) mod keyed;
pub(crate) mod large_word_count;
pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod one_element;
pub(crate) mod shuffle;
