//! Decides which messages a refusal concerns.
//!
//! The broker refuses a message by closing the channel, and all messages in flight fail with it.
//! The text of the refusal does not identify the message.

use phalanx_core::broker::PublishError;

use crate::error::{ACCESS_REFUSED, NOT_FOUND, Refusal};

/// The error of each message (exchange and size in bytes) that the refusal concerns; `None` for the
/// others, of which it is unknown whether the broker has them.
///
/// A message that was alone in flight is always the one refused, unless the exchange that it lacked
/// has been `redeclared`. So no message is republished endlessly.
pub(crate) fn verdicts(
    refusal: &Refusal,
    redeclared: bool,
    messages: Vec<(&str, u64)>,
) -> Vec<Option<PublishError>> {
    let refused = || PublishError::Refused { reason: refusal.text.clone() };
    let alone = messages.len() == 1;
    let verdict = |(exchange, size)| match (refusal.code, refusal.size_limit(), refusal.exchange())
    {
        (_, Some(limit), _) if size > limit => Some(PublishError::TooLarge { size, limit }),
        (NOT_FOUND, _, _) if redeclared => None,
        (ACCESS_REFUSED | NOT_FOUND, _, Some(at_fault)) if at_fault == exchange => Some(refused()),
        _ if alone => Some(refused()),
        _ => None,
    };
    messages.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(code: u16, text: &str, redeclared: bool, messages: &[(&str, u64)]) -> Vec<String> {
        let refusal = Refusal { code, text: text.to_owned() };
        let verdicts = verdicts(&refusal, redeclared, messages.to_vec());
        let name = |verdict| match verdict {
            None => "lost".to_owned(),
            Some(PublishError::TooLarge { size, limit }) => format!("{size} > {limit}"),
            Some(_) => "refused".to_owned(),
        };
        verdicts.into_iter().map(name).collect()
    }

    #[test]
    fn only_the_message_above_the_limit_is_too_large() {
        let text = "PRECONDITION_FAILED - message size 9 is larger than configured max size 5";
        assert_eq!(
            named(406, text, false, &[("e", 3), ("e", 9), ("f", 5)]),
            ["lost", "9 > 5", "lost"]
        );
    }

    #[test]
    fn only_messages_to_the_exchange_at_fault_are_refused() {
        let text = "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'";
        assert_eq!(named(403, text, false, &[("e", 1), ("f", 1)]), ["refused", "lost"]);
        let text = "NOT_FOUND - no exchange 'e' in vhost '/'";
        assert_eq!(named(404, text, false, &[("e", 1), ("f", 1)]), ["refused", "lost"]);
        assert_eq!(named(404, text, true, &[("e", 1), ("f", 1)]), ["lost", "lost"]);
        assert_eq!(named(404, text, true, &[("e", 1)]), ["lost"]);
    }

    #[test]
    fn a_refusal_for_unknown_reasons_concerns_a_message_only_if_it_is_alone() {
        assert_eq!(
            named(406, "PRECONDITION_FAILED", false, &[("e", 1), ("e", 9)]),
            ["lost", "lost"]
        );
        assert_eq!(named(406, "PRECONDITION_FAILED", false, &[("e", 9)]), ["refused"]);
    }
}
