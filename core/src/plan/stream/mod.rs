//! The program that a user composes.

mod ends;
mod indexed;
mod join;
mod keyed;
mod pairs;
mod sets;
mod settings;
mod steps;
mod top;

pub use indexed::IndexedStream;
