//! What lapin reports, as the broker errors of Phalanx.
//!
//! Texts come from the broker and the system only; lapin is never asked for a URL, so that no
//! password can be in them.

use std::io;

use lapin::{Error, ErrorKind};
use phalanx_core::broker::BrokerError;

pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
pub(crate) const NOT_ALLOWED: u16 = 530;

/// What the broker answered in place of doing it: a reply code and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Refusal {
    /// What closed the channel or the connection, if the broker did.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::ProtocolError(error) => {
                Some(Self { code: error.get_id(), text: error.get_message().to_string() })
            }
            _ => None,
        }
    }

    /// The exchange that it speaks of: `… exchange 'NAME' in vhost …`.
    pub(crate) fn exchange(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once("exchange '")?;
        rest.split_once('\'').map(|(name, _)| name)
    }

    /// The largest message that the broker takes: `message size A is larger than configured max
    /// size B`, and variants of it over the versions.
    pub(crate) fn size_limit(&self) -> Option<u64> {
        if self.code != PRECONDITION_FAILED || !self.text.contains("message size") {
            return None;
        }
        let (_, limit) = self.text.rsplit_once("max size ")?;
        let digits = limit.find(|c: char| !c.is_ascii_digit()).unwrap_or(limit.len());
        limit[..digits].parse().ok()
    }
}

/// Why something did not come about on a connection.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker will not do it, now or later.
    Refused(BrokerError),
    /// The queue is on a node of the cluster that is down: not before that comes back.
    Away(BrokerError),
    /// The connection or the channel ended first: to be tried again.
    Lost(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

/// The error for a refusal that concerns `what`.
pub(crate) fn refused(what: &str, refusal: Refusal) -> BrokerError {
    let (what, reason) = (what.to_owned(), refusal.text);
    match refusal.code {
        ACCESS_REFUSED => BrokerError::Denied { what, reason },
        _ => BrokerError::Unusable { what, reason },
    }
}

/// The system's own error where there is one beneath.
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
    fn the_size_limit_is_read_from_the_texts_of_all_versions() {
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
    fn the_exchange_at_fault_is_read_from_the_text() {
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
