//! A minimal leader that sends isolated tasks one by one.

use std::{fmt::Write, time::Duration};

use phalanx::{inmemory::InMemoryBroker, registry::Registry};
use phalanx_core::{
    broker::{
        Address, Broker, ConsumeOptions, Consumer, Consumption, Exchange, Message, MessageKind,
        Pool, Properties, QueueAction, QueueSpec, Settle, ShuffleQueue,
    },
    codec::{self, Layout},
    id::{CopyId, ExecutionId, JobId, LeaderId, TaskNumber},
    operation::ElementRange,
    registry::{StepReference, Verb},
    wire::{
        AnnouncedBlocks, BlockMessage, BlockName, BlockWriter, Control, Grouping, Lease, Outcome,
        QueuedGather, ResultMessage, Return, TaskHeader, TaskInlet, TaskKind, TaskMessage,
        TaskOutlet, WIRE_VERSION, list_position,
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

    /// Sends a task, written as `operation:input,input`; after the word `queued`, one whose inputs
    /// are in a queue; after the word `spilled`, one that gathers them on disk, in parts.
    pub(crate) async fn send(&mut self, task: &str) {
        let (task, announced) = match task.split_once(' ') {
            Some(("queued", task)) => (task, Some((100, 1))),
            Some(("spilled", task)) => (task, Some((1 << 30, 3))),
            _ => (task, None),
        };
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
        let mut header = TaskHeader {
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
        if let Some(announced) = announced {
            self.fill_queue(&mut header, &inputs, announced).await;
        } else {
            for input in inputs {
                codec::encode_into(input, &mut payload).expect("a string");
            }
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

    /// Puts the inputs, all different, into the queue of a partition, which the task then reads. It
    /// is announced with this many bytes and parts.
    async fn fill_queue(
        &self,
        header: &mut TaskHeader,
        inputs: &[&str],
        (bytes, parts): (u64, u32),
    ) {
        let (job, exchange, partition) = (self.job, 0, 3);
        let queue = ShuffleQueue::Partition { job, exchange, partition };
        for declared in self.broker.manage(QueueAction::Declare, &[queue]).await {
            declared.expect("memory declares it");
        }
        let (mut writer, mut block) = (BlockWriter::default(), Vec::new());
        for input in inputs {
            writer.push(&codec::encode(input).expect("a string"), &[]);
        }
        writer.finish(&mut block);
        let (execution, task) = (ExecutionId::new(), TaskNumber(0));
        let name =
            BlockName { job, exchange, feeder: 0, partition, task, execution, number: 0, first: 0 };
        let body = BlockMessage { name, block: block.into() }.encode().expect("plain data");
        let message = Message { properties: Properties::default(), body };
        let published = self.broker.publish_mandatory(&Address::blocks(&queue), message).await;
        assert!(published.expect("memory takes it"), "the queue exists");
        header.inlet = TaskInlet::Queues(QueuedGather {
            grouping: Grouping::Distinct,
            exchange,
            first_side: 1,
            of: partition + 1,
            partitions: vec![AnnouncedBlocks { partition, blocks: 1, bytes, parts }],
            winners: vec![execution],
            layout: Layout::Whole,
        });
        let (from, to) = (list_position(partition, 0), list_position(partition, u64::MAX));
        header.ranges = vec![ElementRange { from, to, tries: 1 }];
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
                    let mut text =
                        format!("returned {:?} at {:?}", returned.reason, returned.offset);
                    if let Some(element) = returned.element {
                        let _ = write!(text, " of {} in a queue", element.list.elements);
                    }
                    text
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
            Outcome::Failed { error, element, .. } => {
                let _ = write!(text, " failed:{:?}", error.kind());
                if let Some(element) = element {
                    let _ = write!(text, " of {} in a queue", element.list.elements);
                }
            }
            Outcome::NotRun { reason } => {
                let _ = write!(text, " {}x{reason:?}", segment.to - segment.from);
            }
            _ => text.push_str(" ?"),
        }
    }
    text
}
