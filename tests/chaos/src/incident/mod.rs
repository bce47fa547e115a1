//! Faults of a process at a point of the protocol.

mod armed;
mod point;

use std::{fmt, str::FromStr};

use clap::ValueEnum;

pub(crate) use armed::{arm, die, happen, is_next, reach, reach_soon, reconnected, take};
pub use point::Point;

/// What happens to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Effect {
    /// It is killed with SIGKILL.
    Kill,
    /// It is suspended until the broker has given up its connections.
    Suspend,
    /// Its connections are cut.
    Cut,
    /// The broker is killed with SIGKILL, and started again. Needs a broker of the run's own.
    KillBroker,
}

/// A fault of a process that reaches a point for the n-th time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// The point.
    pub point: Point,
    /// How often the process must reach the point, from 1.
    pub nth: u32,
    /// What happens there.
    pub effect: Effect,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |name| name.get_name()))
    }
}

impl Incident {
    /// What a report counts it as: `EFFECT at POINT`.
    pub fn name(&self) -> String {
        format!("{} at {}", self.effect, self.point)
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.point, self.nth, self.effect)
    }
}

impl FromStr for Incident {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let (Some(point), Some(nth), Some(effect), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("`{text}` is not POINT:N:EFFECT"));
        };
        let nth = nth.parse().map_err(|error| format!("`{nth}`: {error}"))?;
        // Their errors name neither the kind of value nor the text.
        let point =
            Point::from_str(point, false).map_err(|_| format!("unknown point `{point}`"))?;
        let effect =
            Effect::from_str(effect, false).map_err(|_| format!("unknown effect `{effect}`"))?;
        Ok(Self { point, nth, effect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_parses_from_what_it_displays() {
        for point in Point::value_variants() {
            for effect in Effect::value_variants() {
                let incident = Incident { point: *point, nth: 7, effect: *effect };
                assert_eq!(incident.to_string().parse(), Ok(incident));
            }
        }
        for wrong in ["nowhere:1:kill", "acked:1:bite", "acked:first:kill", "acked:1", "acked"] {
            assert!(wrong.parse::<Incident>().is_err(), "{wrong}");
        }
    }
}
