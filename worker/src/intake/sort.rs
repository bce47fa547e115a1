//! What to do with a delivery.

use std::sync::Arc;

use phalanx_core::{
    broker::{Delivery, MessageKind, Settle},
    registry::Refusal,
    wire::{ProbeReply, ReturnReason, TaskKind, TaskMessage, WIRE_VERSION, WireError},
};

use super::Refusing;
use crate::{
    answer::{Answer, ReturnAddress},
    engine::Engine,
};

/// Runs, answers or rejects a delivery.
pub(super) fn sort(engine: &Arc<Engine>, delivery: Delivery, refusing: &Arc<Refusing>) {
    let Some(address) = ReturnAddress::of(&delivery.message.properties) else {
        tracing::warn!("a message without a return address goes to the dead letters");
        return delivery.settle(Settle::Reject);
    };
    // Unread: it may be what killed the worker that had it before (rule 6).
    if delivery.redelivered {
        let ticket = engine.ticket(delivery, address, refusing);
        return ticket.give_back(ReturnReason::Redelivered, None);
    }
    let task = decode(&delivery, &address);
    let ticket = engine.ticket(delivery, address, refusing);
    let task = match task {
        Ok(task) => task,
        Err(refusal) => return ticket.refuse(refusal),
    };
    if let TaskKind::Probe { pool, nonce } = task.header.kind {
        return ticket.answer(Answer::Probe(ProbeReply { pool, nonce }));
    }
    if engine.leaders().is_dead(task.header.leader, task.header.job) {
        return ticket.forget();
    }
    if engine.draining.is_cancelled() {
        return ticket.give_back(ReturnReason::Draining, None);
    }
    match engine.operations.pipeline(&task.header.steps) {
        Ok(pipeline) => engine.run(task, pipeline, ticket),
        Err(refusal) => ticket.refuse(refusal),
    }
}

fn decode(delivery: &Delivery, address: &ReturnAddress) -> Result<TaskMessage, Refusal> {
    let message = |reason: String| Refusal::Message { reason };
    let properties = &delivery.message.properties;
    if properties.kind.is_some_and(|kind| kind != MessageKind::Task) {
        return Err(message("not a task".to_owned()));
    }
    let task = TaskMessage::decode(&delivery.message.body).map_err(|error| match error {
        WireError::Version { found } => Refusal::WireVersion { found, spoken: WIRE_VERSION },
        other => message(other.to_string()),
    })?;
    let header = &task.header;
    let said = ReturnAddress { leader: header.leader, task: header.task, attempt: header.attempt };
    if said != *address {
        return Err(message("its properties speak of another task".to_owned()));
    }
    Ok(task)
}
