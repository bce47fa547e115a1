//! A minimal leader that sends isolated tasks one by one.

use std::{fmt::Write, time::Duration};

use phalanx::{inmemory::InMemoryBroker, registry::Registry};
use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumer, Consumption, Exchange, Message, MessageKind,
        Pool, Properties, QueueSpec, Settle,
    },
    codec,
    id::{CopyId, JobId, LeaderId, TaskNumber},
    operation::ElementRange,
    registry::{StepReference, Verb},
    wire::{
        Control, Lease, Outcome, ResultMessage, Return, TaskHeader, TaskInlet, TaskKind,
        TaskMessage, TaskOutlet, WIRE_VERSION,
    },
};

pub(crate) struct Leader {
    broker: InMemoryBroker,
    id: LeaderId,
    job: JobId,
    sent: u64,
    replies: Box<dyn Consumer>,
}

impl Leader {
    pub(crate) async fn new(broker: InMemoryBroker) -> Self {
        let id = LeaderId::new();
        broker.declare(&QueueSpec::Task { pool: Pool::default() }).await.expect("a queue");
        let queue = QueueSpec::Reply { leader: id, expires: Duration::from_secs(60) };
        let replies = broker.consume(&queue, ConsumeOptions::new(100)).await.expect("a queue");
        Self { broker, id, job: JobId::new(), sent: 0, replies }
    }

    /// Sends a task, written as `operation:input,input`.
    pub(crate) async fn send(&mut self, task: &str) {
        let (name, inputs) = task.split_once(':').expect("an operation and its inputs");
        let inputs: Vec<&str> = inputs.split(',').collect();
        let registry = Registry::global().expect("names are unique");
        let operation = registry
            .iter()
            .find(|operation| operation.name().ends_with(&format!("::{name}")))
            .expect("an operation of this name");
        let step = StepReference {
            name: operation.name().to_owned(),
            fingerprint: operation.fingerprint(),
            verb: Verb::Map,
            timeout: (name == "Hurry").then_some(Duration::from_millis(300)),
            state: Default::default(),
        };
        self.sent += 1;
        let header = TaskHeader {
            leader: self.id,
            job: self.job,
            stage: 0,
            copy: CopyId::new(TaskNumber(self.sent), 1),
            kind: TaskKind::Run,
            isolated: true,
            ranges: vec![ElementRange { from: 0, to: inputs.len() as u64, tries: 1 }],
            indexes: Vec::new(),
            steps: vec![step],
            time_slice: Duration::from_secs(3_600),
            output_cap: u64::MAX,
            inlet: TaskInlet::default(),
            outlet: TaskOutlet::Reply,
        };
        let mut payload = Vec::new();
        for input in inputs {
            codec::encode_into(input, &mut payload).expect("a string");
        }
        let properties = Properties {
            kind: Some(MessageKind::Task),
            wire_version: WIRE_VERSION,
            reply_to: Some(self.id),
            copy: Some(CopyId::new(TaskNumber(self.sent), 1)),
            ..Properties::default()
        };
        let body = TaskMessage { header, payload: payload.into() }.encode().expect("a task");
        let to = Address::new(Exchange::Task, Pool::DEFAULT);
        self.broker.publish(&to, Message { properties, body }).await.expect("memory takes it");
    }

    /// Cancels the job. Later tasks belong to another one.
    pub(crate) async fn cancel(&mut self) {
        let body = Control::Cancel { leader: self.id, job: self.job }.encode().expect("plain data");
        let to = Address::new(Exchange::Control, "all");
        let message = Message { properties: Properties::default(), body };
        self.broker.publish(&to, message).await.expect("memory takes it");
        self.job = JobId::new();
    }

    /// The next message from the worker, as one line.
    pub(crate) async fn next_message(&mut self) -> String {
        loop {
            let Some(Consumption::Delivery(delivery)) = self.replies.next().await else { continue };
            let body = delivery.message.body.clone();
            let kind = delivery.message.properties.kind;
            delivery.settle(Settle::Ack);
            return match kind {
                Some(MessageKind::Result) => describe(&ResultMessage::decode(&body).expect("one")),
                Some(MessageKind::Return) => {
                    let returned = Return::decode(&body).expect("one");
                    format!("returned {:?} at {:?}", returned.reason, returned.offset)
                }
                Some(MessageKind::Lease) => {
                    let lease = Lease::decode(&body).expect("one");
                    let offsets: Vec<u32> = lease.tasks.iter().map(|task| task.offset).collect();
                    format!("leased at {offsets:?}")
                }
                other => format!("{other:?}"),
            };
        }
    }

    /// The next result or return, as one line.
    pub(crate) async fn next_reply(&mut self) -> String {
        loop {
            let message = self.next_message().await;
            if !message.starts_with("leased") {
                return message;
            }
        }
    }
}

fn describe(result: &ResultMessage) -> String {
    let mut text = String::from("result");
    let mut payload = &result.payload[..];
    for segment in &result.header.segments {
        match &segment.outcome {
            Outcome::Done { outputs, .. } => {
                for _ in 0..*outputs {
                    let value: u64 = codec::decode_front(&mut payload).expect("a number");
                    let _ = write!(text, " {value}");
                }
            }
            Outcome::Failed { error, .. } => {
                let _ = write!(text, " failed:{:?}", error.kind());
            }
            Outcome::NotRun { reason } => {
                let _ = write!(text, " {}x{reason:?}", segment.to - segment.from);
            }
            _ => text.push_str(" ?"),
        }
    }
    text
}
