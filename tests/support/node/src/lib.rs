//! A private RabbitMQ node for the tests of Phalanx.
//!
//! [`PrivateNode::start`] runs a broker of its own on 127.0.0.1, with its own data, ports, port
//! mapper and cookie: it can be killed and restarted without harm to anything else, and it is gone
//! when the test is, whichever way the test ends. [`Cluster::start`] runs three nodes in containers,
//! which can be lost, frozen, and cut off from each other.
//!
//! The calls block for seconds. In an async test call them through `tokio::task::spawn_blocking`.
//!
//! Which RabbitMQ runs: that of the tree which [`ROOT_VARIABLE`] names, else that of the image which
//! [`IMAGE_VARIABLE`] names, else that of this machine.

mod cluster;
mod configuration;
mod container;
mod docker;
mod error;
mod installation;
mod node;
mod options;
mod port;
mod processes;
mod ready;
mod watchdog;

pub use cluster::Cluster;
pub use error::NodeError;
pub use installation::{IMAGE_VARIABLE, Installation, ROOT_VARIABLE};
pub use node::PrivateNode;
pub use options::{NodeOptions, Permissions, TlsIdentity};
