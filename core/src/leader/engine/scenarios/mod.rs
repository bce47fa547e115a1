//! What the engine decides, told step by step.

mod dead_letters;
mod decisions;
mod losses;
mod test_leader;
