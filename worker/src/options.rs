//! How a worker serves.

use std::time::Duration;

use phalanx_core::{broker::Pool, wire::timing::HOLD};

/// How a worker serves.
///
/// ```
/// use phalanx_worker::WorkerOptions;
///
/// let mut options = WorkerOptions::default();
/// options.slots = 4;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// The pools whose tasks it takes. Default: the pool `default`.
    pub pools: Vec<Pool>,
    /// Blocking executions at once, each on a thread of its own; at least 1. Default: one for
    /// each core.
    pub slots: usize,
    /// Elements of asynchronous stages at once; at least 1. More of them hide longer waits, and
    /// hold more inputs and outputs in memory. Default: 256.
    pub async_slots: usize,
    /// Within so long each delivery is settled, whatever happens, so that no acknowledgement timeout
    /// of any operator fires: what has not begun by then is given back to its leader, and what runs
    /// goes on under a lease. 100 ms to 30 s, which is what leaders reckon with. Default: 30 s.
    pub hold: Duration,
    /// How long a drain may take. Running tasks may go on for most of it; its last 2.5 s, or half of
    /// a shorter one, are for what was told to end, and for answers. Default: 30 s.
    pub grace: Duration,
    /// How long it listens for leaders before it takes tasks, after it has (re)connected: so it
    /// hears which jobs are dead before it runs their tasks. Default: 1 s.
    pub listen: Duration,
    /// Whether isolated tasks run in child processes. The leader asks for that when a task may have
    /// ended the worker that had it: then it ends a child, and its element is named. A program that
    /// sets it calls [`isolated`](crate::isolated) first of all in its `main`. Without it, such
    /// tasks run like all others, in this process. Default: no; [`main`](crate::main) does both.
    pub isolate: bool,
    /// Its name, for people. Default: host name and process id.
    pub name: String,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            pools: vec![Pool::default()],
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            async_slots: 256,
            hold: HOLD,
            grace: Duration::from_secs(30),
            listen: Duration::from_secs(1),
            isolate: false,
            name: format!("{}/{}", host_name(), std::process::id()),
        }
    }
}

fn host_name() -> String {
    let name = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    match name.as_deref().map(str::trim) {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "worker".to_owned(),
    }
}
