//! Exchanges and queues of the protocol, by their real names and arguments.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lapin::{
    ExchangeKind,
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable, LongString},
};
use phalanx_core::broker::{BrokerError, ConnectOptions, Exchange, QueueSpec, QueueType, Role};

/// Deliveries of one message before a quorum queue gives it up. Nothing of the protocol comes near
/// it; without any limit, 3.10 and 4.x behave differently.
const DELIVERY_LIMIT: i64 = 1_000;
/// What a worker that hangs may miss: control is repeated every few seconds.
const MAX_CONTROL_MESSAGES: i64 = 1_000;
const MAX_EVENT_MESSAGES: i64 = 10_000;
const MAX_DEAD_MESSAGES: i64 = 10_000;
const MAX_DEAD_BYTES: i64 = 1 << 30;
const MAX_DEAD_AGE_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The broker's own bound on `x-expires`.
const MAX_EXPIRES_MS: u128 = (1 << 32) - 1;

/// What all names begin with.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    name: String,
    role: Role,
    queue_type: QueueType,
    /// How many reply queues were left behind on nodes that are down.
    replies_left: Arc<AtomicU64>,
}

/// An exchange as the broker knows it.
pub(crate) struct ExchangeShape {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    /// Whether it is of no use to this side, which may then be kept from seeing it.
    pub(crate) may_be_hidden: bool,
}

/// A queue as the broker knows it.
#[derive(Debug)]
pub(crate) struct QueueShape {
    pub(crate) name: String,
    pub(crate) options: QueueDeclareOptions,
    pub(crate) arguments: FieldTable,
    pub(crate) exchange: String,
    pub(crate) bindings: Vec<String>,
    /// Whether others declare and bind it too.
    pub(crate) shared: bool,
}

impl Namespace {
    /// Longer ones would not leave room for the rest of a name.
    const MAX_BYTES: usize = 128;

    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, BrokerError> {
        let name = &options.namespace;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if name.is_empty() || name.len() > Self::MAX_BYTES || !name.chars().all(legal) {
            return Err(BrokerError::Unusable {
                what: format!("namespace `{}`", name.chars().take(80).collect::<String>()),
                reason: "use 1 to 128 of a-z, A-Z, 0-9 and `-_.:/`".to_owned(),
            });
        }
        Ok(Self {
            name: name.clone(),
            role: options.role,
            queue_type: options.queue_type,
            replies_left: Arc::default(),
        })
    }

    /// All exchanges of the protocol: each topology has its own, nothing uses the default one, so
    /// that a user needs no right to publish into any queue.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = ExchangeShape> {
        [Exchange::Task, Exchange::Reply, Exchange::Control, Exchange::Event, Exchange::Dead]
            .into_iter()
            .filter_map(|exchange| {
                let topic = matches!(exchange, Exchange::Control | Exchange::Event);
                let for_leaders = matches!(exchange, Exchange::Task | Exchange::Dead);
                Some(ExchangeShape {
                    name: self.exchange(exchange)?,
                    kind: if topic { ExchangeKind::Topic } else { ExchangeKind::Direct },
                    may_be_hidden: for_leaders && self.role == Role::Worker,
                })
            })
    }

    /// The real name; `None` for an exchange that this version does not know.
    pub(crate) fn exchange(&self, exchange: Exchange) -> Option<String> {
        let last = match exchange {
            Exchange::Task => "task",
            Exchange::Reply => "reply",
            Exchange::Control => "control",
            Exchange::Event => "event",
            Exchange::Dead => "dead",
            _ => return None,
        };
        Some(format!("{}.{last}", self.name))
    }

    /// From now on replies come to another queue, of the same bindings: the node of this one is down.
    /// What was in it is lost to this process, and is found to be.
    pub(crate) fn next_reply_queue(&self) {
        self.replies_left.fetch_add(1, Ordering::Relaxed);
    }

    /// The real queue. Those that live with their connection carry its generation in their name: a
    /// lingering old connection may hold the old one yet.
    pub(crate) fn queue(
        &self,
        queue: &QueueSpec,
        generation: u64,
    ) -> Result<QueueShape, BrokerError> {
        let namespace = &self.name;
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        Ok(match queue {
            QueueSpec::Task { pool } => {
                let quorum = self.queue_type != QueueType::Classic;
                let mut arguments = typed(if quorum { "quorum" } else { "classic" });
                if quorum {
                    set(&mut arguments, "x-delivery-limit", DELIVERY_LIMIT);
                }
                set_text(&mut arguments, "x-dead-letter-exchange", &format!("{namespace}.dead"));
                set_text(&mut arguments, "x-dead-letter-routing-key", pool.as_str());
                QueueShape {
                    name: format!("{namespace}.task.{pool}"),
                    options: durable,
                    arguments,
                    exchange: format!("{namespace}.task"),
                    bindings: vec![pool.to_string()],
                    shared: true,
                }
            }
            QueueSpec::Reply { leader, expires } => {
                let mut arguments = typed("classic");
                let expires = expires.as_millis().clamp(1, MAX_EXPIRES_MS);
                set(&mut arguments, "x-expires", expires as i64);
                let name = match self.replies_left.load(Ordering::Relaxed) {
                    0 => format!("{namespace}.reply.{leader}"),
                    left => format!("{namespace}.reply.{leader}-{left}"),
                };
                QueueShape {
                    name,
                    options: durable,
                    arguments,
                    exchange: format!("{namespace}.reply"),
                    bindings: vec![leader.to_string()],
                    shared: false,
                }
            }
            QueueSpec::Control { worker, topics } => {
                let mut arguments = typed("classic");
                set(&mut arguments, "x-max-length", MAX_CONTROL_MESSAGES);
                QueueShape {
                    name: format!("{namespace}.control.{worker}-{generation}"),
                    options: exclusive,
                    arguments,
                    exchange: format!("{namespace}.control"),
                    bindings: topics.clone(),
                    shared: false,
                }
            }
            QueueSpec::Event { leader } => {
                let mut arguments = typed("classic");
                set(&mut arguments, "x-max-length", MAX_EVENT_MESSAGES);
                QueueShape {
                    name: format!("{namespace}.event.{leader}-{generation}"),
                    options: exclusive,
                    arguments,
                    exchange: format!("{namespace}.event"),
                    bindings: vec!["#".to_owned()],
                    shared: false,
                }
            }
            QueueSpec::Dead { pool } => {
                let mut arguments = typed("classic");
                set(&mut arguments, "x-max-length", MAX_DEAD_MESSAGES);
                set(&mut arguments, "x-max-length-bytes", MAX_DEAD_BYTES);
                set(&mut arguments, "x-message-ttl", MAX_DEAD_AGE_MS);
                QueueShape {
                    name: format!("{namespace}.dead.{pool}"),
                    options: durable,
                    arguments,
                    exchange: format!("{namespace}.dead"),
                    bindings: vec![pool.to_string()],
                    shared: true,
                }
            }
            unknown => {
                return Err(BrokerError::Unusable {
                    what: format!("{unknown:?}"),
                    reason: "this version of the RabbitMQ runtime does not know it".to_owned(),
                });
            }
        })
    }
}

/// The type is always said: an operator may have set another default for the virtual host.
fn typed(kind: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    set_text(&mut arguments, "x-queue-type", kind);
    arguments
}

fn set(arguments: &mut FieldTable, name: &str, value: i64) {
    arguments.insert(name.into(), AMQPValue::LongLongInt(value));
}

fn set_text(arguments: &mut FieldTable, name: &str, value: &str) {
    arguments.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phalanx_core::{
        broker::Pool,
        id::{LeaderId, WorkerId},
    };

    use super::*;

    fn namespace(name: &str, queue_type: QueueType) -> Result<Namespace, BrokerError> {
        let mut options = ConnectOptions::new(Role::Leader);
        options.namespace = name.to_owned();
        options.queue_type = queue_type;
        Namespace::new(&options)
    }

    fn number(shape: &QueueShape, name: &str) -> Option<i64> {
        match shape.arguments.inner().get(name) {
            Some(AMQPValue::LongLongInt(value)) => Some(*value),
            _ => None,
        }
    }

    fn text(shape: &QueueShape, name: &str) -> Option<String> {
        match shape.arguments.inner().get(name) {
            Some(AMQPValue::LongString(value)) => Some(value.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_task_queue_is_durable_limited_and_has_a_net_beneath() {
        let queue = QueueSpec::Task { pool: Pool::new("gpu").unwrap() };
        let shape = namespace("ns", QueueType::Quorum).unwrap().queue(&queue, 7).unwrap();
        assert_eq!(shape.name, "ns.task.gpu");
        assert!(shape.options.durable && !shape.options.exclusive && !shape.options.auto_delete);
        assert_eq!(text(&shape, "x-queue-type").as_deref(), Some("quorum"));
        assert_eq!(number(&shape, "x-delivery-limit"), Some(1_000));
        assert_eq!(text(&shape, "x-dead-letter-exchange").as_deref(), Some("ns.dead"));
        assert_eq!(text(&shape, "x-dead-letter-routing-key").as_deref(), Some("gpu"));
        assert_eq!((shape.exchange.as_str(), shape.bindings), ("ns.task", vec!["gpu".to_owned()]));
    }

    #[test]
    fn a_classic_task_queue_has_no_delivery_limit_which_the_broker_would_refuse() {
        let queue = QueueSpec::Task { pool: Pool::default() };
        let shape = namespace("ns", QueueType::Classic).unwrap().queue(&queue, 1).unwrap();
        assert_eq!(text(&shape, "x-queue-type").as_deref(), Some("classic"));
        assert_eq!(number(&shape, "x-delivery-limit"), None);
        assert!(text(&shape, "x-dead-letter-exchange").is_some());
    }

    #[test]
    fn queues_that_live_with_their_connection_are_named_after_it() {
        let namespace = namespace("ns", QueueType::Quorum).unwrap();
        let (leader, worker) = (LeaderId::new(), WorkerId::new());
        let event = QueueSpec::Event { leader };
        let control = QueueSpec::Control { worker, topics: vec!["all.#".to_owned()] };
        for (queue, name) in
            [(event, format!("ns.event.{leader}-3")), (control, format!("ns.control.{worker}-3"))]
        {
            let shape = namespace.queue(&queue, 3).unwrap();
            assert_eq!(shape.name, name);
            assert!(shape.options.exclusive && !shape.options.durable);
            assert!(number(&shape, "x-max-length").is_some());
        }
    }

    #[test]
    fn no_shared_queue_is_transient() {
        let namespace = namespace("ns", QueueType::Quorum).unwrap();
        for queue in [
            QueueSpec::Task { pool: Pool::default() },
            QueueSpec::Reply { leader: LeaderId::new(), expires: Duration::MAX },
            QueueSpec::Dead { pool: Pool::default() },
        ] {
            let shape = namespace.queue(&queue, 1).unwrap();
            assert!(shape.options.durable && !shape.options.exclusive, "{queue:?}");
            assert!(number(&shape, "x-expires").unwrap_or(1) < 1 << 32);
        }
    }

    #[test]
    fn a_namespace_that_makes_no_names_is_refused() {
        for name in ["", "a b", "ä", &"n".repeat(129)] {
            assert!(namespace(name, QueueType::Quorum).is_err(), "{name}");
        }
        let longest = namespace(&"n".repeat(128), QueueType::Quorum).unwrap();
        let queue = QueueSpec::Control { worker: WorkerId::new(), topics: Vec::new() };
        assert!(longest.queue(&queue, u64::MAX).unwrap().name.len() <= 255);
    }
}
