//! How the connection to a broker is.

/// How the connection to a broker is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Health {
    /// How many times it has been connected; 0 before the first time.
    pub generation: u64,
    /// Whether it is connected now.
    pub connected: bool,
    /// Why the broker takes no messages for now, in its own words (a memory or disk alarm).
    pub blocked: Option<String>,
}

impl Health {
    /// Whether messages flow.
    pub fn is_well(&self) -> bool {
        self.connected && self.blocked.is_none()
    }
}
