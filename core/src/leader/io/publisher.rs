//! Publishes what the engine wants sent: tasks, probes and control messages.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::OnceCell;

use crate::{
    broker::{
        Address, Broker, Message, MessageKind, Pool, Properties, PublishError, QueueSpec, Topic,
    },
    id::{CopyId, LeaderId},
    leader::engine::Input,
    wire::{Control, Probe, TaskMessage, WIRE_VERSION},
};

/// While this many messages are unconfirmed, workers that say hello are not greeted one by one: the
/// next heartbeat reaches them too.
const MAX_BACKLOG_FOR_GREETINGS: usize = 4_096;

/// Messages on their way to the broker.
///
/// Their number is bounded by the engine's credit, by one probe and one declaration for each pool,
/// and by the control messages of a heartbeat.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    /// The task queues that were declared on this connection. A task for a queue that does not exist
    /// would vanish, confirmed, if the leader is there before the first worker.
    declared: HashMap<Pool, Arc<OnceCell<()>>>,
    /// Each resolves to the input that follows; `None` for control messages.
    on_their_way: FuturesUnordered<BoxFuture<'static, Option<Input>>>,
}

impl Publisher {
    pub(super) fn new(broker: Arc<dyn Broker>, leader: LeaderId) -> Self {
        Self { broker, leader, declared: HashMap::new(), on_their_way: FuturesUnordered::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.on_their_way.is_empty()
    }

    /// The next input that follows from a message; `None` once nothing is on its way.
    ///
    /// Cancel-safe: messages stay on their way when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            if let Some(input) = self.on_their_way.next().await? {
                return Some(input);
            }
        }
    }

    /// Forgets which queues exist: they may have gone with the connection.
    pub(super) fn reconnected(&mut self) {
        self.declared.clear();
    }

    /// Abandons what is on its way.
    pub(super) fn clear(&mut self) {
        self.on_their_way.clear();
    }

    /// Publishes a copy of a task, after its queue has been declared.
    pub(super) fn publish_task(&mut self, pool: &Pool, message: &TaskMessage) {
        let copy = message.header.copy;
        let message = match message.encode() {
            Ok(body) => Message { properties: self.task_properties(message), body },
            Err(error) => {
                let error = PublishError::Refused { reason: error.to_string() };
                let failed = async move { Some(Input::NotPublished { copy, error }) };
                return self.on_their_way.push(Box::pin(failed));
            }
        };
        let broker = Arc::clone(&self.broker);
        let address = Address::tasks(pool);
        let declared = Arc::clone(self.declared.entry(pool.clone()).or_default());
        let queue = QueueSpec::Task { pool: pool.clone() };
        self.on_their_way.push(Box::pin(async move {
            // The first task of a pool declares; the others wait for it, and one of them declares
            // again if that fails.
            let declaring = declared.get_or_try_init(async || {
                broker.declare(&queue).await.map(drop).map_err(PublishError::from)
            });
            let result = match declaring.await {
                Ok(()) => broker.publish(&address, message).await,
                Err(error) => Err(error),
            };
            Some(published(copy, result))
        }));
    }

    /// Publishes a probe. It goes through the queue as tasks do, but shows whether there is one.
    pub(super) fn publish_probe(&mut self, pool: Pool, nonce: u64) {
        let probe = Probe { leader: self.leader, pool: pool.clone(), nonce };
        // Three fields always encode; if one did not, the next probe would not either.
        let Ok(body) = probe.encode() else { return };
        let properties = Properties { persistent: true, ..self.properties(MessageKind::Probe) };
        let message = Message { properties, body };
        let broker = Arc::clone(&self.broker);
        self.on_their_way.push(Box::pin(async move {
            let result = broker.publish_mandatory(&Address::tasks(&pool), message).await;
            Some(Input::Probed { pool, result })
        }));
    }

    /// Declares a task queue again that was deleted.
    pub(super) fn declare(&mut self, pool: Pool) {
        self.declared.remove(&pool);
        let broker = Arc::clone(&self.broker);
        self.on_their_way.push(Box::pin(async move {
            let queue = QueueSpec::Task { pool: pool.clone() };
            let result = broker.declare(&queue).await.map(drop);
            Some(Input::Declared { pool, result })
        }));
    }

    /// Publishes a control message to a worker that said hello, unless there is a backlog.
    pub(super) fn greet(&mut self, topic: Topic, control: &Control) {
        if self.on_their_way.len() < MAX_BACKLOG_FOR_GREETINGS {
            self.publish_control(topic, control);
        }
    }

    /// Publishes a control message. One that is lost is replaced by the next heartbeat.
    pub(super) fn publish_control(&mut self, topic: Topic, control: &Control) {
        let Ok(body) = control.encode() else { return };
        let message = Message { properties: self.properties(MessageKind::Control), body };
        let broker = Arc::clone(&self.broker);
        self.on_their_way.push(Box::pin(async move {
            if let Err(error) = broker.publish(&Address::control(topic), message).await {
                tracing::debug!(%error, "a control message was not published");
            }
            None
        }));
    }

    fn task_properties(&self, message: &TaskMessage) -> Properties {
        let header = &message.header;
        let operations: Vec<&str> = header.steps.iter().map(|step| step.name.as_str()).collect();
        Properties {
            copy: Some(header.copy),
            persistent: true,
            headers: vec![
                ("job".to_owned(), header.job.to_string()),
                ("stage".to_owned(), header.stage.to_string()),
                ("operations".to_owned(), operations.join(",")),
            ],
            ..self.properties(MessageKind::Task)
        }
    }

    fn properties(&self, kind: MessageKind) -> Properties {
        Properties {
            kind: Some(kind),
            wire_version: WIRE_VERSION,
            reply_to: Some(self.leader),
            ..Properties::default()
        }
    }
}

fn published(copy: CopyId, result: Result<(), PublishError>) -> Input {
    match result {
        Ok(()) => Input::Published { copy },
        Err(error) => Input::NotPublished { copy, error },
    }
}
