//! Decides whether a delivery is run, returned or rejected.

use std::sync::Arc;

use phalanx_core::{
    broker::{Delivery, MessageKind, Settle},
    registry::Refusal,
    wire::{Probe, ProbeReply, ReturnReason, TaskMessage, WIRE_VERSION, WireError},
};

use super::TaskIntake;
use crate::{
    leaders::LeaderState,
    lease::name_elements,
    reply::{RefusalBackoff, Reply, ReplyAddress},
    shared::Shared,
};

/// Runs, returns or rejects a delivery, or replies to a probe.
pub(super) fn triage(intake: &TaskIntake, delivery: Delivery, backoff: &Arc<RefusalBackoff>) {
    let Some(address) = ReplyAddress::of(&delivery.message.properties) else {
        tracing::warn!("received a message without a reply address; rejecting it");
        return delivery.settle(Settle::Reject);
    };
    // Not even decoded: the task may have killed the worker that held it before (rule 6).
    if delivery.redelivered {
        let pending = intake.replies.pending(delivery, address, backoff);
        return pending.return_unrun(ReturnReason::Redelivered, None);
    }
    if delivery.message.properties.kind == Some(MessageKind::Probe) {
        let probe = decode_probe(&delivery, &address);
        let pending = intake.replies.pending(delivery, address, backoff);
        return match probe {
            Ok(Probe { pool, nonce, .. }) => {
                pending.reply(Reply::Probe(ProbeReply { pool, nonce }));
            }
            Err(refusal) => pending.refuse(refusal),
        };
    }
    let task = decode(&delivery, &address);
    let pending = intake.replies.pending(delivery, address, backoff);
    let task = match task {
        Ok(task) => task,
        Err(refusal) => return pending.refuse(refusal),
    };
    let header = &task.header;
    match intake.leaders.task_arrived(header.leader, header.job) {
        LeaderState::JobDead => return pending.discard(),
        LeaderState::Silent => {
            return pending.return_unrun(ReturnReason::LeaderTimeout, None);
        }
        LeaderState::Live => {}
    }
    if intake.shared.shutdown().is_draining() {
        return pending.return_unrun(ReturnReason::Draining, None);
    }
    if header.isolated
        && let Some(children) = intake.executor.children().filter(|children| children.is_able())
    {
        let kind = intake.pipelines.kind(&header.steps);
        return intake.executor.run_isolated(task, kind, children, pending);
    }
    match intake.pipelines.get(&header.steps) {
        Ok(pipeline) if header.isolated && must_name_elements(&intake.shared) => {
            let name = name_elements(&intake.shared, header);
            intake.executor.run_in_process(task, pipeline, name, pending);
        }
        Ok(pipeline) => intake.executor.run(task, pipeline, pending),
        Err(refusal) => pending.refuse(refusal),
    }
}

/// Whether a leader must learn which element of an isolated task begins: in a child process the
/// parent does, and in memory the leader dies with its workers.
fn must_name_elements(shared: &Shared) -> bool {
    !shared.is_child() && shared.broker().url().scheme() != "memory"
}

fn decode(delivery: &Delivery, address: &ReplyAddress) -> Result<TaskMessage, Refusal> {
    let message = |reason: String| Refusal::Message { reason };
    let properties = &delivery.message.properties;
    if properties.kind.is_some_and(|kind| kind != MessageKind::Task) {
        return Err(message("the message is not a task".to_owned()));
    }
    let task = TaskMessage::decode(&delivery.message.body).map_err(refusal)?;
    let header = &task.header;
    let expected = ReplyAddress { leader: header.leader, copy: Some(header.copy) };
    if expected != *address {
        return Err(message("its properties and its header name different tasks".to_owned()));
    }
    Ok(task)
}

fn decode_probe(delivery: &Delivery, address: &ReplyAddress) -> Result<Probe, Refusal> {
    let probe = Probe::decode(&delivery.message.body).map_err(refusal)?;
    if probe.leader != address.leader {
        let reason = "its properties and its body name different leaders".to_owned();
        return Err(Refusal::Message { reason });
    }
    Ok(probe)
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
        id::{JobId, LeaderId},
        wire::{Control, Return, ReturnReason},
    };

    use super::*;
    use crate::testing::{TestOp, TestRig, eventually};

    fn append(rig: &TestRig) -> Vec<phalanx_core::registry::StepReference> {
        vec![rig.step(&TestOp::Append('x'))]
    }

    #[tokio::test]
    async fn a_redelivered_task_is_returned_and_never_run() {
        let rig = TestRig::start(|_| {});
        let (number, message) = rig.message(append(&rig), &["a"], |_| {});
        rig.broker.send_task(message, true);
        rig.after_settled(1).await;
        assert_eq!(rig.return_reason(number), ReturnReason::Redelivered);
        assert!(rig.operations.ran().is_empty());
        assert_eq!(rig.broker.log(), ["confirm", "settle"]);
    }

    #[tokio::test]
    async fn a_message_without_a_reply_address_is_rejected() {
        let rig = TestRig::start(|_| {});
        let garbage = Message { properties: Properties::default(), body: Bytes::from_static(b"?") };
        rig.broker.send_task(garbage, false);
        rig.after_settled(1).await;
        assert_eq!(rig.broker.settled(), [(1, Settle::Reject)]);
        assert!(rig.replies().is_empty());
    }

    #[tokio::test]
    async fn an_invalid_message_with_a_reply_address_is_refused() {
        for (body, version) in [(&b"\x01\x00garbage"[..], false), (&b"\x09\x00"[..], true)] {
            let rig = TestRig::start(|_| {});
            let (number, mut message) = rig.message(append(&rig), &["a"], |_| {});
            message.body = Bytes::from_static(body);
            rig.broker.send_task(message, false);
            rig.after_settled(1).await;
            match rig.return_reason(number) {
                ReturnReason::Refused(Refusal::WireVersion { found: 9, .. }) => assert!(version),
                ReturnReason::Refused(Refusal::Message { .. }) => assert!(!version),
                other => panic!("{other:?}"),
            }
            rig.assert_settled_once();
        }
    }

    /// A probe of `leader`, to be replied to at the leader of the rig.
    fn probe(rig: &TestRig, leader: LeaderId) -> Message {
        let probe = Probe { leader, pool: Pool::default(), nonce: 7 };
        let properties = Properties {
            kind: Some(MessageKind::Probe),
            wire_version: WIRE_VERSION,
            reply_to: Some(rig.leader),
            ..Properties::default()
        };
        Message { properties, body: probe.encode().unwrap() }
    }

    #[tokio::test]
    async fn a_probe_gets_a_reply_and_runs_nothing() {
        let rig = TestRig::start(|_| {});
        rig.broker.send_task(probe(&rig, rig.leader), false);
        rig.after_settled(1).await;
        let replies = rig.broker.published(phalanx_core::broker::Exchange::Reply);
        assert_eq!(ProbeReply::decode(&replies[0].body).unwrap().nonce, 7);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_probe_that_is_not_of_its_reply_address_is_refused() {
        let rig = TestRig::start(|_| {});
        rig.broker.send_task(probe(&rig, LeaderId::new()), false);
        rig.after_settled(1).await;
        let replies = rig.broker.published(phalanx_core::broker::Exchange::Reply);
        assert_eq!(replies[0].properties.kind, Some(MessageKind::Return));
        let returned = Return::decode(&replies[0].body).unwrap();
        assert_eq!(returned.copy, None);
        let is_refused = matches!(returned.reason, ReturnReason::Refused(Refusal::Message { .. }));
        assert!(is_refused, "{:?}", returned.reason);
        rig.assert_settled_once();
    }

    #[tokio::test]
    async fn a_task_of_a_dead_job_is_acked_without_a_reply() {
        let rig = TestRig::start(|_| {});
        let dead = JobId::new();
        rig.send_control(&Control::Alive {
            leader: rig.leader,
            heartbeat: 1,
            up_to: Some(dead),
            live: vec![],
            asks_for_operations: false,
        });
        eventually("the leader is known", || {
            let events = rig.broker.published(phalanx_core::broker::Exchange::Event);
            events.len() >= 2
        })
        .await;
        rig.send_task(append(&rig), &["a"], |header| header.job = dead);
        rig.after_settled(1).await;
        assert_eq!(rig.broker.settled(), [(1, Settle::Ack)]);
        assert!(rig.replies().is_empty() && rig.operations.ran().is_empty());
    }

    #[tokio::test]
    async fn a_task_that_waited_while_its_job_died_is_not_run() {
        let rig = TestRig::start(|_| {});
        rig.send_task(vec![rig.step(&TestOp::WaitOn('a'))], &["a"], |_| {});
        let dead = JobId::new();
        rig.send_task(append(&rig), &["b"], |header| header.job = dead);
        eventually("the first runs", || rig.operations.ran().len() == 1).await;
        rig.send_control(&Control::Cancel { leader: rig.leader, job: dead });
        rig.send_control(&Control::Alive {
            leader: rig.leader,
            heartbeat: 1,
            up_to: None,
            live: vec![],
            asks_for_operations: false,
        });
        eventually("the leader is known", || {
            rig.broker.published(phalanx_core::broker::Exchange::Event).len() >= 2
        })
        .await;
        rig.operations.open_gate();
        rig.after_settled(2).await;
        assert_eq!(rig.operations.ran(), ["a"]);
        assert_eq!(rig.replies().len(), 1);
        rig.assert_settled_once();
    }
}
