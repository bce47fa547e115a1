//! The methods of the broker that can be hidden from clients.

/// A method that the broker sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerMethod {
    /// `basic.cancel`: a consumer is gone, for example because its queue was deleted.
    Cancel,
    /// `basic.ack`: the broker confirms messages.
    Ack,
    /// `queue.declare-ok`: a queue exists.
    DeclareOk,
    /// `basic.consume-ok`: a consumer may receive.
    ConsumeOk,
}
