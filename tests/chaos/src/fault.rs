//! The faults of a fleet.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use phalanx_test_node::Cluster;
use phalanx_test_proxy::Traffic;

/// The kinds of faults that a schedule injects at a point in time. What happens at a point of the
/// protocol is an [`Incident`](crate::Incident).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum FaultKind {
    /// Kill a worker with SIGKILL; a new one replaces it
    KillWorker,
    /// Kill all workers with SIGKILL; new ones start later
    KillWorkers,
    /// Send SIGTERM to a worker, which must drain and exit with code 0
    DrainWorker,
    /// Suspend a worker, and resume it later
    SuspendWorker,
    /// Suspend the leader, and resume it later
    SuspendLeader,
    /// Suspend the broker, and resume it later
    SuspendBroker,
    /// Kill the broker with SIGKILL, and start it again later
    KillBroker,
    /// Stop the broker gracefully, and start it again
    RestartBroker,
    /// Raise the memory alarm of the broker, which then blocks publishers
    Alarm,
    /// Cut the connections of one process
    Cut,
    /// Stall all bytes between one process and the broker, and forward them later
    Stall,
    /// Discard all bytes between one process and the broker, then cut the connections
    Discard,
    /// Delay all bytes between one process and the broker
    Delay,
    /// Delete the task queue and all its messages
    DeleteQueue,
    /// Kill a cluster node with SIGKILL, and start it again later
    KillNode,
    /// Freeze a cluster node, and resume it later
    FreezeNode,
    /// Partition a cluster node from the others, but not from its clients
    PartitionNode,
}

impl FaultKind {
    /// The name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned())
    }

    /// Whether the fault needs a single broker node that belongs to the run.
    pub fn needs_own_node(self) -> bool {
        matches!(self, Self::SuspendBroker | Self::KillBroker | Self::RestartBroker | Self::Alarm)
    }

    /// Whether the fault needs a cluster.
    pub fn needs_cluster(self) -> bool {
        matches!(self, Self::KillNode | Self::FreezeNode | Self::PartitionNode)
    }
}

/// The process that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTarget {
    /// The leader.
    Leader,
    /// A worker, by its number from 0.
    Worker(usize),
    /// A cluster node, by its number from 0.
    Node(usize),
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::Worker(worker) => write!(f, "worker {worker}"),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}

/// One fault of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The affected process. Ignored by kinds that affect all workers, or the broker.
    pub target: FaultTarget,
    /// The duration. Ignored by kinds that take effect at once.
    pub length: Duration,
}

impl Fault {
    /// A fault of this kind with a random target and duration. A process is suspended, or its
    /// traffic is stopped, for 0.3 to 3.8 times the `heartbeat` of the connections.
    pub(crate) fn random(
        kind: FaultKind,
        random: &mut fastrand::Rng,
        workers: usize,
        heartbeat: Duration,
    ) -> Self {
        let worker = FaultTarget::Worker(random.usize(..workers));
        let target = match kind {
            FaultKind::KillWorker | FaultKind::DrainWorker | FaultKind::SuspendWorker => worker,
            FaultKind::Cut | FaultKind::Stall | FaultKind::Discard | FaultKind::Delay
                if random.bool() =>
            {
                worker
            }
            _ if kind.needs_cluster() => FaultTarget::Node(random.usize(..Cluster::NODES)),
            _ => FaultTarget::Leader,
        };
        let part = random.f64();
        let length = match kind {
            // A connection is closed after two missed heartbeats.
            FaultKind::SuspendWorker
            | FaultKind::SuspendLeader
            | FaultKind::SuspendBroker
            | FaultKind::Stall
            | FaultKind::Discard => heartbeat.mul_f64(0.3 + 3.5 * part),
            // The other nodes need some seconds to notice, and to elect new leaders of queues.
            _ if kind.needs_cluster() => Duration::from_secs_f64(4.0 + 12.0 * part),
            _ => Duration::from_secs_f64(0.5 + 3.0 * part),
        };
        Self { kind, target, length }
    }

    /// The behaviour of the proxy between the target and the broker.
    pub(crate) fn traffic(&self) -> Traffic {
        match self.kind {
            FaultKind::Stall => Traffic::Stall,
            FaultKind::Discard => Traffic::Discard,
            FaultKind::Delay => Traffic::Delay(self.length / 20),
            _ => Traffic::Forward,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, target, length } = self;
        f.write_str(&kind.name())?;
        match kind {
            FaultKind::KillWorker | FaultKind::DrainWorker => write!(f, ": {target}"),
            FaultKind::SuspendWorker
            | FaultKind::Stall
            | FaultKind::Discard
            | FaultKind::Delay
            | FaultKind::KillNode
            | FaultKind::FreezeNode
            | FaultKind::PartitionNode => write!(f, ": {target} for {length:.1?}"),
            FaultKind::Cut => write!(f, ": {target}"),
            FaultKind::RestartBroker | FaultKind::DeleteQueue => Ok(()),
            _ => write!(f, " for {length:.1?}"),
        }
    }
}
