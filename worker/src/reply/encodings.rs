//! The encodings of failed elements in replies. Only dead letters need them, so they are left out
//! of a reply that is too large for the broker.

use bytes::Bytes;
use phalanx_core::{
    broker::MessageKind,
    wire::{GatheredElement, Outcome, ResultMessage, Return},
};

/// The same reply without encodings; `None` if it has none.
pub(super) fn without_encodings(kind: MessageKind, body: &Bytes) -> Option<Bytes> {
    match kind {
        MessageKind::Result => {
            let mut message = ResultMessage::decode(body).ok()?;
            let segments = message.header.segments.iter_mut();
            let elements = segments.filter_map(|segment| match &mut segment.outcome {
                Outcome::Failed { element, .. } => element.as_deref_mut(),
                _ => None,
            });
            leave_out(elements).then(|| message.encode().ok())?
        }
        MessageKind::Return => {
            let mut returned = Return::decode(body).ok()?;
            leave_out(returned.element.as_deref_mut()).then(|| returned.encode().ok())?
        }
        _ => None,
    }
}

/// Whether there were encodings.
fn leave_out<'e>(elements: impl IntoIterator<Item = &'e mut GatheredElement>) -> bool {
    let with_encodings = elements.into_iter().filter(|element| element.encodings.is_some());
    with_encodings.map(GatheredElement::leave_out_encodings).count() > 0
}
