//! Publishes the messages of a leader: tasks, probes and control messages.

#[cfg(test)]
mod tests;

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

/// The number of unconfirmed messages from which on new workers are not greeted one by one: the
/// next heartbeat reaches them, too.
const MAX_BACKLOG_FOR_GREETINGS: usize = 4_096;

/// The messages of a leader that the broker has not confirmed yet.
///
/// Their number is bounded by the engine's credit, by one probe and one declaration for each pool,
/// and by the control messages of a heartbeat.
pub(super) struct Publisher {
    broker: Arc<dyn Broker>,
    leader: LeaderId,
    /// The task queues that were declared over this connection. If the leader connects before the
    /// first worker, a task for a queue that does not exist would be confirmed and dropped.
    declared: HashMap<Pool, Arc<OnceCell<()>>>,
    /// The publishes and declarations under way. Each resolves to the input for the engine that
    /// follows from it; `None` for control messages.
    in_flight: FuturesUnordered<BoxFuture<'static, Option<Input>>>,
}

impl Publisher {
    pub(super) fn new(broker: Arc<dyn Broker>, leader: LeaderId) -> Self {
        Self { broker, leader, declared: HashMap::new(), in_flight: FuturesUnordered::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The next input that follows from a message; `None` once no message is in flight.
    ///
    /// Cancel-safe: messages stay in flight when the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            if let Some(input) = self.in_flight.next().await? {
                return Some(input);
            }
        }
    }

    /// Discards the list of declared queues: they may have been deleted while the connection was
    /// lost.
    pub(super) fn reconnected(&mut self) {
        self.declared.clear();
    }

    /// Abandons the messages in flight.
    pub(super) fn clear(&mut self) {
        self.in_flight.clear();
    }

    /// Publishes a copy of a task, after its queue has been declared.
    pub(super) fn publish_task(&mut self, pool: &Pool, message: &TaskMessage) {
        let copy = message.header.copy;
        let message = match message.encode() {
            Ok(body) => Message { properties: self.task_properties(message), body },
            Err(error) => {
                let error = PublishError::Refused { reason: error.to_string() };
                let failed = async move { Some(Input::NotPublished { copy, error }) };
                return self.in_flight.push(Box::pin(failed));
            }
        };
        let broker = Arc::clone(&self.broker);
        let address = Address::tasks(pool);
        let declared = Arc::clone(self.declared.entry(pool.clone()).or_default());
        let queue = QueueSpec::Task { pool: pool.clone() };
        self.in_flight.push(Box::pin(async move {
            // The first task of a pool declares the queue, and the others wait for it. If that
            // fails, one of the others declares it again.
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

    /// Publishes a probe through the task queue of a pool. Its confirm shows whether the queue
    /// exists.
    pub(super) fn publish_probe(&mut self, pool: Pool, nonce: u64) {
        let probe = Probe { leader: self.leader, pool: pool.clone(), nonce };
        // Three fields always encode; if one did not, the next probe would not either.
        let Ok(body) = probe.encode() else { return };
        let properties = Properties { persistent: true, ..self.properties(MessageKind::Probe) };
        let message = Message { properties, body };
        let broker = Arc::clone(&self.broker);
        self.in_flight.push(Box::pin(async move {
            let result = broker.publish_mandatory(&Address::tasks(&pool), message).await;
            Some(Input::Probed { pool, result })
        }));
    }

    /// Declares a task queue that was deleted.
    pub(super) fn declare(&mut self, pool: Pool) {
        self.declared.remove(&pool);
        let broker = Arc::clone(&self.broker);
        self.in_flight.push(Box::pin(async move {
            let queue = QueueSpec::Task { pool: pool.clone() };
            let result = broker.declare(&queue).await.map(drop);
            Some(Input::Declared { pool, result })
        }));
    }

    /// Publishes a control message to a new worker, unless there is a backlog.
    pub(super) fn greet(&mut self, topic: Topic, control: &Control) {
        if self.in_flight.len() < MAX_BACKLOG_FOR_GREETINGS {
            self.publish_control(topic, control);
        }
    }

    /// Publishes a control message. One that is lost is replaced by the next heartbeat.
    pub(super) fn publish_control(&mut self, topic: Topic, control: &Control) {
        let Ok(body) = control.encode() else { return };
        let message = Message { properties: self.properties(MessageKind::Control), body };
        let broker = Arc::clone(&self.broker);
        self.in_flight.push(Box::pin(async move {
            if let Err(error) = broker.publish(&Address::control(topic), message).await {
                tracing::debug!(%error, "could not publish a control message");
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
