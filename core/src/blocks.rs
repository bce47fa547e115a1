//! Publishes blocks until their queues have them.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    broker::{Address, Broker, Message, MessageKind, Properties, PublishError, ShuffleQueue},
    id::LeaderId,
    wire::WIRE_VERSION,
};

/// The first pause before a block is published again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Publishes a block, however often, until its queue has it: with the same bytes, so that its reader
/// drops second copies (rule 29).
///
/// After each try without success `goes_on` is told whether the block had no queue, and says whether
/// there is another one. Returns whether the queue has the block.
///
/// # Errors
/// If the broker refuses the block, or was closed on this side.
pub async fn publish(
    broker: &dyn Broker,
    leader: LeaderId,
    queue: &ShuffleQueue,
    body: Bytes,
    mut goes_on: impl FnMut(bool) -> bool,
) -> Result<bool, PublishError> {
    let properties = Properties {
        kind: Some(MessageKind::Block),
        wire_version: WIRE_VERSION,
        reply_to: Some(leader),
        persistent: true,
        ..Properties::default()
    };
    let (address, mut pause) = (Address::blocks(queue), FIRST_PAUSE);
    loop {
        let message = Message { properties: properties.clone(), body: body.clone() };
        let has_no_queue = match broker.publish_mandatory(&address, message).await {
            Ok(true) => return Ok(true),
            Ok(false) => true,
            Err(PublishError::Lost | PublishError::Nacked { .. }) => false,
            Err(error) => return Err(error),
        };
        tracing::debug!(%queue, has_no_queue, "could not publish a block");
        if !goes_on(has_no_queue) {
            return Ok(false);
        }
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
        // Fails if the broker object is gone; then publishing fails too.
        let _ = broker.health().wait_for(|health| health.is_well()).await;
    }
}
