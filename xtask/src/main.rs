//! The chores of a Phalanx developer.
fn main() {}
