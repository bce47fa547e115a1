//! Names each element of a task in a lease before it runs, so that it is to blame if it ends the
//! worker (rule 7).

use std::sync::Arc;

use phalanx_core::{
    broker::{Address, Message, MessageKind, Properties, PublishError},
    wire::{Lease, LeasedTask, TaskHeader, WIRE_VERSION},
};
use tokio::runtime::Handle;

use super::RETRY_PAUSE;
use crate::{process_kind::ChunkReporter, shared::Shared};

/// Publishes a lease that names the next element, and returns when the broker has confirmed it.
/// Must be called within a Tokio runtime; what it returns blocks its thread.
pub(crate) fn name_elements(shared: &Arc<Shared>, header: &TaskHeader) -> ChunkReporter {
    let (shared, leader, copy) = (Arc::clone(shared), header.leader, header.copy);
    let runtime = Handle::current();
    Arc::new(move |offset| {
        let (worker, heartbeat) = (shared.worker(), shared.next_heartbeat());
        let tasks = vec![LeasedTask { copy, offset, in_process: true }];
        let Ok(body) = (Lease { worker, heartbeat, tasks }).encode() else { return };
        let properties = Properties {
            kind: Some(MessageKind::Lease),
            wire_version: WIRE_VERSION,
            persistent: true,
            ..Properties::default()
        };
        let message = Message { properties, body };
        let address = Address::replies(leader);
        runtime.block_on(async {
            let confirmed = async {
                while let Err(PublishError::Lost | PublishError::Nacked { .. }) =
                    shared.broker().publish_mandatory(&address, message.clone()).await
                {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    // Fails if the broker object is gone; then publishing fails too.
                    let _ = shared.broker().health().wait_for(|health| health.is_well()).await;
                }
            };
            // Cancel-safe: both only wait, and a stopped worker runs no further element.
            tokio::select! {
                () = confirmed => {}
                () = shared.shutdown().stopping() => {}
            }
        });
    })
}
