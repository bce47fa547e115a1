//! What came of a run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    entries: Mutex<Entries>,
    /// Whether what happens is said as it happens.
    aloud: AtomicBool,
}

#[derive(Debug, Default)]
struct Entries {
    /// What was done to the fleet, and what it did to itself.
    faults: BTreeMap<String, u64>,
    /// What the leader counted.
    tally: BTreeMap<String, u64>,
    problems: Vec<String>,
}

impl Report {
    /// One that says what happens as it happens.
    #[must_use]
    pub fn aloud() -> Self {
        Self { aloud: AtomicBool::new(true), ..Self::default() }
    }

    /// What should not be; empty when all went well.
    pub fn problems(&self) -> Vec<String> {
        self.entries().problems.clone()
    }

    /// How often a fault was injected or a worker died somewhere.
    pub fn faults(&self, name: &str) -> u64 {
        self.entries().faults.get(name).copied().unwrap_or_default()
    }

    /// What the leader counted under this name.
    pub fn tally(&self, name: &str) -> u64 {
        self.entries().tally.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn problem(&self, problem: String) {
        self.say(&format!("PROBLEM: {problem}"));
        self.entries().problems.push(problem);
    }

    pub(crate) fn count(&self, fault: &str) {
        *self.entries().faults.entry(fault.to_owned()).or_default() += 1;
    }

    /// A line of the leader.
    pub(crate) fn hear(&self, line: &str) {
        self.say(line);
        if let Some(wrong) = line.strip_prefix("wrong: ") {
            self.entries().problems.push(wrong.to_owned());
        } else if let Some((count, name)) =
            line.strip_prefix("tally: ").and_then(|entry| entry.split_once(' '))
        {
            self.entries().tally.insert(name.to_owned(), count.parse().unwrap_or_default());
        }
    }

    pub(crate) fn say(&self, line: &str) {
        if self.aloud.load(Ordering::Relaxed) {
            println!("{line}");
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        for (title, counts) in [("faults", &entries.faults), ("jobs", &entries.tally)] {
            writeln!(f, "{title}")?;
            for (name, count) in counts {
                writeln!(f, "  {name:32} {count:>10}")?;
            }
        }
        entries.problems.iter().try_for_each(|problem| writeln!(f, "PROBLEM: {problem}"))
    }
}
