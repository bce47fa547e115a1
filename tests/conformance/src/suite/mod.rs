//! The promises, by what they are about.
//!
//! That something does *not* happen is shown by what happens instead: another consumer gets the
//! message, or a later one comes first. Nothing sleeps to let the broker settle.

pub mod addressing;
pub mod consuming;
pub mod declaring;
pub mod losing;
pub mod publishing;
