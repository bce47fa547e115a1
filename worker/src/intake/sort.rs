//! What to do with a delivery.

use std::sync::Arc;

use phalanx_core::{
    broker::{Delivery, MessageKind, Settle},
    registry::Refusal,
    wire::{
        Probe, ProbeReply, ReturnReason, TaskMessage, WIRE_VERSION, WireError,
        timing::LEADER_TIMEOUT,
    },
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
    if delivery.message.properties.kind == Some(MessageKind::Probe) {
        let probe = Probe::decode(&delivery.message.body).map_err(refusal);
        let ticket = engine.ticket(delivery, address, refusing);
        return match probe {
            Ok(Probe { pool, nonce, .. }) => {
                ticket.answer(Answer::Probe(ProbeReply { pool, nonce }))
            }
            Err(refusal) => ticket.refuse(refusal),
        };
    }
    let task = decode(&delivery, &address);
    let ticket = engine.ticket(delivery, address, refusing);
    let task = match task {
        Ok(task) => task,
        Err(refusal) => return ticket.refuse(refusal),
    };
    let silence = {
        let (mut leaders, leader) = (engine.leaders(), task.header.leader);
        if leaders.is_dead(leader, task.header.job) {
            return ticket.forget();
        }
        leaders.meet(leader);
        leaders.silence(leader)
    };
    if silence >= LEADER_TIMEOUT {
        return ticket.give_back(ReturnReason::LeaderSilent, None);
    }
    if engine.draining.is_cancelled() {
        return ticket.give_back(ReturnReason::Draining, None);
    }
    if task.header.isolated
        && let Some(crew) = &engine.crew
    {
        return engine.run_isolated(task, crew, ticket);
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
    let task = TaskMessage::decode(&delivery.message.body).map_err(refusal)?;
    let header = &task.header;
    let said = ReturnAddress { leader: header.leader, copy: Some(header.copy) };
    if said != *address {
        return Err(message("its properties speak of another task".to_owned()));
    }
    Ok(task)
}

fn refusal(error: WireError) -> Refusal {
    match error {
        WireError::Version { found } => Refusal::WireVersion { found, supported: WIRE_VERSION },
        other => Refusal::Message { reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use phalanx_core::{
        broker::{Message, Pool, Properties, Settle},
        id::JobId,
        wire::{Control, ReturnReason},
    };

    use super::*;
    use crate::testing::{Bench, TestOp, eventually, reference};

    fn append() -> Vec<phalanx_core::registry::StepReference> {
        vec![reference(TestOp::Append('x'), None)]
    }

    #[tokio::test]
    async fn a_redelivered_task_is_returned_and_never_run() {
        let bench = Bench::start(|_| {});
        let (number, message) = bench.message(append(), &["a"], |_| {});
        bench.broker.send_task(message, true);
        bench.answered(1).await;
        assert_eq!(bench.why(number), ReturnReason::Redelivered);
        assert!(bench.steps.ran().is_empty());
        assert_eq!(bench.broker.log(), ["confirm", "settle"]);
    }

    #[tokio::test]
    async fn what_has_no_return_address_goes_to_the_dead_letters() {
        let bench = Bench::start(|_| {});
        let garbage = Message { properties: Properties::default(), body: Bytes::from_static(b"?") };
        bench.broker.send_task(garbage, false);
        bench.answered(1).await;
        assert_eq!(bench.broker.settled(), [(1, Settle::Reject)]);
        assert!(bench.said().is_empty());
    }

    #[tokio::test]
    async fn garbage_with_a_return_address_is_refused() {
        for (body, version) in [(&b"\x01\x00garbage"[..], false), (&b"\x09\x00"[..], true)] {
            let bench = Bench::start(|_| {});
            let (number, mut message) = bench.message(append(), &["a"], |_| {});
            message.body = Bytes::from_static(body);
            bench.broker.send_task(message, false);
            bench.answered(1).await;
            match bench.why(number) {
                ReturnReason::Refused(Refusal::WireVersion { found: 9, .. }) => assert!(version),
                ReturnReason::Refused(Refusal::Message { .. }) => assert!(!version),
                other => panic!("{other:?}"),
            }
            bench.audit();
        }
    }

    #[tokio::test]
    async fn a_probe_is_answered_without_running_anything() {
        let bench = Bench::start(|_| {});
        let probe = TaskKind::Probe { pool: Pool::default(), nonce: 7 };
        let (_, message) = bench.message(vec![], &[], |header| header.kind = probe);
        bench.broker.send_task(message, false);
        bench.answered(1).await;
        let replies = bench.broker.published(phalanx_core::broker::Exchange::Reply);
        assert_eq!(ProbeReply::decode(&replies[0].body).unwrap().nonce, 7);
        bench.audit();
    }

    #[tokio::test]
    async fn a_task_of_a_dead_job_is_acked_without_an_answer() {
        let bench = Bench::start(|_| {});
        let dead = JobId::new();
        bench.say(&Control::Alive {
            leader: bench.leader,
            heartbeat: 1,
            up_to: Some(dead),
            live: vec![],
        });
        eventually("the leader is known", || {
            let events = bench.broker.published(phalanx_core::broker::Exchange::Event);
            events.len() >= 2
        })
        .await;
        bench.send_task(append(), &["a"], |header| header.job = dead);
        bench.answered(1).await;
        assert_eq!(bench.broker.settled(), [(1, Settle::Ack)]);
        assert!(bench.said().is_empty() && bench.steps.ran().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_waited_while_its_job_died_is_not_run() {
        let bench = Bench::start(|_| {});
        bench.send_task(vec![reference(TestOp::WaitOn('a'), None)], &["a"], |_| {});
        let dead = JobId::new();
        bench.send_task(append(), &["b"], |header| header.job = dead);
        eventually("the first runs", || bench.steps.ran().len() == 1).await;
        bench.say(&Control::Cancel { leader: bench.leader, job: dead });
        bench.say(&Control::Alive {
            leader: bench.leader,
            heartbeat: 1,
            up_to: None,
            live: vec![],
        });
        eventually("the leader is known", || {
            bench.broker.published(phalanx_core::broker::Exchange::Event).len() >= 2
        })
        .await;
        bench.steps.open_gate();
        bench.answered(2).await;
        assert_eq!(bench.steps.ran(), ["a"]);
        assert_eq!(bench.said().len(), 1);
        bench.audit();
    }
}
