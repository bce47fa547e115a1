//! The names and arguments that exchanges and queues of the protocol have at the broker.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use lapin::{ExchangeKind, options::QueueDeclareOptions, types::FieldTable};
use phalanx_core::broker::{BrokerError, ConnectOptions, Exchange, QueueSpec, QueueType, Role};

use crate::{
    arguments::{arguments_of_type, set, set_text},
    shuffle_queue,
    version::ServerVersion,
};

/// Redeliveries of a message after which a quorum queue dead-letters it. The protocol stays far
/// below this limit. It is set because the default differs: none in RabbitMQ 3.10, 20 in 4.x.
const DELIVERY_LIMIT: i64 = 1_000;
/// The limits beyond which the oldest messages are dropped. Only a worker or leader that hangs
/// reaches them; what it misses is repeated every few seconds.
const MAX_CONTROL_MESSAGES: i64 = 1_000;
const MAX_EVENT_MESSAGES: i64 = 10_000;
const MAX_DEAD_MESSAGES: i64 = 10_000;
const MAX_DEAD_BYTES: i64 = 1 << 30;
const MAX_DEAD_AGE_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// The broker's own limit of `x-expires`, in milliseconds.
const MAX_EXPIRES_MS: u128 = (1 << 32) - 1;

/// The prefix of all names at the broker, and what else determines their shape.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    name: String,
    role: Role,
    queue_type: QueueType,
    /// How many reply queues this process has abandoned because their nodes are down.
    abandoned_reply_queues: Arc<AtomicU64>,
}

/// An exchange as it is declared at the broker.
pub(crate) struct ExchangeShape {
    pub(crate) name: String,
    pub(crate) kind: ExchangeKind,
    /// Whether the exchange is optional for this process: a worker never publishes tasks or dead
    /// letters, and few jobs shuffle through the broker, so its user may have no permission for
    /// those exchanges.
    pub(crate) optional: bool,
    /// Whether it may be absent, too: users whose permissions name the other exchanges can connect.
    pub(crate) may_be_absent: bool,
}

/// A queue as it is declared at the broker.
#[derive(Debug)]
pub(crate) struct QueueShape {
    pub(crate) name: String,
    pub(crate) options: QueueDeclareOptions,
    pub(crate) arguments: FieldTable,
    pub(crate) exchange: String,
    pub(crate) bindings: Vec<String>,
    /// Whether other processes declare and bind it too.
    pub(crate) shared: bool,
}

impl Namespace {
    /// Leaves room for the rest of a name: the broker allows 255 bytes.
    const MAX_BYTES: usize = 128;

    pub(crate) fn new(options: &ConnectOptions) -> Result<Self, BrokerError> {
        let name = &options.namespace;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if name.is_empty() || name.len() > Self::MAX_BYTES || !name.chars().all(legal) {
            return Err(BrokerError::Unusable {
                what: format!("namespace `{}`", name.chars().take(80).collect::<String>()),
                reason: "use 1 to 128 of the characters a-z, A-Z, 0-9 and `-_.:/`".to_owned(),
            });
        }
        Ok(Self {
            name: name.clone(),
            role: options.role,
            queue_type: options.queue_type,
            abandoned_reply_queues: Arc::default(),
        })
    }

    /// All exchanges of the protocol.
    ///
    /// Each namespace has its own, and nothing is published to the default exchange: permission for
    /// that one allows publishing into any queue.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = ExchangeShape> {
        [
            Exchange::Task,
            Exchange::Reply,
            Exchange::Control,
            Exchange::Event,
            Exchange::Dead,
            Exchange::Shuffle,
        ]
        .into_iter()
        .filter_map(|exchange| {
            let topic = matches!(exchange, Exchange::Control | Exchange::Event);
            let for_leaders = matches!(exchange, Exchange::Task | Exchange::Dead);
            let for_shuffles = exchange == Exchange::Shuffle;
            Some(ExchangeShape {
                name: self.exchange(exchange)?,
                kind: if topic { ExchangeKind::Topic } else { ExchangeKind::Direct },
                optional: for_shuffles || for_leaders && self.role == Role::Worker,
                may_be_absent: for_shuffles,
            })
        })
    }

    /// The name of the exchange at the broker; `None` if this version does not support it.
    pub(crate) fn exchange(&self, exchange: Exchange) -> Option<String> {
        let last = match exchange {
            Exchange::Task => "task",
            Exchange::Reply => "reply",
            Exchange::Control => "control",
            Exchange::Event => "event",
            Exchange::Dead => "dead",
            Exchange::Shuffle => "shuffle",
            _ => return None,
        };
        Some(format!("{}.{last}", self.name))
    }

    /// Names another reply queue from now on, because the node of the present one is down. The
    /// leader detects the loss of the replies in the abandoned queue (protocol rule 12).
    pub(crate) fn abandon_reply_queue(&self) {
        // Relaxed: the counter publishes no other data.
        self.abandoned_reply_queues.fetch_add(1, Ordering::Relaxed);
    }

    /// The queue's name and arguments at the broker. `version` is that of the broker, and decides
    /// only the arguments of queues of blocks.
    ///
    /// Exclusive queues have the generation of their connection in their name: the broker may not
    /// have noticed yet that the previous connection is gone, and would refuse its queue's name
    /// (rule 24).
    pub(crate) fn queue(
        &self,
        queue: &QueueSpec,
        generation: u64,
        version: Option<ServerVersion>,
    ) -> Result<QueueShape, BrokerError> {
        let namespace = &self.name;
        // The common shape is durable and not shared; the arms below set what differs.
        let shape = |kind: &str, suffix: String, bindings, arguments| QueueShape {
            name: format!("{namespace}.{kind}.{suffix}"),
            options: QueueDeclareOptions { durable: true, ..Default::default() },
            arguments,
            exchange: format!("{namespace}.{kind}"),
            bindings,
            shared: false,
        };
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        Ok(match queue {
            QueueSpec::Task { pool } => {
                let quorum = self.queue_type != QueueType::Classic;
                let mut arguments = arguments_of_type(if quorum { "quorum" } else { "classic" });
                if quorum {
                    set(&mut arguments, "x-delivery-limit", DELIVERY_LIMIT);
                }
                set_text(&mut arguments, "x-dead-letter-exchange", &format!("{namespace}.dead"));
                set_text(&mut arguments, "x-dead-letter-routing-key", pool.as_str());
                let bindings = vec![pool.to_string()];
                QueueShape { shared: true, ..shape("task", pool.to_string(), bindings, arguments) }
            }
            QueueSpec::Reply { leader, expires } => {
                let mut arguments = arguments_of_type("classic");
                let expires = expires.as_millis().clamp(1, MAX_EXPIRES_MS);
                set(&mut arguments, "x-expires", expires as i64);
                let suffix = match self.abandoned_reply_queues.load(Ordering::Relaxed) {
                    0 => leader.to_string(),
                    abandoned => format!("{leader}-{abandoned}"),
                };
                shape("reply", suffix, vec![leader.to_string()], arguments)
            }
            QueueSpec::Control { worker, topics } => {
                let mut arguments = arguments_of_type("classic");
                set(&mut arguments, "x-max-length", MAX_CONTROL_MESSAGES);
                let suffix = format!("{worker}-{generation}");
                let shape = shape("control", suffix, topics.clone(), arguments);
                QueueShape { options: exclusive, ..shape }
            }
            QueueSpec::Event { leader } => {
                let mut arguments = arguments_of_type("classic");
                set(&mut arguments, "x-max-length", MAX_EVENT_MESSAGES);
                let suffix = format!("{leader}-{generation}");
                let shape = shape("event", suffix, vec!["#".to_owned()], arguments);
                QueueShape { options: exclusive, ..shape }
            }
            QueueSpec::Dead { pool } => {
                let mut arguments = arguments_of_type("classic");
                set(&mut arguments, "x-max-length", MAX_DEAD_MESSAGES);
                set(&mut arguments, "x-max-length-bytes", MAX_DEAD_BYTES);
                set(&mut arguments, "x-message-ttl", MAX_DEAD_AGE_MS);
                let bindings = vec![pool.to_string()];
                QueueShape { shared: true, ..shape("dead", pool.to_string(), bindings, arguments) }
            }
            QueueSpec::Shuffle(queue) => {
                let key = queue.to_string();
                shape("shuffle", key.clone(), vec![key], shuffle_queue::arguments(version))
            }
            unknown => {
                return Err(BrokerError::Unusable {
                    what: format!("{unknown:?}"),
                    reason: "this version of the RabbitMQ broker does not support it".to_owned(),
                });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lapin::types::AMQPValue;
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
    fn a_task_queue_is_durable_and_dead_letters_what_is_rejected_or_delivered_too_often() {
        let queue = QueueSpec::Task { pool: Pool::new("gpu").unwrap() };
        let shape = namespace("ns", QueueType::Quorum).unwrap().queue(&queue, 7, None).unwrap();
        assert_eq!(shape.name, "ns.task.gpu");
        assert!(shape.options.durable && !shape.options.exclusive && !shape.options.auto_delete);
        assert_eq!(text(&shape, "x-queue-type").as_deref(), Some("quorum"));
        assert_eq!(number(&shape, "x-delivery-limit"), Some(1_000));
        assert_eq!(text(&shape, "x-dead-letter-exchange").as_deref(), Some("ns.dead"));
        assert_eq!(text(&shape, "x-dead-letter-routing-key").as_deref(), Some("gpu"));
        assert_eq!((shape.exchange.as_str(), shape.bindings), ("ns.task", vec!["gpu".to_owned()]));
    }

    #[test]
    fn a_classic_task_queue_has_no_delivery_limit_because_the_broker_refuses_it() {
        let queue = QueueSpec::Task { pool: Pool::default() };
        let shape = namespace("ns", QueueType::Classic).unwrap().queue(&queue, 1, None).unwrap();
        assert_eq!(text(&shape, "x-queue-type").as_deref(), Some("classic"));
        assert_eq!(number(&shape, "x-delivery-limit"), None);
        assert!(text(&shape, "x-dead-letter-exchange").is_some());
    }

    #[test]
    fn exclusive_queues_are_named_after_the_generation_of_their_connection() {
        let namespace = namespace("ns", QueueType::Quorum).unwrap();
        let (leader, worker) = (LeaderId::new(), WorkerId::new());
        let event = QueueSpec::Event { leader };
        let control = QueueSpec::Control { worker, topics: vec!["all.#".to_owned()] };
        for (queue, name) in
            [(event, format!("ns.event.{leader}-3")), (control, format!("ns.control.{worker}-3"))]
        {
            let shape = namespace.queue(&queue, 3, None).unwrap();
            assert_eq!(shape.name, name);
            assert!(shape.options.exclusive && !shape.options.durable);
            assert!(number(&shape, "x-max-length").is_some());
        }
    }

    #[test]
    fn queues_that_outlive_their_connection_are_durable() {
        let namespace = namespace("ns", QueueType::Quorum).unwrap();
        for queue in [
            QueueSpec::Task { pool: Pool::default() },
            QueueSpec::Reply { leader: LeaderId::new(), expires: Duration::MAX },
            QueueSpec::Dead { pool: Pool::default() },
        ] {
            let shape = namespace.queue(&queue, 1, None).unwrap();
            assert!(shape.options.durable && !shape.options.exclusive, "{queue:?}");
            assert!(number(&shape, "x-expires").unwrap_or(1) < 1 << 32);
        }
    }

    #[test]
    fn an_invalid_namespace_is_refused() {
        for name in ["", "a b", "ä", &"n".repeat(129)] {
            assert!(namespace(name, QueueType::Quorum).is_err(), "{name}");
        }
        let longest = namespace(&"n".repeat(128), QueueType::Quorum).unwrap();
        let queue = QueueSpec::Control { worker: WorkerId::new(), topics: Vec::new() };
        assert!(longest.queue(&queue, u64::MAX, None).unwrap().name.len() <= 255);
    }
}
