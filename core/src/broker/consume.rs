//! How a queue is consumed from.

/// How [`Broker::consume`](super::Broker::consume) consumes from a queue.
///
/// ```
/// use phalanx::broker::ConsumeOptions;
///
/// let options = ConsumeOptions::new(100).exclusive().passive();
/// assert!(options.prefetch == 100 && options.exclusive && options.passive);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumeOptions {
    /// The most unsettled deliveries at once; 0 counts as 1. [`u16::MAX`] is no limit for an
    /// exclusive consumer.
    pub prefetch: u16,
    /// Whether the queue may have no other consumer. The prefetch of such a consumer is fixed.
    /// Default: `false`.
    pub exclusive: bool,
    /// Whether the queue must exist. A passive consumer never declares its queue. When it is
    /// interrupted, it ends instead of resuming, and
    /// [`Consumer::error`](super::Consumer::error) has the reason. Default: `false`.
    pub passive: bool,
}

impl ConsumeOptions {
    /// Shares the queue with other consumers, and declares it.
    pub fn new(prefetch: u16) -> Self {
        Self { prefetch, exclusive: false, passive: false }
    }

    /// Refuses other consumers, and fails with [`BrokerError::InUse`](super::BrokerError::InUse) if
    /// there is one.
    #[must_use]
    pub fn exclusive(self) -> Self {
        Self { exclusive: true, ..self }
    }

    /// Fails with [`BrokerError::Absent`](super::BrokerError::Absent) if the queue does not exist.
    #[must_use]
    pub fn passive(self) -> Self {
        Self { passive: true, ..self }
    }
}
