//! The exchanges: which queues are bound to them, and by which keys.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use phalanx_core::broker::{Address, BrokerError, Exchange, Message, QueueSpec, ShuffleQueue};

use crate::{
    queue::{Capacity, Queue, QueueKind},
    topic::matches_topic,
};

/// The most control messages or events that wait for one worker or leader.
const EXCLUSIVE_QUEUE_CAPACITY: Capacity = Capacity { messages: 1_000, bytes: 16 << 20 };

/// The most dead letters of one pool.
const DEAD_LETTER_CAPACITY: Capacity = Capacity { messages: 10_000, bytes: 64 << 20 };

/// All queues of a broker, by the exchange that they are bound to.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// The queues of direct exchanges, one per routing key.
    direct: HashMap<DirectExchange, HashMap<String, Arc<Queue>>>,
    /// The queues of topic exchanges, by the id of their owner (a worker or a leader).
    topic: HashMap<TopicExchange, HashMap<String, TopicQueue>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum DirectExchange {
    Task,
    Reply,
    Dead,
    Shuffle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum TopicExchange {
    Control,
    Event,
}

/// An exclusive queue with its bindings.
#[derive(Debug)]
struct TopicQueue {
    queue: Arc<Queue>,
    /// It receives a message if any of them matches the routing key.
    patterns: Vec<String>,
}

/// The exchange, the key and the patterns of a queue of the protocol.
enum Binding {
    Direct(DirectExchange, String),
    Topic(TopicExchange, String, Vec<String>),
}

impl Routes {
    /// Adds a message to each queue that `address` reaches; returns whether there is one.
    pub(crate) fn push(
        &self,
        address: &Address,
        message: &Arc<Message>,
        position: Option<u64>,
    ) -> bool {
        let key = address.key.as_str();
        let push = |queue: &Arc<Queue>| queue.push(message.clone(), position);
        // No short circuit: each of them receives the message.
        let push_all = |any, queue: &Arc<Queue>| push(queue) | any;
        match address.exchange {
            Exchange::Task => self.direct(DirectExchange::Task, key).is_some_and(push),
            Exchange::Reply => self.direct(DirectExchange::Reply, key).is_some_and(push),
            Exchange::Dead => self.direct(DirectExchange::Dead, key).is_some_and(push),
            Exchange::Shuffle => self.direct(DirectExchange::Shuffle, key).is_some_and(push),
            Exchange::Control => self.matching(TopicExchange::Control, key).fold(false, push_all),
            Exchange::Event => self.matching(TopicExchange::Event, key).fold(false, push_all),
            _ => false,
        }
    }

    fn direct(&self, exchange: DirectExchange, key: &str) -> Option<&Arc<Queue>> {
        self.direct.get(&exchange)?.get(key)
    }

    fn matching<'a>(
        &'a self,
        exchange: TopicExchange,
        key: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Queue>> {
        let bound = self.topic.get(&exchange).into_iter().flat_map(HashMap::values);
        bound
            .filter(move |bound| bound.patterns.iter().any(|pattern| matches_topic(pattern, key)))
            .map(|bound| &bound.queue)
    }

    /// Declares and binds a queue, and renews its expiry if it exists.
    pub(crate) fn declare(
        &mut self,
        spec: &QueueSpec,
        connection: u64,
    ) -> Result<Arc<Queue>, BrokerError> {
        if let Some(queue) = self.find(spec) {
            check_owner(&queue, spec, connection)?;
            // An expired queue counts as deleted even before it is removed.
            if !queue.renew() {
                self.remove(spec);
            }
        }
        match binding_of(spec)? {
            Binding::Direct(exchange, key) => {
                let queues = self.direct.entry(exchange).or_default();
                let queue = queues
                    .entry(key)
                    .or_insert_with(|| Queue::new(kind_of(spec, connection)).into());
                Ok(queue.clone())
            }
            Binding::Topic(exchange, key, patterns) => {
                match self.topic.entry(exchange).or_default().entry(key) {
                    Entry::Occupied(mut bound) => {
                        let bound = bound.get_mut();
                        for pattern in patterns {
                            if !bound.patterns.contains(&pattern) {
                                bound.patterns.push(pattern);
                            }
                        }
                        Ok(bound.queue.clone())
                    }
                    Entry::Vacant(vacant) => {
                        let queue = Arc::new(Queue::new(kind_of(spec, connection)));
                        vacant.insert(TopicQueue { queue: queue.clone(), patterns });
                        Ok(queue)
                    }
                }
            }
        }
    }

    pub(crate) fn find(&self, spec: &QueueSpec) -> Option<Arc<Queue>> {
        match binding_of(spec).ok()? {
            Binding::Direct(exchange, key) => self.direct.get(&exchange)?.get(&key).cloned(),
            Binding::Topic(exchange, key, _) => {
                self.topic.get(&exchange)?.get(&key).map(|bound| bound.queue.clone())
            }
        }
    }

    pub(crate) fn remove(&mut self, spec: &QueueSpec) -> Option<Arc<Queue>> {
        match binding_of(spec).ok()? {
            Binding::Direct(exchange, key) => self.direct.get_mut(&exchange)?.remove(&key),
            Binding::Topic(exchange, key, _) => {
                self.topic.get_mut(&exchange)?.remove(&key).map(|bound| bound.queue)
            }
        }
    }

    /// Removes the exclusive queues that `unwanted` selects.
    pub(crate) fn remove_exclusive(
        &mut self,
        unwanted: impl Fn(&Queue) -> bool,
    ) -> Vec<Arc<Queue>> {
        let mut removed = Vec::new();
        for bound in self.topic.values_mut() {
            removed.extend(
                bound.extract_if(|_, bound| unwanted(&bound.queue)).map(|(_, bound)| bound.queue),
            );
        }
        removed
    }

    pub(crate) fn remove_expired(&mut self) {
        for exchange in [DirectExchange::Reply, DirectExchange::Shuffle] {
            if let Some(queues) = self.direct.get_mut(&exchange) {
                queues.retain(|_, queue| !queue.is_expired());
            }
        }
    }
}

fn binding_of(spec: &QueueSpec) -> Result<Binding, BrokerError> {
    Ok(match spec {
        QueueSpec::Task { pool } => Binding::Direct(DirectExchange::Task, pool.to_string()),
        QueueSpec::Reply { leader, .. } => {
            Binding::Direct(DirectExchange::Reply, leader.to_string())
        }
        QueueSpec::Dead { pool } => Binding::Direct(DirectExchange::Dead, pool.to_string()),
        QueueSpec::Shuffle(queue) => Binding::Direct(DirectExchange::Shuffle, queue.to_string()),
        QueueSpec::Control { worker, topics } => {
            Binding::Topic(TopicExchange::Control, worker.to_string(), topics.clone())
        }
        QueueSpec::Event { leader } => {
            Binding::Topic(TopicExchange::Event, leader.to_string(), vec!["#".to_owned()])
        }
        other => {
            return Err(BrokerError::Unusable {
                what: describe(other),
                reason: "this version of the in-memory broker does not support it".to_owned(),
            });
        }
    })
}

/// The properties of a queue of the protocol, which RabbitMQ has as arguments of the queue.
fn kind_of(spec: &QueueSpec, connection: u64) -> QueueKind {
    let shared = QueueKind::default();
    match spec {
        QueueSpec::Task { pool } => QueueKind { dead_letters: Some(pool.clone()), ..shared },
        QueueSpec::Reply { expires, .. } => QueueKind { expires: Some(*expires), ..shared },
        QueueSpec::Shuffle(_) => QueueKind { expires: Some(ShuffleQueue::EXPIRES), ..shared },
        QueueSpec::Dead { .. } => QueueKind { capacity: Some(DEAD_LETTER_CAPACITY), ..shared },
        _ => QueueKind {
            owner: Some(connection),
            capacity: Some(EXCLUSIVE_QUEUE_CAPACITY),
            ..shared
        },
    }
}

/// The queue, for errors.
pub(crate) fn describe(spec: &QueueSpec) -> String {
    match spec {
        QueueSpec::Shuffle(queue) => format!("queue `shuffle.{queue}`"),
        other => format!("{other:?}"),
    }
}

/// Refuses an exclusive queue of another connection.
pub(crate) fn check_owner(
    queue: &Queue,
    spec: &QueueSpec,
    connection: u64,
) -> Result<(), BrokerError> {
    match queue.kind.owner {
        Some(owner) if owner != connection => Err(BrokerError::Unusable {
            what: describe(spec),
            reason: "it is exclusive to another connection".to_owned(),
        }),
        _ => Ok(()),
    }
}
