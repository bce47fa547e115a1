//! Programs written against the facade, run by workers in memory.
#![cfg(feature = "inmemory")]

mod borrowing;
mod endings;
mod groups;
mod inputs;
mod keyed;
mod operation_crates;
mod programs;
mod sets;
mod settings;
mod top;
