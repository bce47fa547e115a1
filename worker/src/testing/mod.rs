//! Steps and a broker for the tests of this crate, both under the test's thumb.

mod bench;
mod broker;
mod steps;

pub(crate) use bench::{Bench, Said};
pub(crate) use broker::{TestBroker, at_once, eventually};
pub(crate) use steps::{Steps, TestOp, reference};
