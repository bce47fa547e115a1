//! The promises, by subject.
//!
//! A promise that something does *not* happen is shown by what happens instead: another consumer
//! receives the message, or a later message arrives first. No test sleeps to wait for the broker.

pub mod addressing;
pub mod consuming;
pub mod declaring;
pub mod losing;
pub mod publishing;
pub mod shuffling;
