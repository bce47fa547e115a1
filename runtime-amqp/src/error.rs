//! Turns lapin's errors into the broker errors of Phalanx.
//!
//! The texts of these errors come from the broker and the system, never from a URL that lapin has
//! formatted, so none of them contains a password.

use std::io;

use lapin::{Error, ErrorKind};
use phalanx_core::broker::BrokerError;

pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
pub(crate) const NOT_ALLOWED: u16 = 530;

/// The broker's refusal of a request: a reply code of AMQP and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Refusal {
    /// The refusal that closed a channel or the connection, if `error` is one.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ProtocolError(error) => {
                Some(Self { code: error.get_id(), text: error.get_message().to_string() })
            }
            _ => None,
        }
    }

    /// The refusal that closed a channel and left the connection open, if `error` is one. A closed
    /// connection is not a refusal of one request: it is lost, and reconnects.
    pub(crate) fn on_channel(error: &Error) -> Option<Self> {
        if error.is_amqp_soft_error() { Self::of(error) } else { None }
    }

    /// Whether the text names a queue that does not exist. A queue on a node that is down has the
    /// same code.
    pub(crate) fn is_queue_absent(&self) -> bool {
        self.text.contains("no queue '")
    }

    /// Whether a queue or consumer is exclusive to somebody else. A missing permission has the same
    /// code.
    fn is_in_use(&self) -> bool {
        self.text.contains("in exclusive use")
    }

    /// Whether the broker has closed a channel for its delivery acknowledgement timeout.
    fn is_ack_timeout(&self) -> bool {
        self.text.contains("delivery acknowledgement") && self.text.contains("timed out")
    }

    /// The exchange that the text names: `… exchange 'NAME' in vhost …`.
    pub(crate) fn exchange(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("exchange '")?;
        rest.split_once('\'').map(|(name, _)| name)
    }

    /// The broker's message size limit in bytes, from `message size A is larger than configured max
    /// size B` and its variants in other versions.
    pub(crate) fn size_limit(&self) -> Option<u64> {
        if self.code != PRECONDITION_FAILED || !self.text.contains("message size") {
            return None;
        }
        let (_, limit) = self.text.rsplit_once("max size ")?;
        let digits = limit.find(|c: char| !c.is_ascii_digit()).unwrap_or(limit.len());
        limit[..digits].parse().ok()
    }
}

/// Why a request on a connection failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker refused the request, and would refuse it again.
    Refused(BrokerError),
    /// The queue is on a node of the cluster that is down, and unusable until the node is back.
    NodeDown(BrokerError),
    /// The connection or the channel ended first: the request can be repeated.
    Lost(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

/// The error for a refusal of `what`, a queue or an exchange.
pub(crate) fn refused(what: &str, refusal: Refusal) -> BrokerError {
    let (is_in_use, is_absent) = (refusal.is_in_use(), refusal.is_queue_absent());
    let (is_exchange, is_ack_timeout) = (refusal.exchange().is_some(), refusal.is_ack_timeout());
    let (what, reason) = (what.to_owned(), refusal.text);
    match refusal.code {
        ACCESS_REFUSED if is_in_use => BrokerError::InUse { what, reason },
        ACCESS_REFUSED => BrokerError::Denied { what, reason },
        NOT_FOUND if is_absent => BrokerError::Absent { what, reason },
        NOT_FOUND if !is_exchange => BrokerError::NodeDown { what, reason },
        PRECONDITION_FAILED if is_ack_timeout => BrokerError::AckTimeout { what, reason },
        _ => BrokerError::Unusable { what, reason },
    }
}

/// The error for a queue whose node does not reply.
pub(crate) fn node_down(queue: &str) -> BrokerError {
    BrokerError::NodeDown {
        what: format!("queue `{queue}`"),
        reason: "the broker replies to other requests, but not to those for this queue".to_owned(),
    }
}

/// The I/O error that caused `error`, if there is one.
pub(crate) fn io_error(error: &Error) -> Option<&io::Error> {
    match error.kind() {
        ErrorKind::IOError(error) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, text: &str) -> Refusal {
        Refusal { code, text: text.to_owned() }
    }

    #[test]
    fn the_size_limit_is_parsed_from_the_texts_of_all_versions() {
        for (text, limit) in [
            (
                "PRECONDITION_FAILED - message size 20971520 is larger than configured max size \
                 16777216",
                Some(16_777_216),
            ),
            ("PRECONDITION_FAILED - message size 9 larger than max size 5", Some(5)),
            ("PRECONDITION_FAILED - message size 9 larger than max size 5 bytes", Some(5)),
            ("PRECONDITION_FAILED - message size 9 is too large", None),
            ("PRECONDITION_FAILED - message size 9 is over max size many", None),
            ("PRECONDITION_FAILED - unknown delivery tag 5", None),
        ] {
            assert_eq!(refusal(406, text).size_limit(), limit, "{text}");
        }
        assert_eq!(refusal(403, "message size 9 over max size 5").size_limit(), None);
    }

    #[test]
    fn the_refused_exchange_is_parsed_from_the_text() {
        for text in [
            "ACCESS_REFUSED - access to exchange 'ns.task' in vhost '/' refused for user 'ann'",
            "ACCESS_REFUSED - write access to exchange 'ns.task' in vhost '/' refused for user 'a'",
            "NOT_FOUND - no exchange 'ns.task' in vhost '/'",
        ] {
            assert_eq!(refusal(403, text).exchange(), Some("ns.task"), "{text}");
        }
        assert_eq!(refusal(403, "ACCESS_REFUSED").exchange(), None);
    }
}
