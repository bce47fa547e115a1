//! A worker between a broker double and test operations.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use phalanx_core::{
    broker::{Exchange, Message, MessageKind, Properties, Settle},
    codec,
    id::{CopyId, JobId, LeaderId, TaskNumber},
    operation::ElementRange,
    registry::StepReference,
    wire::{
        Control, Lease, ResultMessage, Return, ReturnReason, Segment, TaskHeader, TaskInlet,
        TaskKind, TaskMessage, TaskOutlet,
    },
};

use super::{TestBroker, TestOp, TestOperations, eventually};
use crate::{Worker, WorkerOptions};

/// A worker between a broker double and test operations, and the identity of its only leader.
pub(crate) struct TestRig {
    pub(crate) broker: TestBroker,
    pub(crate) operations: TestOperations,
    pub(crate) worker: Worker,
    pub(crate) leader: LeaderId,
    pub(crate) job: JobId,
    sent: AtomicU64,
}

/// A decoded reply.
#[derive(Debug)]
pub(crate) enum SentReply {
    Result(ResultMessage),
    Return(Return),
    Lease(Lease),
    Other,
}

impl TestRig {
    /// A worker with one slot that accepts tasks at once, unless `change` sets other options.
    pub(crate) fn start(change: impl FnOnce(&mut WorkerOptions)) -> Self {
        let broker = TestBroker::new();
        let mut options =
            WorkerOptions { slots: 1, leader_wait: Duration::ZERO, ..WorkerOptions::default() };
        change(&mut options);
        Self {
            worker: Worker::start(Arc::new(broker.clone()), options),
            broker,
            operations: TestOperations::new(),
            leader: LeaderId::new(),
            job: JobId::new(),
            sent: AtomicU64::new(0),
        }
    }

    /// A step without a timeout.
    pub(crate) fn step(&self, op: &TestOp) -> StepReference {
        self.operations.step(op, None)
    }

    /// Sends a task whose steps have no timeout.
    pub(crate) fn send(&self, ops: &[TestOp], inputs: &[&str]) -> TaskNumber {
        self.send_task(self.operations.steps(ops), inputs, |_| {})
    }

    /// Sends a task whose header `change` changes.
    pub(crate) fn send_task(
        &self,
        steps: Vec<StepReference>,
        inputs: &[&str],
        change: impl FnOnce(&mut TaskHeader),
    ) -> TaskNumber {
        let (number, message) = self.message(steps, inputs, change);
        self.broker.send_task(message, false);
        number
    }

    /// A task that is not sent.
    pub(crate) fn message(
        &self,
        steps: Vec<StepReference>,
        inputs: &[&str],
        change: impl FnOnce(&mut TaskHeader),
    ) -> (TaskNumber, Message) {
        let task = TaskNumber(self.sent.fetch_add(1, Ordering::Relaxed) + 1);
        let mut header = TaskHeader {
            leader: self.leader,
            job: self.job,
            stage: 0,
            copy: CopyId::new(task, 1),
            kind: TaskKind::Run,
            isolated: false,
            ranges: vec![ElementRange { from: 0, to: inputs.len() as u64, tries: 1 }],
            indexes: Vec::new(),
            steps,
            time_slice: Duration::from_secs(3_600),
            output_cap: u64::MAX,
            inlet: TaskInlet::default(),
            outlet: TaskOutlet::Reply,
        };
        change(&mut header);
        let mut payload = Vec::new();
        for input in inputs {
            codec::encode_into(input, &mut payload).unwrap();
        }
        let body = TaskMessage { header, payload: payload.into() }.encode().unwrap();
        let properties = Properties {
            kind: Some(MessageKind::Task),
            wire_version: 1,
            reply_to: Some(self.leader),
            copy: Some(CopyId::new(task, 1)),
            persistent: true,
            headers: Vec::new(),
        };
        (task, Message { properties, body })
    }

    pub(crate) fn send_control(&self, control: &Control) {
        let properties = Properties { kind: Some(MessageKind::Control), ..Properties::default() };
        self.broker.send_control(Message { properties, body: control.encode().unwrap() });
    }

    /// Lets time pass on a paused clock, in which the leader is heard from.
    pub(crate) async fn pass_beside_leader(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_secs(4));
            self.send_control(&Control::Alive {
                leader: self.leader,
                heartbeat: 1,
                up_to: None,
                live: vec![],
                asks_for_operations: false,
            });
            super::pass(step).await;
            left -= step;
        }
    }

    /// The replies so far.
    pub(crate) fn replies(&self) -> Vec<SentReply> {
        let decode = |message: Message| match message.properties.kind {
            Some(MessageKind::Result) => {
                SentReply::Result(ResultMessage::decode(&message.body).unwrap())
            }
            Some(MessageKind::Return) => SentReply::Return(Return::decode(&message.body).unwrap()),
            Some(MessageKind::Lease) => SentReply::Lease(Lease::decode(&message.body).unwrap()),
            _ => SentReply::Other,
        };
        self.broker.published(Exchange::Reply).into_iter().map(decode).collect()
    }

    /// Waits until `settled` deliveries have been settled, and returns the replies so far.
    pub(crate) async fn after_settled(&self, settled: usize) -> Vec<SentReply> {
        let what = format!("{settled} deliveries are settled");
        eventually(&what, || self.broker.settled().len() >= settled).await;
        self.replies()
    }

    /// The leases so far.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        let lease = |reply| if let SentReply::Lease(lease) = reply { Some(lease) } else { None };
        self.replies().into_iter().filter_map(lease).collect()
    }

    /// Waits for the result of task `number`: its segments.
    pub(crate) async fn result(&self, number: TaskNumber) -> Vec<Segment> {
        eventually("a result", || self.result_of(number).is_some()).await;
        self.segments(number)
    }

    /// The segments of the result of task `number`.
    pub(crate) fn segments(&self, number: TaskNumber) -> Vec<Segment> {
        self.result_of(number).expect("a result")
    }

    /// The segments of the result of task `number`, if there is one.
    pub(crate) fn result_of(&self, number: TaskNumber) -> Option<Vec<Segment>> {
        let of = |reply: SentReply| match reply {
            SentReply::Result(result) if result.header.copy.task == number => {
                Some(result.header.segments)
            }
            _ => None,
        };
        self.replies().into_iter().find_map(of)
    }

    /// Why task `number` was returned.
    pub(crate) fn return_reason(&self, number: TaskNumber) -> ReturnReason {
        self.returned(number).expect("a return")
    }

    /// Why task `number` was returned, if it was.
    pub(crate) fn returned(&self, number: TaskNumber) -> Option<ReturnReason> {
        let of = |reply: SentReply| match reply {
            SentReply::Return(returned)
                if returned.copy.is_some_and(|copy| copy.task == number) =>
            {
                Some(returned.reason)
            }
            _ => None,
        };
        self.replies().into_iter().find_map(of)
    }

    /// Asserts that each settled delivery was settled once, and that none was requeued.
    pub(crate) fn assert_settled_once(&self) {
        let settled = self.broker.settled();
        let tags: HashSet<u64> = settled.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags.len(), settled.len(), "each delivery is settled once: {settled:?}");
        assert!(settled.iter().all(|(_, how)| *how != Settle::Requeue), "{settled:?}");
    }
}
