//! The parent process as the broker of its child.

use std::{io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, BrokerUrl, ConsumeOptions, Consumer, Consumption,
        DeclaredQueue, Delivery, Exchange, Health, Message, MessageKind, Properties, PublishError,
        QueueAction, QueueSpec, Settle, Settler, ShuffleQueue,
    },
    id::WorkerId,
    registry::Refusal,
    wire::{
        Control, MAX_MESSAGE_BYTES, Return, ReturnReason, TaskHeader, TaskMessage, WIRE_VERSION,
    },
};
use tokio::sync::{Mutex, mpsc, watch};

use super::{
    child_runs::ChildRuns,
    frame::{Frame, RunNumber},
    gathered::Arrivals,
    parent_link::ParentLink,
};

/// The parent process as the broker that an ordinary worker needs: its tasks arrive as deliveries,
/// and replies are sent to it.
#[derive(Debug)]
pub(super) struct ParentBroker {
    url: BrokerUrl,
    health: watch::Sender<Health>,
    link: Arc<ParentLink>,
    runs: Arc<ChildRuns>,
    tasks: Queue,
    control: Queue,
}

/// Turns frames from the parent into deliveries.
#[derive(Debug)]
pub(super) struct Inbox {
    link: Arc<ParentLink>,
    runs: Arc<ChildRuns>,
    /// The parent.
    worker: WorkerId,
    /// What tasks have gathered that have not arrived yet.
    arrivals: Arrivals,
    tasks: mpsc::UnboundedSender<Consumption>,
    control: mpsc::UnboundedSender<Consumption>,
}

/// Unbounded, but the parent sends no more tasks than it has slots.
type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Consumption>>>;

impl ParentBroker {
    pub(super) fn new(
        link: Arc<ParentLink>,
        runs: Arc<ChildRuns>,
        worker: WorkerId,
        spills: PathBuf,
    ) -> (Self, Inbox) {
        let mut health = Health::default();
        health.generation = 1;
        health.connected = true;
        let (tasks, task_queue) = mpsc::unbounded_channel();
        let (control, control_queue) = mpsc::unbounded_channel();
        let inbox = Inbox {
            link: Arc::clone(&link),
            runs: Arc::clone(&runs),
            worker,
            arrivals: Arrivals::new(spills),
            tasks,
            control,
        };
        let parent = Self {
            url: BrokerUrl::memory(),
            health: watch::channel(health).0,
            link,
            runs,
            tasks: Arc::new(Mutex::new(task_queue)),
            control: Arc::new(Mutex::new(control_queue)),
        };
        (parent, inbox)
    }
}

impl Inbox {
    /// Delivers a frame to the worker. If the worker has ended, the frame is dropped.
    pub(super) fn receive(&mut self, frame: Frame) {
        match frame {
            Frame::Gathered(run, divided) => self.arrivals.begin(run, &divided),
            Frame::Blocks(run, blocks) => self.arrivals.append(run, &blocks),
            Frame::Task(run, body) => {
                let settler = SendSettled(Arc::clone(&self.link), Arc::clone(&self.runs));
                let Ok(TaskMessage { header, .. }) = TaskMessage::decode(&body) else {
                    // Does not happen: the parent has encoded the task itself.
                    return settler.settle(run.into(), Settle::Reject);
                };
                let gathered = match self.arrivals.finish(run, &header) {
                    Ok(gathered) => gathered,
                    Err(error) => {
                        self.refuse(run, &header, &error);
                        return settler.settle(run.into(), Settle::Ack);
                    }
                };
                self.runs.begin(run, &header, gathered);
                let properties = Properties {
                    kind: Some(MessageKind::Task),
                    wire_version: WIRE_VERSION,
                    reply_to: Some(header.leader),
                    copy: Some(header.copy),
                    ..Properties::default()
                };
                let message = Message { properties, body };
                let delivery = Delivery::new(message, false, run.into(), Arc::new(settler));
                let _ = self.tasks.send(Consumption::Delivery(delivery));
            }
            Frame::Cancel(run) => {
                self.arrivals.forget(run);
                let cancel =
                    self.runs.job(run).map(|(leader, job)| Control::Cancel { leader, job });
                if let Some(body) = cancel.and_then(|cancel| cancel.encode().ok()) {
                    let properties = Properties::default();
                    let delivery =
                        Delivery::new(Message { properties, body }, false, 0, Arc::new(Ignore));
                    let _ = self.control.send(Consumption::Delivery(delivery));
                }
            }
            _ => tracing::warn!("the parent sent a frame that only children send; ignoring it"),
        }
    }
}

impl Inbox {
    /// Refuses a task whose blocks could not be kept.
    fn refuse(&self, run: RunNumber, task: &TaskHeader, error: &io::Error) {
        let refusal = Refusal::Spill { reason: error.to_string() };
        let returned = Return {
            copy: Some(task.copy),
            worker: self.worker,
            reason: ReturnReason::Refused(refusal),
            offset: None,
            element: None,
        };
        if let Ok(body) = returned.encode() {
            // Fails only if the parent is gone, which ends this process.
            let _ = self.link.send(&Frame::Return(run, body));
        }
    }
}

/// Sends `Settled` to the parent: a few bytes, which do not block.
struct SendSettled(Arc<ParentLink>, Arc<ChildRuns>);

impl Settler for SendSettled {
    fn settle(&self, tag: u64, _: Settle) {
        // The tag of a delivery is the number of its run.
        let run = tag as RunNumber;
        self.1.end(run);
        // Fails only if the parent is gone, which ends this process.
        let _ = self.0.send(&Frame::Settled(run));
    }
}

/// Control messages need no settling.
struct Ignore;

impl Settler for Ignore {
    fn settle(&self, _: u64, _: Settle) {}
}

#[async_trait]
impl Broker for ParentBroker {
    fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn declare(&self, _: &QueueSpec) -> Result<DeclaredQueue, BrokerError> {
        Ok(DeclaredQueue::default())
    }

    async fn publish(&self, address: &Address, message: Message) -> Result<(), PublishError> {
        let size = message.body.len();
        if size > MAX_MESSAGE_BYTES {
            let (size, limit) = (size as u64, MAX_MESSAGE_BYTES as u64);
            return Err(PublishError::TooLarge { size, limit });
        }
        let reply = message.properties.kind.filter(|_| address.exchange == Exchange::Reply);
        let run = message.properties.copy.zip(address.key.parse().ok());
        let run = run.and_then(|(copy, leader)| self.runs.number(leader, copy));
        // Everything else, such as presence, the parent publishes itself.
        let Some(frame) =
            reply.zip(run).and_then(|(kind, run)| Frame::reply(kind, run, message.body))
        else {
            return Ok(());
        };
        let link = Arc::clone(&self.link);
        let sent = tokio::task::spawn_blocking(move || link.send(&frame)).await;
        sent.ok().and_then(Result::ok).ok_or(PublishError::Closed)
    }

    async fn publish_mandatory(
        &self,
        address: &Address,
        message: Message,
    ) -> Result<bool, PublishError> {
        self.publish(address, message).await.map(|()| true)
    }

    async fn consume(
        &self,
        queue: &QueueSpec,
        _options: ConsumeOptions,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let queue = match queue {
            QueueSpec::Task { .. } => &self.tasks,
            _ => &self.control,
        };
        Ok(Box::new(ParentConsumer { queue: Arc::clone(queue), is_cancelled: false }))
    }

    async fn manage(
        &self,
        _action: QueueAction,
        queues: &[ShuffleQueue],
    ) -> Vec<Result<u64, BrokerError>> {
        queues.iter().map(|_| Ok(0)).collect()
    }

    async fn delete(&self, _: &QueueSpec) -> Result<(), BrokerError> {
        Ok(())
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    async fn close(&self) {}
}

#[derive(Debug)]
struct ParentConsumer {
    queue: Queue,
    is_cancelled: bool,
}

#[async_trait]
impl Consumer for ParentConsumer {
    async fn next(&mut self) -> Option<Consumption> {
        if self.is_cancelled { None } else { self.queue.lock().await.recv().await }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        if self.is_cancelled { None } else { self.queue.try_lock().ok()?.try_recv().ok() }
    }

    async fn set_prefetch(&mut self, _: u16) {}

    async fn cancel(&mut self) {
        self.is_cancelled = true;
    }

    fn error(&self) -> Option<BrokerError> {
        None
    }
}
