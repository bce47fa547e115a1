//! Lines for people on standard error, in programs that do not listen to log events.
//!
//! What they say is also logged. They are for a program without a `tracing` subscriber, which would
//! otherwise wait for a broker or a worker without a word.

use std::{fmt, io::Write};

use tracing::{dispatcher, subscriber::NoSubscriber};

use crate::{broker::Health, report::Printable};

/// Prints notices, unless the program is quiet.
#[derive(Debug, Clone, Copy)]
pub struct Notices {
    quiet: bool,
}

impl Notices {
    /// `quiet` prints nothing.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Prints a line, unless the program is quiet or has a `tracing` subscriber.
    pub fn print(self, line: impl fmt::Display) {
        if self.speaks() {
            // Nobody may read standard error any more, which is no reason to fail.
            let _ = writeln!(std::io::stderr().lock(), "phalanx: {}", Printable(&line.to_string()));
        }
    }

    fn speaks(self) -> bool {
        !self.quiet && dispatcher::get_default(|dispatch| dispatch.is::<NoSubscriber>())
    }
}

/// What people are told of the connection to the broker: each change once.
#[derive(Debug, Default)]
pub struct ConnectionNotices {
    /// The reason that was told last, while the connection is lost.
    lost: Option<String>,
    blocked: bool,
}

impl ConnectionNotices {
    /// The lines for a change of health, in order.
    pub fn lines(&mut self, health: &Health) -> Vec<String> {
        // Before the first connection, connecting fails with an error.
        let is_lost = !health.connected && health.generation > 0;
        let lost = is_lost.then(|| health.lost_because().to_owned());
        let blocked = health.connected && health.blocked.is_some();
        let mut lines = Vec::new();
        match (std::mem::replace(&mut self.lost, lost.clone()), lost) {
            (None, Some(reason)) => {
                lines.push(format!("lost the connection to the broker: {reason}; reconnecting"));
            }
            (Some(told), Some(reason)) if told != reason => {
                lines.push(format!("cannot reconnect to the broker yet: {reason}"));
            }
            (Some(_), None) => lines.push("connected to the broker again".to_owned()),
            _ => {}
        }
        match (std::mem::replace(&mut self.blocked, blocked), &health.blocked) {
            (false, Some(reason)) if blocked => {
                lines.push(format!("the broker accepts no messages: {reason}"));
            }
            (true, None) if !is_lost => lines.push("the broker accepts messages again".to_owned()),
            _ => {}
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use tracing::{Event, Metadata, Subscriber, span};

    use super::*;

    struct Listening;

    impl Subscriber for Listening {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            false
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &Event<'_>) {}

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_quiet_program_and_one_with_a_subscriber_print_nothing() {
        assert!(Notices::new(false).speaks());
        assert!(!Notices::new(true).speaks());
        tracing::subscriber::with_default(Listening, || assert!(!Notices::new(false).speaks()));
    }

    #[test]
    fn each_change_of_the_connection_is_told_once() {
        let health = |connected, blocked: Option<&str>| Health {
            generation: 1,
            connected,
            blocked: blocked.map(str::to_owned),
            reason: Some("reset by peer".to_owned()),
        };
        let mut notices = ConnectionNotices::default();
        assert_eq!(notices.lines(&Health::default()), [""; 0]);
        assert_eq!(notices.lines(&health(true, None)), [""; 0]);
        let blocked = ["the broker accepts no messages: low on memory"];
        assert_eq!(notices.lines(&health(true, Some("low on memory"))), blocked);
        assert_eq!(notices.lines(&health(true, Some("low on memory"))), [""; 0]);
        assert_eq!(notices.lines(&health(true, None)), ["the broker accepts messages again"]);
        let lost = ["lost the connection to the broker: reset by peer; reconnecting"];
        assert_eq!(notices.lines(&health(false, None)), lost);
        assert_eq!(notices.lines(&health(false, None)), [""; 0]);
        let refused = Health { reason: Some("refused".to_owned()), ..health(false, None) };
        assert_eq!(notices.lines(&refused), ["cannot reconnect to the broker yet: refused"]);
        assert_eq!(notices.lines(&health(true, None)), ["connected to the broker again"]);
    }
}
