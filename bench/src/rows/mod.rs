//! What is compared.

pub(crate) mod map;
pub(crate) mod memory;
pub(crate) mod one_element;
