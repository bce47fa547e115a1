//! Decodes messages to inputs of the engine.

use crate::{
    broker::{Message, MessageKind},
    leader::engine::Input,
    wire::{Event, Lease, ProbeReply, ResultMessage, Return, WireError},
};

/// Decodes a message of the reply queue; `None` for a message that is not a reply and names no
/// task.
pub(super) fn reply(message: &Message) -> Option<Input> {
    let body = &message.body;
    let decoded = match message.properties.kind {
        Some(MessageKind::Result) => ResultMessage::decode(body).map(Input::Result),
        Some(MessageKind::Return) => Return::decode(body).map(Input::Return),
        Some(MessageKind::Lease) => Lease::decode(body).map(Input::Lease),
        Some(MessageKind::ProbeReply) => ProbeReply::decode(body).map(Input::ProbeReply),
        other => Err(WireError::Malformed { reason: format!("{other:?} is not a reply") }),
    };
    match decoded {
        Ok(input) => Some(input),
        Err(error) => {
            tracing::warn!(%error, "received an undecodable reply");
            // Its worker has acked the task, so no other reply will come.
            let copy = message.properties.copy?;
            Some(Input::UndecodableReply { copy, reason: error.to_string() })
        }
    }
}

/// Decodes a message of the event queue; `None` if it does not decode.
pub(super) fn event(message: &Message) -> Option<Input> {
    match Event::decode(&message.body) {
        Ok(Event::Hello(presence)) => Some(Input::Hello(Box::new(presence))),
        Ok(Event::Presence(presence)) => Some(Input::Presence(Box::new(presence))),
        Ok(Event::Bye { worker }) => Some(Input::Bye(worker)),
        Err(error) => {
            tracing::debug!(%error, "dropping an undecodable event");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        broker::Properties,
        id::{CopyId, TaskNumber, WorkerId},
    };

    fn message(kind: Option<MessageKind>, copy: Option<CopyId>, body: Bytes) -> Message {
        Message { properties: Properties { kind, copy, ..Properties::default() }, body }
    }

    #[test]
    fn a_reply_that_does_not_decode_becomes_an_input_about_its_copy() {
        let copy = CopyId::new(TaskNumber(7), 2);
        for kind in [Some(MessageKind::Result), Some(MessageKind::Control), None] {
            let input = reply(&message(kind, Some(copy), Bytes::from_static(b"?")));
            assert!(
                matches!(input, Some(Input::UndecodableReply { copy: about, .. }) if about == copy)
            );
        }
        assert!(reply(&message(Some(MessageKind::Result), None, Bytes::new())).is_none());
    }

    #[test]
    fn events_become_inputs_and_other_messages_are_dropped() {
        let worker = WorkerId::new();
        let bye = Event::Bye { worker }.encode().unwrap();
        let input = event(&message(Some(MessageKind::Event), None, bye));
        assert!(matches!(input, Some(Input::Bye(gone)) if gone == worker));
        assert!(event(&message(None, None, Bytes::from_static(b"noise"))).is_none());
    }
}
