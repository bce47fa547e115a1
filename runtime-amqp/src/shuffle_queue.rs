//! The arguments of queues of blocks.

use lapin::types::FieldTable;
use phalanx_core::broker::ShuffleQueue;

use crate::{
    arguments::{arguments_of_type, set, set_text},
    version::ServerVersion,
};

/// The argument that spreads classic queues over the nodes of a cluster is spelled differently from
/// this version on, and each version refuses the other spelling.
const LEADER_LOCATOR: ServerVersion = ServerVersion::new(4, 0);
/// From this version on, a classic queue writes all its messages to disk whatever its mode, which
/// later versions refuse.
const ALWAYS_LAZY: ServerVersion = ServerVersion::new(3, 12);

/// The arguments of a queue of blocks at a broker of this version; a broker of an unknown version
/// counts as a new one.
///
/// - Classic: a quorum queue ignores that a consumer is exclusive, and drops what was read often.
/// - No limit of length, because it would drop blocks.
/// - Before 3.12, lazy and never `x-queue-version: 2`: other queues keep their first messages in
///   memory. Nobody reads before all is written, so a memory alarm would block the writers forever.
/// - The nodes of a cluster get as many queues each.
pub(crate) fn arguments(version: Option<ServerVersion>) -> FieldTable {
    let mut arguments = arguments_of_type("classic");
    set(&mut arguments, "x-expires", ShuffleQueue::EXPIRES.as_millis() as i64);
    let is_before = |first| version.is_some_and(|version| version < first);
    match is_before(LEADER_LOCATOR) {
        true => set_text(&mut arguments, "x-queue-master-locator", "min-masters"),
        false => set_text(&mut arguments, "x-queue-leader-locator", "balanced"),
    }
    if is_before(ALWAYS_LAZY) {
        set_text(&mut arguments, "x-queue-mode", "lazy");
    }
    arguments
}

#[cfg(test)]
mod tests {
    use lapin::types::AMQPValue;

    use super::*;

    fn of(version: Option<(u32, u32)>) -> Vec<(String, String)> {
        let arguments = arguments(version.map(|(major, minor)| ServerVersion::new(major, minor)));
        let text = |value: &AMQPValue| match value {
            AMQPValue::LongString(text) => text.to_string(),
            AMQPValue::LongLongInt(number) => number.to_string(),
            other => panic!("{other:?}"),
        };
        arguments.inner().iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    fn expected(others: &[(&str, &str)]) -> Vec<(String, String)> {
        let common = [("x-expires", "1800000"), ("x-queue-type", "classic")];
        let mut all: Vec<_> = common.iter().chain(others).collect();
        all.sort();
        all.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn before_3_12_a_queue_of_blocks_is_lazy_so_that_no_memory_alarm_blocks_its_writers() {
        let lazy = expected(&[("x-queue-mode", "lazy"), ("x-queue-master-locator", "min-masters")]);
        for version in [(3, 10), (3, 11)] {
            assert_eq!(of(Some(version)), lazy, "{version:?}");
        }
        for version in [(3, 12), (3, 13)] {
            let expected = expected(&[("x-queue-master-locator", "min-masters")]);
            assert_eq!(of(Some(version)), expected, "{version:?}");
        }
    }

    #[test]
    fn from_4_0_on_a_queue_of_blocks_has_only_arguments_that_are_not_deprecated() {
        for version in [Some((4, 0)), Some((4, 3)), Some((5, 0)), None] {
            let expected = expected(&[("x-queue-leader-locator", "balanced")]);
            assert_eq!(of(version), expected, "{version:?}");
        }
    }
}
