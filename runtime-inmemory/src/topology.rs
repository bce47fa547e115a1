//! Exchanges and queues: what is declared, and where a message goes.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use phalanx_core::broker::{Address, BrokerError, Exchange, Message, QueueSpec};

use crate::{
    faults::Chance,
    options::InMemoryOptions,
    queue::{Capacity, Queue, QueueKind},
};

/// What a worker or a leader has not heard yet of the others, at most.
const NEWS: Capacity = Capacity { messages: 1_000, bytes: 16 << 20 };

/// Dead letters that are kept for a person to look at, at most.
const DEAD_LETTERS: Capacity = Capacity { messages: 10_000, bytes: 64 << 20 };

/// What all connections to one broker share.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) options: InMemoryOptions,
    pub(crate) chance: Option<Chance>,
    connections: AtomicU64,
    routes: RwLock<Routes>,
}

#[derive(Debug, Default)]
struct Routes {
    /// Direct exchanges: one queue for each key.
    direct: HashMap<Direct, HashMap<String, Arc<Queue>>>,
    /// Topic exchanges: by key of the queue, with the patterns that it is bound by.
    topic: HashMap<Topic, HashMap<String, Bound>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direct {
    Task,
    Reply,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Topic {
    Control,
    Event,
}

#[derive(Debug)]
struct Bound {
    queue: Arc<Queue>,
    patterns: Vec<String>,
}

/// Where a queue of the protocol is found.
enum Place {
    Direct(Direct, String),
    Topic(Topic, String, Vec<String>),
}

impl Topology {
    pub(crate) fn new(options: InMemoryOptions) -> Self {
        Self {
            chance: options.faults.clone().map(Chance::new),
            options,
            connections: AtomicU64::new(0),
            routes: RwLock::default(),
        }
    }

    /// The number of a new connection.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes sure that the queue exists and is bound.
    pub(crate) fn declare(
        &self,
        spec: &QueueSpec,
        connection: u64,
    ) -> Result<Arc<Queue>, BrokerError> {
        let mut routes = self.write();
        // Whoever comes and goes declares something: so what has expired does not pile up.
        routes.collect_expired();
        if let QueueSpec::Task { pool } = spec {
            // What a worker rejects must not vanish because nobody has looked at dead letters yet.
            routes.declare(&QueueSpec::Dead { pool: pool.clone() }, connection)?;
        }
        routes.declare(spec, connection)
    }

    /// Deletes a queue with all that is in it; its consumers are interrupted.
    pub(crate) fn delete(&self, spec: &QueueSpec, connection: u64) -> Result<(), BrokerError> {
        let deleted = {
            let mut routes = self.write();
            if let Some(queue) = routes.find(spec) {
                check_owner(&queue, spec, connection)?;
            }
            routes.remove(spec)
        };
        if let Some(queue) = deleted {
            queue.delete().iter().for_each(|consumer| consumer.interrupt());
        }
        Ok(())
    }

    /// Deletes the queues that go with this connection.
    pub(crate) fn delete_owned(&self, connection: u64) {
        let owned = self.write().remove_topic(|queue| queue.kind.owner == Some(connection));
        for queue in owned {
            queue.delete().iter().for_each(|consumer| consumer.interrupt());
        }
    }

    /// Deletes this queue if it goes with its last consumer, and that is gone.
    pub(crate) fn delete_if_exclusive(&self, queue: &Arc<Queue>) {
        let (_, consumers) = queue.counts();
        if queue.kind.owner.is_some() && consumers == 0 {
            self.write().remove_topic(|known| std::ptr::eq(known, &**queue));
            queue.delete();
        }
    }

    /// Puts a message into each queue that it is addressed to; whether there is one.
    pub(crate) fn route(
        &self,
        address: &Address,
        message: &Arc<Message>,
        place: Option<u64>,
    ) -> bool {
        let routes = self.read();
        let exchange = match address.exchange {
            Exchange::Task => Ok(Direct::Task),
            Exchange::Reply => Ok(Direct::Reply),
            Exchange::Dead => Ok(Direct::Dead),
            Exchange::Control => Err(Topic::Control),
            Exchange::Event => Err(Topic::Event),
            _ => return false,
        };
        match exchange {
            Ok(direct) => routes
                .direct
                .get(&direct)
                .and_then(|queues| queues.get(&address.key))
                .is_some_and(|queue| queue.push(message.clone(), place)),
            Err(topic) => {
                let bound = routes.topic.get(&topic).into_iter().flat_map(HashMap::values);
                let addressed = bound.filter(|bound| {
                    bound.patterns.iter().any(|pattern| topic_matches(pattern, &address.key))
                });
                addressed.fold(false, |any, bound| bound.queue.push(message.clone(), place) | any)
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Routes> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routes {
    fn declare(&mut self, spec: &QueueSpec, connection: u64) -> Result<Arc<Queue>, BrokerError> {
        if let Some(queue) = self.find(spec) {
            check_owner(&queue, spec, connection)?;
            // A queue that expired is gone, although nobody has removed it yet.
            if !queue.renew() {
                self.remove(spec);
            }
        }
        match place_of(spec)? {
            Place::Direct(exchange, key) => {
                let queues = self.direct.entry(exchange).or_default();
                let queue = queues
                    .entry(key)
                    .or_insert_with(|| Queue::new(kind_of(spec, connection)).into());
                Ok(queue.clone())
            }
            Place::Topic(exchange, key, patterns) => {
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
                        vacant.insert(Bound { queue: queue.clone(), patterns });
                        Ok(queue)
                    }
                }
            }
        }
    }

    fn find(&self, spec: &QueueSpec) -> Option<Arc<Queue>> {
        match place_of(spec).ok()? {
            Place::Direct(exchange, key) => self.direct.get(&exchange)?.get(&key).cloned(),
            Place::Topic(exchange, key, _) => {
                self.topic.get(&exchange)?.get(&key).map(|bound| bound.queue.clone())
            }
        }
    }

    fn remove(&mut self, spec: &QueueSpec) -> Option<Arc<Queue>> {
        match place_of(spec).ok()? {
            Place::Direct(exchange, key) => self.direct.get_mut(&exchange)?.remove(&key),
            Place::Topic(exchange, key, _) => {
                self.topic.get_mut(&exchange)?.remove(&key).map(|bound| bound.queue)
            }
        }
    }

    fn remove_topic(&mut self, unwanted: impl Fn(&Queue) -> bool) -> Vec<Arc<Queue>> {
        let mut removed = Vec::new();
        for bound in self.topic.values_mut() {
            removed.extend(
                bound.extract_if(|_, bound| unwanted(&bound.queue)).map(|(_, bound)| bound.queue),
            );
        }
        removed
    }

    fn collect_expired(&mut self) {
        if let Some(queues) = self.direct.get_mut(&Direct::Reply) {
            queues.retain(|_, queue| !queue.is_expired());
        }
    }
}

fn place_of(spec: &QueueSpec) -> Result<Place, BrokerError> {
    Ok(match spec {
        QueueSpec::Task { pool } => Place::Direct(Direct::Task, pool.to_string()),
        QueueSpec::Reply { leader, .. } => Place::Direct(Direct::Reply, leader.to_string()),
        QueueSpec::Dead { pool } => Place::Direct(Direct::Dead, pool.to_string()),
        QueueSpec::Control { worker, topics } => {
            Place::Topic(Topic::Control, worker.to_string(), topics.clone())
        }
        QueueSpec::Event { leader } => {
            Place::Topic(Topic::Event, leader.to_string(), vec!["#".to_owned()])
        }
        other => {
            return Err(BrokerError::Unusable {
                what: format!("{other:?}"),
                reason: "the in-memory broker does not know this kind of queue".to_owned(),
            });
        }
    })
}

fn kind_of(spec: &QueueSpec, connection: u64) -> QueueKind {
    let shared = QueueKind::default();
    match spec {
        QueueSpec::Task { pool } => QueueKind { dead_letters: Some(pool.to_string()), ..shared },
        QueueSpec::Reply { expires, .. } => QueueKind { expires: Some(*expires), ..shared },
        QueueSpec::Dead { .. } => QueueKind { capacity: Some(DEAD_LETTERS), ..shared },
        _ => QueueKind { owner: Some(connection), capacity: Some(NEWS), ..shared },
    }
}

fn check_owner(queue: &Queue, spec: &QueueSpec, connection: u64) -> Result<(), BrokerError> {
    match queue.kind.owner {
        Some(owner) if owner != connection => Err(BrokerError::Unusable {
            what: format!("{spec:?}"),
            reason: "it belongs to another connection".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether a routing key matches: `*` is one word, `#` any number of words.
fn topic_matches(pattern: &str, key: &str) -> bool {
    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern, key) {
            ([], key) => key.is_empty(),
            (["#", rest @ ..], key) => (0..=key.len()).any(|taken| matches(rest, &key[taken..])),
            ([expected, rest @ ..], [word, words @ ..]) => {
                (*expected == "*" || expected == word) && matches(rest, words)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('.').collect();
    let key: Vec<&str> = key.split('.').collect();
    matches(&pattern, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_word_and_a_hash_is_any_number() {
        for (pattern, key, expected) in [
            ("#", "", true),
            ("#", "worker.1.drain", true),
            ("worker.*", "worker.1", true),
            ("worker.*", "worker", false),
            ("worker.*", "worker.1.drain", false),
            ("worker.#", "worker", true),
            ("#.drain", "worker.1.drain", true),
            ("#.drain.#", "worker.1.stop", false),
            ("*.1.*", "worker.1.drain", true),
            ("all", "all", true),
            ("all", "allies", false),
        ] {
            assert_eq!(topic_matches(pattern, key), expected, "{pattern} {key}");
        }
    }
}
