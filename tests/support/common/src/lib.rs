//! Helpers that the test crates of Phalanx share.
//!
//! - Time limits: [`soon`] for a future, [`until`] for a condition.
//! - The broker that `cargo xtask test` provides: [`test_url`].
//! - With the feature `amqp`: [`connect`] for a connection that bypasses Phalanx, and
//!   [`remove_namespace`] to leave a broker as it was.

#[cfg(feature = "amqp")]
mod amqp;
mod error;
mod time;
mod url;

#[cfg(feature = "amqp")]
pub use amqp::{connect, remove_namespace};
pub use error::full_text;
pub use time::{PATIENCE, soon, until};
pub use url::test_url;
