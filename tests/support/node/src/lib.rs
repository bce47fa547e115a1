//! Private RabbitMQ nodes and clusters for the tests of Phalanx.
//!
//! [`PrivateNode::start`] runs a broker on 127.0.0.1 with its own data, ports, port mapper and
//! cookie. A test can kill and restart it without affecting anything else, and it ends with the
//! test process, however that ends. [`Cluster::start`] runs three nodes in containers, which can be
//! killed, frozen and partitioned.
//!
//! The functions block for seconds. In an asynchronous test, call them through
//! `tokio::task::spawn_blocking`.
//!
//! A node runs the RabbitMQ of the tree that [`ROOT_VARIABLE`] names, or of the image that
//! [`IMAGE_VARIABLE`] names, or of this machine, in this order.

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
