//! The faults of a single process of a fleet.

use std::{fmt, str::FromStr, time::Duration};

use crate::Incident;

/// The environment variable that sets the [`ProcessFaults`] of a process.
pub(crate) const VARIABLE: &str = "PHALANX_CHAOS";

/// The faults of a single process of a fleet. The default is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProcessFaults {
    /// The incidents of the process, one after the other.
    pub incidents: Vec<Incident>,
    /// The share of its messages, from 0 to 1, that it publishes twice, the second time up to three
    /// seconds later.
    pub duplicate: f64,
    /// The share of its messages, from 0 to 1, that it publishes up to 300 ms later, so that others
    /// overtake them.
    pub delay: f64,
    /// The seed of its random decisions.
    pub seed: u64,
}

impl ProcessFaults {
    /// The longest delay of a duplicate: the job may be over by then.
    pub(crate) const LONGEST_DUPLICATE_DELAY: Duration = Duration::from_secs(3);
    /// The longest delay of a message.
    pub(crate) const LONGEST_DELAY: Duration = Duration::from_millis(300);
}

impl fmt::Display for ProcessFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "duplicate={} delay={} seed={}", self.duplicate, self.delay, self.seed)?;
        self.incidents.iter().try_for_each(|incident| write!(f, " at={incident}"))
    }
}

impl FromStr for ProcessFaults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut faults = Self::default();
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("`{word}` has no `=`"))?;
            let rate = || value.parse::<f64>().map_err(|error| format!("`{word}`: {error}"));
            match name {
                "duplicate" => faults.duplicate = rate()?,
                "delay" => faults.delay = rate()?,
                "seed" => {
                    faults.seed = value.parse().map_err(|error| format!("`{word}`: {error}"))?
                }
                "at" => faults.incidents.push(value.parse()?),
                _ => return Err(format!("unknown fault `{name}`")),
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Effect, Point};

    #[test]
    fn process_faults_parse_from_what_they_display() {
        let incident = |point, effect| Incident { point, nth: 3, effect };
        let incidents =
            vec![incident(Point::Acked, Effect::Cut), incident(Point::Running, Effect::Kill)];
        let all = ProcessFaults { incidents, duplicate: 0.25, delay: 0.5, seed: 7 };
        for faults in [ProcessFaults::default(), all] {
            assert_eq!(faults.to_string().parse(), Ok(faults));
        }
        assert!("bite=1".parse::<ProcessFaults>().is_err());
    }
}
