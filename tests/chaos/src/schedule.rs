//! What goes wrong when: a seed decides it, and it is data.

use std::{fmt, time::Duration};

use crate::{Death, Fault, FaultKind, Point};

/// What goes wrong when.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Where it comes from.
    pub seed: u64,
    /// Where workers die: each that starts takes the next one, until there are none.
    pub deaths: Vec<Death>,
    /// When something is done to the fleet, from its start.
    pub faults: Vec<(Duration, Fault)>,
    /// How many messages are said again, some time.
    pub echo: f64,
    /// How many messages are held back.
    pub late: f64,
}

/// What a schedule is made for.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long faults are injected.
    pub length: Duration,
    /// Which of them.
    pub kinds: Vec<FaultKind>,
    /// How long it is quiet between two of them, about.
    pub pause: Duration,
    /// How many workers die at a point of the protocol.
    pub deaths: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The heartbeat of the connections.
    pub beat: Duration,
}

/// The fleet has to come about.
const START: Duration = Duration::from_secs(2);
/// A broker that is killed sooner after the declaration of a quorum queue may lose the queue: it
/// syncs its own tables that late.
const QUEUE_IS_SAFE: Duration = Duration::from_secs(8);

impl Schedule {
    /// The schedule of a seed.
    pub fn new(seed: u64, bounds: &Bounds) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let deaths = (0..bounds.deaths).map(|_| {
            // Each third is one that comes only when something else went wrong before.
            let points = if chance.u8(..3) > 0 { &Point::COMMON[..] } else { &Point::RARE };
            Death { point: points[chance.usize(..points.len())], nth: chance.u32(1..=20) }
        });
        let deaths = deaths.collect();
        let mut faults = Vec::new();
        let kills = bounds.kinds.contains(&FaultKind::KillBroker);
        let mut at = if kills { QUEUE_IS_SAFE } else { START };
        // Each kind comes before any comes twice.
        let mut left: Vec<FaultKind> = Vec::new();
        while at < bounds.length && !bounds.kinds.is_empty() {
            if left.is_empty() {
                left.clone_from(&bounds.kinds);
                chance.shuffle(&mut left);
            }
            if let Some(kind) = left.pop() {
                let fault = Fault::by_chance(kind, &mut chance, bounds.workers, bounds.beat);
                faults.push((at, fault));
            }
            at += bounds.pause.mul_f64(0.5 + chance.f64());
        }
        Self { seed, deaths, faults, echo: 0.01, late: 0.02 }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}; {} of messages twice, {} late", self.seed, self.echo, self.late)?;
        let deaths: Vec<String> = self.deaths.iter().map(Death::to_string).collect();
        writeln!(f, "deaths: {}", deaths.join(" "))?;
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
            deaths: 20,
            workers: 3,
            beat: Duration::from_secs(2),
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
        assert_eq!(schedule.deaths.len(), 20);
    }
}
