//! The RabbitMQ broker of Phalanx, from RabbitMQ 3.10 on.
//!
//! Depend on the facade crate `phalanx` with the feature `amqp`, not on this crate. URLs with the
//! scheme `amqp://` (and `amqps://` with the feature `tls`) then connect to RabbitMQ;
//! [`AmqpBroker`] describes them.

// The broker, and how a URL finds it.
mod asked;
mod broker;
mod close_on_drop;
mod entry;
mod url;

// The two connections of a process. `connection` reconnects, `session` is one connection until it
// is lost, `dial` opens it.
mod backoff;
mod connection;
mod dial;
mod greeting;
mod health;
mod session;
mod socket;
mod tls;
mod version;

// Exchanges and queues: `topology` has their names and arguments, `declare` creates them;
// `shuffle_queue` and `manage` do the same for queues of blocks.
mod declare;
mod manage;
mod shuffle_queue;
mod topology;

// Publishing: `publisher` queues a message, `publish_task` owns the channel, `in_flight` has the
// messages without a confirm, `verdict` decides which of them a refusal concerns.
mod in_flight;
mod outgoing;
mod publish_task;
mod publisher;
mod verdict;

// Consuming: `consumer` yields deliveries, `subscription` is its task, `consumer_channel` one
// channel of it, `consumer_stream` one consumer of the broker. `acker` settles, `unacked` decides
// which acks can be sent as one.
mod acker;
mod arguments;
mod consumer;
mod consumer_channel;
mod consumer_stream;
mod subscription;
mod unacked;

// Shared helpers.
mod error;
mod lock;
mod properties;

pub use broker::AmqpBroker;
