//! Test doubles that the unit tests of several modules share.

mod broker;

pub(crate) use broker::{Call, TestBroker};
