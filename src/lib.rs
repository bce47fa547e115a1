//! Run your own Rust code on a fleet.
