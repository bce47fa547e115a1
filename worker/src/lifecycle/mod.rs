//! The life of a worker: its parts, its presence, and how it drains.

mod control;
mod drain;
mod leader_timeout;
mod notices;
mod parts;
mod serve;
mod watchdog;

pub(crate) use parts::Parts;
pub(crate) use serve::serve;
