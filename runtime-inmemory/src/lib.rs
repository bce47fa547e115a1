//! The in-memory broker of Phalanx, which URLs with the scheme `memory://` connect to.
//!
//! It carries the same bytes as RabbitMQ and keeps the rules that the protocol relies on: competing
//! consumers with a prefetch, redelivery of the messages that a lost consumer held, dead letters,
//! queues that are deleted with their connection. It exists only within its process.
//!
//! Programs use it as `phalanx::inmemory`. [`InMemoryBroker`] connects several leaders in one
//! process, and injects [`Faults`]: a unit test then shows how your operations behave on an
//! unreliable network.

// The broker, how a URL finds it, and the workers that it starts.
mod broker;
mod entry;
mod options;
mod workers;

// A connection, and its publisher. `fault_injector` decides which of the `faults` a message
// suffers.
mod connection;
mod fault_injector;
mod faults;
mod publisher;

// Exchanges and queues: `topology` is the state that all connections share, `routes` the bindings,
// `topic` their patterns.
mod queue;
mod routes;
mod topic;
mod topology;

// Consuming: `consumer` yields deliveries, `subscription` is the broker's side of it, which also
// settles, and `unsettled` its unsettled deliveries.
mod consumer;
mod subscription;
mod unsettled;

mod lock;

pub use broker::InMemoryBroker;
pub use faults::Faults;
pub use options::InMemoryOptions;
