//! Scenarios: single decisions of the engine, tested step by step.

mod credit;
mod dead_letters;
mod ends;
mod exchanges;
mod folds;
mod leases;
mod losses;
mod outputs;
mod results;
mod retries;
mod splits;
mod spread;
mod stalls;
pub(super) mod test_leader;
mod workers;
