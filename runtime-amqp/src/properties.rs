//! Converts message properties to and from AMQP's basic properties.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use phalanx_core::broker::{Message, MessageKind, Properties};

/// The content type of all messages, followed by the wire version, so that the broker's user
/// interface shows it.
const CONTENT_TYPE: &str = "application/vnd.phalanx.v";
/// The most bytes of a header's value; the rest is cut off.
const MAX_HEADER_BYTES: usize = 1_024;
/// The most bytes of all headers; further headers are left out. They share one frame, which the
/// broker limits to 128 KiB by default. Nothing is lost to the protocol: headers are for people.
const MAX_HEADERS_BYTES: usize = 32 * 1_024;

/// Converts properties to those of AMQP.
pub(crate) fn to_amqp(properties: &Properties) -> BasicProperties {
    let mut amqp = BasicProperties::default()
        .with_content_type(format!("{CONTENT_TYPE}{}", properties.wire_version).into())
        .with_delivery_mode(if properties.persistent { 2 } else { 1 });
    if let Some(kind) = properties.kind {
        amqp = amqp.with_type(kind.name().into());
    }
    if let Some(leader) = properties.reply_to {
        amqp = amqp.with_reply_to(leader.to_string().into());
    }
    if let Some(copy) = properties.copy {
        amqp = amqp.with_correlation_id(copy.to_string().into());
    }
    if !properties.headers.is_empty() {
        amqp = amqp.with_headers(headers_to_amqp(&properties.headers));
    }
    amqp
}

fn headers_to_amqp(headers: &[(String, String)]) -> FieldTable {
    let mut table = FieldTable::default();
    let mut size = 0;
    for (name, value) in headers {
        let Ok(name) = ShortString::try_new(name.as_str()) else { continue };
        let value = &value[..value.floor_char_boundary_at(MAX_HEADER_BYTES)];
        size += name.as_str().len() + value.len();
        if size > MAX_HEADERS_BYTES {
            break;
        }
        table.insert(name, AMQPValue::LongString(LongString::from(value)));
    }
    table
}

/// `str::floor_char_boundary`, which the minimum supported Rust version does not have yet.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, at: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, at: usize) -> usize {
        (0..=at.min(self.len())).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// The message of a delivery.
///
/// Anyone with access to the broker can have written it: invalid properties are left out, and the
/// reader of the message decides what that means.
pub(crate) fn message(delivery: Delivery) -> Message {
    let amqp = &delivery.properties;
    let wire_version = amqp
        .content_type()
        .as_ref()
        .and_then(|content_type| content_type.as_str().strip_prefix(CONTENT_TYPE))
        .and_then(|version| version.parse().ok());
    let properties = Properties {
        kind: amqp.kind().as_ref().and_then(|kind| MessageKind::from_name(kind.as_str())),
        wire_version: wire_version.unwrap_or(0),
        reply_to: amqp.reply_to().as_ref().and_then(|leader| leader.as_str().parse().ok()),
        copy: amqp.correlation_id().as_ref().and_then(|copy| copy.as_str().parse().ok()),
        persistent: *amqp.delivery_mode() == Some(2),
        headers: amqp.headers().as_ref().map(headers_from_amqp).unwrap_or_default(),
    };
    Message { properties, body: Bytes::from(delivery.data) }
}

fn headers_from_amqp(table: &FieldTable) -> Vec<(String, String)> {
    let text = |value: &AMQPValue| match value {
        AMQPValue::LongString(value) => {
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        }
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    };
    let texts = table.inner().iter().filter_map(|(name, value)| Some((name, text(value)?)));
    texts.map(|(name, value)| (name.to_string(), value)).collect()
}

#[cfg(test)]
mod tests {
    use phalanx_core::id::{CopyId, LeaderId, TaskNumber};

    use super::*;

    fn round_trip(properties: &Properties) -> Properties {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        delivery.properties = to_amqp(properties);
        message(delivery).properties
    }

    #[test]
    fn properties_survive_a_round_trip() {
        let properties = Properties {
            kind: Some(MessageKind::ProbeReply),
            wire_version: 200,
            reply_to: Some(LeaderId::new()),
            copy: Some(CopyId::new(TaskNumber(7), 1)),
            persistent: true,
            headers: vec![("job".to_owned(), "j".to_owned()), ("stage".to_owned(), "ä".to_owned())],
        };
        assert_eq!(round_trip(&properties), properties);
        assert_eq!(round_trip(&Properties::default()), Properties::default());
    }

    #[test]
    fn headers_are_cut_to_fit_their_frame() {
        let headers = (0..100).map(|i| (format!("{i:02}"), "ä".repeat(2_000))).collect();
        let kept = round_trip(&Properties { headers, ..Default::default() }).headers;
        assert!(kept.len() > 10, "{}", kept.len());
        assert!(kept.iter().all(|(_, value)| value.len() <= MAX_HEADER_BYTES));
        assert!(kept.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>() <= MAX_HEADERS_BYTES);
    }

    #[test]
    fn invalid_properties_are_left_out() {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, b"x".to_vec());
        delivery.properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_type("greeting".into())
            .with_reply_to("not-a-leader".into())
            .with_correlation_id("many/words".into());
        let message = message(delivery);
        assert_eq!(message.properties, Properties::default());
        assert_eq!(message.body.as_ref(), b"x");
    }
}
