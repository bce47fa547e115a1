//! What a child process takes for a broker.

use std::sync::Arc;

use async_trait::async_trait;
use phalanx_core::{
    broker::{
        Address, Broker, BrokerError, BrokerUrl, Consumer, Consumption, DeclaredQueue, Delivery,
        Exchange, Health, Message, MessageKind, Properties, PublishError, QueueSpec, Settle,
        Settler,
    },
    wire::{Control, MAX_MESSAGE_BYTES, TaskMessage, WIRE_VERSION},
};
use tokio::sync::{Mutex, mpsc, watch};

use super::{frame::Frame, says::Says};

/// The parent of this process, as the broker that an ordinary worker needs: its tasks are
/// deliveries, and answers go back to it.
#[derive(Debug)]
pub(super) struct Parent {
    url: BrokerUrl,
    health: watch::Sender<Health>,
    says: Arc<Says>,
    tasks: Queue,
    control: Queue,
}

/// What the parent sends, as it comes.
#[derive(Debug)]
pub(super) struct Inbox {
    says: Arc<Says>,
    tasks: mpsc::UnboundedSender<Consumption>,
    control: mpsc::UnboundedSender<Consumption>,
    /// The job of the last task, as a message says that it is dead.
    cancel: Option<Control>,
}

/// Bounded by the parent, which gives one task at a time.
type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Consumption>>>;

impl Parent {
    pub(super) fn new(says: Arc<Says>) -> (Self, Inbox) {
        let mut health = Health::default();
        health.generation = 1;
        health.connected = true;
        let (tasks, taken) = mpsc::unbounded_channel();
        let (control, heard) = mpsc::unbounded_channel();
        let inbox = Inbox { says: Arc::clone(&says), tasks, control, cancel: None };
        let parent = Self {
            url: BrokerUrl::memory(),
            health: watch::channel(health).0,
            says,
            tasks: Arc::new(Mutex::new(taken)),
            control: Arc::new(Mutex::new(heard)),
        };
        (parent, inbox)
    }
}

impl Inbox {
    /// Takes what the parent says. A worker that has ended takes nothing any more.
    pub(super) fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Task(body) => {
                let Ok(task) = TaskMessage::decode(&body) else {
                    // The parent has decoded it before: it cannot be.
                    return Over(Arc::clone(&self.says)).settle(0, Settle::Reject);
                };
                let header = task.header;
                self.cancel = Some(Control::Cancel { leader: header.leader, job: header.job });
                let properties = Properties {
                    kind: Some(MessageKind::Task),
                    wire_version: WIRE_VERSION,
                    reply_to: Some(header.leader),
                    copy: Some(header.copy),
                    ..Properties::default()
                };
                let settler = Arc::new(Over(Arc::clone(&self.says)));
                let delivery = Delivery::new(Message { properties, body }, false, 0, settler);
                let _ = self.tasks.send(Consumption::Delivery(delivery));
            }
            Frame::Cancel => {
                let body = self.cancel.as_ref().and_then(|cancel| cancel.encode().ok());
                if let Some(body) = body {
                    let properties = Properties::default();
                    let delivery =
                        Delivery::new(Message { properties, body }, false, 0, Arc::new(Nobody));
                    let _ = self.control.send(Consumption::Delivery(delivery));
                }
            }
            _ => tracing::warn!("the parent speaks like a child"),
        }
    }
}

/// Tells the parent that a task is settled: a few bytes, which never wait.
struct Over(Arc<Says>);

impl Settler for Over {
    fn settle(&self, _: u64, _: Settle) {
        // A parent that is gone ends this process.
        let _ = self.0.say(&Frame::Over);
    }
}

struct Nobody;

impl Settler for Nobody {
    fn settle(&self, _: u64, _: Settle) {}
}

#[async_trait]
impl Broker for Parent {
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
        let answer = message.properties.kind.filter(|_| address.exchange == Exchange::Reply);
        // The parent speaks for itself of all else.
        let Some(frame) = answer.and_then(|kind| Frame::answer(kind, message.body)) else {
            return Ok(());
        };
        let says = Arc::clone(&self.says);
        let said = tokio::task::spawn_blocking(move || says.say(&frame)).await;
        said.ok().and_then(Result::ok).ok_or(PublishError::Closed)
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
        _prefetch: u16,
    ) -> Result<Box<dyn Consumer>, BrokerError> {
        let queue = match queue {
            QueueSpec::Task { .. } => &self.tasks,
            _ => &self.control,
        };
        Ok(Box::new(Taking { queue: Arc::clone(queue), is_over: false }))
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
struct Taking {
    queue: Queue,
    is_over: bool,
}

#[async_trait]
impl Consumer for Taking {
    async fn next(&mut self) -> Option<Consumption> {
        if self.is_over { None } else { self.queue.lock().await.recv().await }
    }

    fn try_next(&mut self) -> Option<Consumption> {
        if self.is_over { None } else { self.queue.try_lock().ok()?.try_recv().ok() }
    }

    async fn set_prefetch(&mut self, _: u16) {}

    async fn cancel(&mut self) {
        self.is_over = true;
    }
}
