//! A broker double, test operations, and a rig with a worker between them.

mod broker;
mod rig;
mod steps;

pub(crate) use broker::{TestBroker, at_once, eventually};
pub(crate) use rig::{SentReply, TestRig};
pub(crate) use steps::{Steps, TestOp, reference};
