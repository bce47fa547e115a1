//! The arguments of queues, as tables of lapin.

use lapin::types::{AMQPValue, FieldTable, LongString};

/// Always sets the queue type: an operator may have changed the default of the virtual host.
pub(crate) fn arguments_of_type(queue_type: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    set_text(&mut arguments, "x-queue-type", queue_type);
    arguments
}

pub(crate) fn set(arguments: &mut FieldTable, name: &str, value: i64) {
    arguments.insert(name.into(), AMQPValue::LongLongInt(value));
}

pub(crate) fn set_text(arguments: &mut FieldTable, name: &str, value: &str) {
    arguments.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
}
