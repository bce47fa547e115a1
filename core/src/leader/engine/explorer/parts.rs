//! The parts of a world: the states of workers, and the messages in flight.

use std::{rc::Rc, time::Duration};

use crate::{
    broker::Pool,
    id::{CopyId, WorkerId},
    wire::{LeasedTask, Presence, ResultMessage, Return, TaskMessage},
};

pub(super) const WORKERS: usize = 2;
pub(super) const HOLD: Duration = Duration::from_secs(30);
/// The interval at which a worker renews its leases.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// A message in the task queue.
#[derive(Debug, Clone)]
pub(super) enum Queued {
    Task(Copy),
    Probe { nonce: u64 },
}

/// A published copy of a task.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) message: Rc<TaskMessage>,
    pub(super) redelivered: bool,
}

impl Copy {
    pub(super) fn id(&self) -> CopyId {
        self.message.header.copy
    }
}

/// The state of a worker.
#[derive(Debug, Clone)]
pub(super) enum WorkerState {
    Idle,
    /// Holds a delivery that is not settled.
    Holds {
        copy: Copy,
        /// The reply that was published; the delivery is acked once it is confirmed.
        reply: Option<Reply>,
        /// The broker has requeued the delivery: settling it does nothing.
        stale: bool,
        /// The child that the task shared with others died: it runs in a child of its own.
        alone: bool,
    },
    /// Runs a task whose delivery is acked.
    Leases {
        copy: Copy,
        alone: bool,
    },
    /// Runs an isolated task in its own process, element by element.
    InProcess {
        copy: Copy,
        /// The element that runs. The worker has named it in a lease.
        offset: u32,
        /// Whether the delivery is acked, or is another worker's by now.
        settled: bool,
    },
}

/// A reply that was unroutable: its worker has a slot free again, and publishes it later.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) by: usize,
    pub(super) reply: Reply,
    /// The delivery that it settles, until the hold is over.
    pub(super) delivery: Option<Copy>,
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Result(Rc<ResultMessage>),
    Return(Return),
    Lease(WorkerId, LeasedTask),
    Probe { nonce: u64 },
}

pub(super) fn worker(number: usize) -> WorkerId {
    WorkerId(uuid::Uuid::from_u128(number as u128 + 1))
}

/// The entry of a worker's heartbeat for the task that it leases, if it does.
pub(super) fn leased_task(state: &WorkerState) -> Option<LeasedTask> {
    let (copy, offset, in_process) = match state {
        WorkerState::Leases { copy, .. } => (copy, 0, false),
        WorkerState::InProcess { copy, offset, .. } => (copy, *offset, true),
        WorkerState::Idle | WorkerState::Holds { .. } => return None,
    };
    Some(LeasedTask { copy: copy.id(), offset, in_process })
}

pub(super) fn presence() -> Presence {
    Presence {
        worker: worker(0),
        name: String::new(),
        pools: vec![Pool::default()],
        slots: WORKERS as u32,
        async_slots: 0,
        isolates: true,
        operations: None,
        version: String::new(),
    }
}
