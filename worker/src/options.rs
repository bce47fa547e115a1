//! The settings of a worker.

use std::{path::PathBuf, time::Duration};

use phalanx_core::{broker::Pool, wire::timing::HOLD};

/// The range of the stack of a slot thread, in bytes.
pub(crate) const SMALLEST_STACK: usize = 64 << 10;
pub(crate) const LARGEST_STACK: usize = 1 << 30;
/// The least gather memory, in bytes.
pub(crate) const SMALLEST_GATHER_MEMORY: u64 = 64 << 10;

/// The settings of a [`Worker`](crate::Worker). Values outside of their range are clamped.
///
/// ```
/// use std::time::Duration;
///
/// use phalanx::worker::WorkerOptions;
///
/// let mut options = WorkerOptions::default();
/// options.pools = vec!["gpu".parse().unwrap()];
/// options.slots = 4;
/// options.grace = Duration::from_secs(10);
/// assert_eq!(options.async_slots, 256);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// The pools that the worker consumes from. All of them share its slots. A pool listed twice is
    /// consumed twice, which only halves its prefetch. Default: the pool `default`.
    pub pools: Vec<Pool>,
    /// Tasks of blocking operations that run at the same time, each on its own thread. 1 to
    /// 65 535. Default: the number of cores that are available to the process.
    pub slots: usize,
    /// Elements of asynchronous operations that run at the same time. More of them hide longer
    /// waits, and keep more inputs and outputs in memory. 1 to 65 535. Default: 256.
    pub async_slots: usize,
    /// The stack of each slot thread in bytes, of which memory is used only as deep as operations
    /// call. 64 KiB to 1 GiB. Default: 8 MiB, as the main thread of a program usually has.
    pub stack: usize,
    /// The longest time that a delivery stays unsettled; keep it below the broker's acknowledgement
    /// timeout. Near its end, a task that has not begun is returned to its leader, and one that
    /// runs continues under a lease. 100 ms to 30 s. Default: 30 s.
    ///
    /// Leaders expect at most the `hold` of their `RuntimeBuilder`: if that is shorter than this,
    /// some tasks run twice, but still count once.
    pub hold: Duration,
    /// The longest time that a drain takes. Running tasks may continue for most of it. Its last
    /// 2.5 s, or half of it if it is shorter than 5 s, are for cancelled operations and for
    /// replies. At most a year. Default: 30 s.
    pub grace: Duration,
    /// After it has connected or reconnected, the worker waits this long for the first message of a
    /// leader before it accepts tasks, so that it can discard tasks of dead jobs. At most a year.
    /// Default: 1 s.
    pub leader_wait: Duration,
    /// The most memory for what tasks gather from queues, in bytes: for each up to twice the size
    /// of its blocks while it gathers, and once until it ends. A task that needs more than all of
    /// it gathers in files of [`spill_dir`](Self::spill_dir), and has memory for twice
    /// a part of it, which has 16 MiB on average. The rows of a single key must fit into half of
    /// the memory, or into 32 MiB if that is more. 64 KiB or more. Default: 256 MiB.
    pub gather_memory: u64,
    /// Where tasks gather that need more memory than there is. Each takes up to twice the size of
    /// its blocks. The files have no names, and are gone when the process ends. A directory that is
    /// kept in memory (`tmpfs`) is no help. Default: that of the system for temporary files.
    pub spill_dir: PathBuf,
    /// Whether isolated tasks run in child processes. A leader isolates a task that may have killed
    /// a worker; in a child process it cannot do so again, and the element at fault is identified.
    /// The program must call [`isolated`](crate::isolated) first in its `main`, as
    /// [`main`](crate::main) does. If `false`, isolated tasks run in this process like all others.
    /// Default: `false`; [`main`](crate::main) sets `true`.
    pub isolate: bool,
    /// Whether the worker prints nothing. Otherwise a program without a `tracing` subscriber prints
    /// one line to standard error when the connection to the broker is lost, and when it is back.
    /// Default: `false`.
    pub quiet: bool,
    /// The name of the worker in logs. Default: host name and process id, as `host/1234`.
    pub name: String,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            pools: vec![Pool::default()],
            slots: std::thread::available_parallelism().map_or(1, usize::from),
            async_slots: 256,
            stack: 8 << 20,
            hold: HOLD,
            grace: Duration::from_secs(30),
            leader_wait: Duration::from_secs(1),
            gather_memory: 256 << 20,
            spill_dir: std::env::temp_dir(),
            isolate: false,
            quiet: false,
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
