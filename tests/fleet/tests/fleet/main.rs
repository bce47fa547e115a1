//! Programs on whole fleets: a leader in this process, workers in separate processes, and RabbitMQ
//! between them. Inputs, builds, workers and the broker fail in every way that a user can
//! encounter.

mod async_slots;
mod brokers;
mod builds;
mod cancellation;
mod connecting;
mod dead_letters;
mod elements;
mod fresh;
mod indexes;
mod keyed;
mod leases;
mod messages;
mod nodes;
mod notices;
mod outputs;
mod permissions;
mod results;
mod serialization;
mod shuffle;
mod spill;
mod stalls;
mod support;
mod workers;
