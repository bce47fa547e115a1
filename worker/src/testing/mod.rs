//! A broker double, test operations, and a rig with a worker between them.

mod broker;
mod operations;
mod queues;
mod rig;

pub(crate) use broker::{TestBroker, at_once, eventually, pass};
pub(crate) use operations::{TestOp, TestOperations};
pub(crate) use queues::TestQueues;
pub(crate) use rig::{SentReply, TestRig};
