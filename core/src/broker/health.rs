//! The state of the connection to a broker.

/// The state of the connection to a broker, from [`Broker::health`](super::Broker::health).
///
/// ```
/// use phalanx::broker::{Broker, Health};
/// use phalanx::inmemory::InMemoryBroker;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let health: Health = InMemoryBroker::new().health().borrow().clone();
/// assert!(health.is_well() && health.generation == 1);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Health {
    /// The number of the connection: 0 before the first, one more after each reconnect.
    pub generation: u64,
    /// Whether the connection is up.
    pub connected: bool,
    /// Why the broker currently accepts no messages (a memory or disk alarm); `None` if it accepts
    /// them.
    pub blocked: Option<String>,
    /// Why the connection was lost last or cannot be opened again, in the words of the broker or
    /// the operating system; `None` if it was never lost.
    pub reason: Option<String>,
}

impl Health {
    /// Whether messages can be published: the connection is up and not blocked.
    pub fn is_well(&self) -> bool {
        self.connected && self.blocked.is_none()
    }

    /// Why there is no connection, for people.
    pub fn lost_because(&self) -> &str {
        self.reason.as_deref().unwrap_or("the reason is not known")
    }
}
