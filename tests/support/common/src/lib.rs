//! Helpers that the test crates of Phalanx share.
//!
//! - Time limits: [`soon`] for a future, [`until`] for a condition.
//! - The broker that `cargo xtask test` provides: [`test_url`].
//! - With the feature `amqp`: [`connect`] for a connection that bypasses Phalanx,
//!   [`remove_namespace`] to leave a broker as it was, and [`start_node`] for a broker of one test.

#[cfg(feature = "amqp")]
mod amqp;
mod error;
#[cfg(feature = "amqp")]
mod node;
mod time;
mod url;

#[cfg(feature = "amqp")]
pub use amqp::{connect, remove_namespace};
pub use error::full_text;
#[cfg(feature = "amqp")]
pub use node::{start_node, with_node};
pub use time::{PATIENCE, soon, until};
pub use url::test_url;
