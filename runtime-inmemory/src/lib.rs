//! The broker in memory: what `memory://` names.
//!
//! It carries the same bytes as RabbitMQ does and keeps to the same rules where the protocol looks:
//! competing consumers with a prefetch, redelivery of what a lost consumer held, dead letters,
//! queues that go with their connection. Nothing outlives the process.
//!
//! It can be told to misbehave from a seed ([`Faults`]): a unit test of your operations then
//! sees what they will meet on a fleet.

mod acker;
mod broker;
mod connection;
mod consumer;
mod entry;
mod faults;
mod lock;
mod options;
mod publisher;
mod queue;
mod subscription;
mod topology;
mod workers;

pub use broker::InMemoryBroker;
pub use faults::Faults;
pub use options::InMemoryOptions;
