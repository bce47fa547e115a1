//! The faults of a run, and when they are injected: data that a seed determines.

use std::{fmt, time::Duration};

use crate::{Effect, Fault, FaultKind, Incident, Point};

/// The faults of a run, and when they are injected.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The seed that determines the rest.
    pub seed: u64,
    /// The incidents of workers: each worker that starts takes all up to the next that kills it.
    pub workers: Vec<Incident>,
    /// The incidents of the leader, none of which kills it: its jobs would end with it.
    pub leader: Vec<Incident>,
    /// The faults, each with its time since the start of the fleet.
    pub faults: Vec<(Duration, Fault)>,
    /// The share of messages that are published twice, from 0 to 1.
    pub duplicate: f64,
    /// The share of messages that are published late, from 0 to 1.
    pub delay: f64,
}

/// The limits within which a seed determines a schedule.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long faults are injected.
    pub length: Duration,
    /// The kinds of faults.
    pub kinds: Vec<FaultKind>,
    /// The average time between two faults: each pause is half to one and a half times as long.
    pub pause: Duration,
    /// The number of incidents at points of the protocol.
    pub incidents: usize,
    /// Whether jobs have blocks and outputs in queues.
    pub heavy: bool,
    /// The number of workers at a time.
    pub workers: usize,
    /// The heartbeat of the connections.
    pub heartbeat: Duration,
}

/// The time for the processes of a fleet to start.
const START: Duration = Duration::from_secs(2);
/// A broker that is killed sooner after a quorum queue was declared can lose the queue, because it
/// writes its own tables to disk only every few seconds.
const QUEUE_IS_SAFE: Duration = Duration::from_secs(8);

impl Schedule {
    /// The schedule that a seed determines.
    pub fn new(seed: u64, bounds: &Bounds) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut workers, mut leader) = (Vec::new(), Vec::new());
        for _ in 0..bounds.incidents {
            // A third of them are at points that are reached only after another loss.
            let (points, most) = match random.u8(..if bounds.heavy { 6 } else { 3 }) {
                0 | 1 => (&Point::COMMON[..], 20),
                2 => (&Point::RARE[..], 20),
                3 => (&Point::LEADER[..], 3),
                _ => (&Point::QUEUES[..], 20),
            };
            let (point, nth) = (points[random.usize(..points.len())], random.u32(1..=most));
            let harmless = [Effect::Suspend, Effect::Cut][random.usize(..2)];
            let is_leader = Point::LEADER.contains(&point);
            let effect = if is_leader || random.u8(..3) == 0 { harmless } else { Effect::Kill };
            let incidents = if is_leader { &mut leader } else { &mut workers };
            incidents.push(Incident { point, nth, effect });
        }
        let mut faults = Vec::new();
        let kills = bounds.kinds.contains(&FaultKind::KillBroker);
        let mut at = if kills { QUEUE_IS_SAFE } else { START };
        // Every kind occurs before any occurs twice.
        let mut left: Vec<FaultKind> = Vec::new();
        while at < bounds.length && !bounds.kinds.is_empty() {
            if left.is_empty() {
                left.clone_from(&bounds.kinds);
                random.shuffle(&mut left);
            }
            if let Some(kind) = left.pop() {
                let fault = Fault::random(kind, &mut random, bounds.workers, bounds.heartbeat);
                faults.push((at, fault));
            }
            at += bounds.pause.mul_f64(0.5 + random.f64());
        }
        Self { seed, workers, leader, faults, duplicate: 0.01, delay: 0.02 }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}; {} of all messages duplicated, {} delayed",
            self.seed, self.duplicate, self.delay
        )?;
        for (process, incidents) in [("workers", &self.workers), ("leader", &self.leader)] {
            let incidents: Vec<String> = incidents.iter().map(Incident::to_string).collect();
            writeln!(f, "{process}: {}", incidents.join(" "))?;
        }
        self.faults.iter().try_for_each(|(at, fault)| writeln!(f, "{at:>7.1?}  {fault}"))
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            length: Duration::from_secs(120),
            kinds: FaultKind::value_variants().to_vec(),
            pause: Duration::from_secs(3),
            incidents: 20,
            heavy: true,
            workers: 3,
            heartbeat: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_seed_determines_the_whole_schedule() {
        assert_eq!(Schedule::new(1, &bounds()), Schedule::new(1, &bounds()));
        assert_ne!(Schedule::new(1, &bounds()), Schedule::new(2, &bounds()));
    }

    #[test]
    fn every_kind_occurs_before_any_occurs_twice() {
        let schedule = Schedule::new(3, &bounds());
        let kinds = FaultKind::value_variants();
        for kind in kinds {
            let first = &schedule.faults[..kinds.len()];
            assert_eq!(first.iter().filter(|(_, fault)| fault.kind == *kind).count(), 1);
        }
        assert!(schedule.faults.len() > kinds.len());
        assert_eq!(schedule.workers.len() + schedule.leader.len(), 20);
    }
}
