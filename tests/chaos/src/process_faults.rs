//! What a process of a fleet does wrong by itself.

use std::{fmt, str::FromStr, time::Duration};

use crate::Death;

/// The variable that tells a process its habits.
pub(crate) const VARIABLE: &str = "PHALANX_CHAOS";

/// What a process of a fleet does wrong by itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Habits {
    /// Where it dies.
    pub death: Option<Death>,
    /// Says so many of its messages again, up to `LATEST` later.
    pub echo: f64,
    /// Holds so many of its messages back, each for a moment: those behind it overtake it.
    pub late: f64,
    /// Where chance comes from.
    pub seed: u64,
}

impl Habits {
    /// How late an echo comes at most: the job may be over.
    pub(crate) const LATEST: Duration = Duration::from_secs(3);
    /// How long a message is held back at most.
    pub(crate) const LONGEST: Duration = Duration::from_millis(300);
}

impl fmt::Display for Habits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "echo={} late={} seed={}", self.echo, self.late, self.seed)?;
        self.death.map_or(Ok(()), |death| write!(f, " die={death}"))
    }
}

impl FromStr for Habits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut habits = Self::default();
        for word in text.split_whitespace() {
            let (name, value) =
                word.split_once('=').ok_or_else(|| format!("`{word}` has no `=`"))?;
            let rate = || value.parse::<f64>().map_err(|error| format!("`{word}`: {error}"));
            match name {
                "echo" => habits.echo = rate()?,
                "late" => habits.late = rate()?,
                "seed" => {
                    habits.seed = value.parse().map_err(|error| format!("`{word}`: {error}"))?
                }
                "die" => habits.death = Some(value.parse()?),
                _ => return Err(format!("`{name}` is no habit")),
            }
        }
        Ok(habits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Point;

    #[test]
    fn process_faults_parse_from_what_they_display() {
        let death = Some(Death { point: Point::Acked, nth: 3 });
        for habits in [Habits::default(), Habits { death, echo: 0.25, late: 0.5, seed: 7 }] {
            assert_eq!(habits.to_string().parse(), Ok(habits));
        }
        assert!("bite=1".parse::<Habits>().is_err());
    }
}
