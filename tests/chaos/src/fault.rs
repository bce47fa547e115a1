//! What is done to a fleet.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use phalanx_test_node::Cluster;
use phalanx_test_proxy::Way;

/// Kinds of faults that come at a time; deaths at a point of the protocol come by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum FaultKind {
    /// `kill -9` of a worker; a new one takes its place.
    KillWorker,
    /// `kill -9` of all workers; new ones come later.
    KillWorkers,
    /// SIGTERM to a worker, which must end well.
    DrainWorker,
    /// A worker hangs, and goes on later.
    SuspendWorker,
    /// The leader hangs, and goes on later.
    SuspendLeader,
    /// The broker hangs, and goes on later.
    SuspendBroker,
    /// `kill -9` of the broker, which comes back later.
    KillBroker,
    /// The broker ends in an orderly way, and starts again.
    RestartBroker,
    /// The broker takes no messages for a while.
    Alarm,
    /// The connections of one process are cut.
    Cut,
    /// Nothing passes between one process and the broker for a while, and then all of it.
    Stall,
    /// What passes between one process and the broker vanishes for a while.
    Silence,
    /// All that passes between one process and the broker is late.
    Slow,
    /// The task queue is deleted with all that is in it.
    DeleteQueue,
    /// `kill -9` of a node of a cluster, which comes back later.
    LoseNode,
    /// A node of a cluster hangs, and goes on later.
    FreezeNode,
    /// A node of a cluster is cut off from the others, but not from its clients.
    PartNode,
}

impl FaultKind {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |name| name.get_name().to_owned())
    }

    /// Those that need a broker of one's own, of one node.
    pub fn is_of_the_broker(self) -> bool {
        matches!(self, Self::SuspendBroker | Self::KillBroker | Self::RestartBroker | Self::Alarm)
    }

    /// Those that need a cluster.
    pub fn is_of_a_cluster(self) -> bool {
        matches!(self, Self::LoseNode | Self::FreezeNode | Self::PartNode)
    }
}

/// A process that something is done to, or whose way to the broker is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// The leader.
    Leader,
    /// The worker in this place.
    Worker(usize),
    /// This node of a cluster, from 0.
    Node(usize),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leader => f.write_str("the leader"),
            Self::Worker(place) => write!(f, "worker {place}"),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}

/// Something that is done to a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// To whom, where that is a question.
    pub party: Party,
    /// For how long, where that is one.
    pub length: Duration,
}

impl Fault {
    /// A fault whose details are left to chance. `beat` is the heartbeat of the connections: what
    /// hangs, hangs sometimes less and sometimes more than that.
    pub(crate) fn by_chance(
        kind: FaultKind,
        chance: &mut fastrand::Rng,
        workers: usize,
        beat: Duration,
    ) -> Self {
        let worker = Party::Worker(chance.usize(..workers));
        let party = match kind {
            FaultKind::KillWorker | FaultKind::DrainWorker | FaultKind::SuspendWorker => worker,
            FaultKind::Cut | FaultKind::Stall | FaultKind::Silence | FaultKind::Slow
                if chance.bool() =>
            {
                worker
            }
            _ if kind.is_of_a_cluster() => Party::Node(chance.usize(..Cluster::NODES)),
            _ => Party::Leader,
        };
        let part = chance.f64();
        let length = match kind {
            // Twice without a sign, a connection is given up.
            FaultKind::SuspendWorker
            | FaultKind::SuspendLeader
            | FaultKind::SuspendBroker
            | FaultKind::Stall
            | FaultKind::Silence => beat.mul_f64(0.3 + 3.5 * part),
            // The others take some seconds to notice, and to agree on what to do without it.
            _ if kind.is_of_a_cluster() => Duration::from_secs_f64(4.0 + 12.0 * part),
            _ => Duration::from_secs_f64(0.5 + 3.0 * part),
        };
        Self { kind, party, length }
    }

    /// What becomes of the bytes between its party and the broker.
    pub(crate) fn way(&self) -> Way {
        match self.kind {
            FaultKind::Stall => Way::Stalled,
            FaultKind::Silence => Way::Silent,
            FaultKind::Slow => Way::Slow(self.length / 20),
            _ => Way::Open,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, party, length } = self;
        f.write_str(&kind.name())?;
        match kind {
            FaultKind::KillWorker | FaultKind::DrainWorker => write!(f, ": {party}"),
            FaultKind::SuspendWorker
            | FaultKind::Stall
            | FaultKind::Silence
            | FaultKind::Slow
            | FaultKind::LoseNode
            | FaultKind::FreezeNode
            | FaultKind::PartNode => write!(f, ": {party} for {length:.1?}"),
            FaultKind::Cut => write!(f, ": {party}"),
            FaultKind::RestartBroker | FaultKind::DeleteQueue => Ok(()),
            _ => write!(f, " for {length:.1?}"),
        }
    }
}
