//! The outcome of a run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct Report {
    entries: Mutex<Entries>,
    /// Whether events are printed as they happen.
    verbose: AtomicBool,
}

#[derive(Debug, Default)]
struct Entries {
    /// How often each fault was injected, and each incident happened.
    faults: BTreeMap<String, u64>,
    /// The counters of the leader.
    counters: BTreeMap<String, u64>,
    problems: Vec<String>,
}

impl Report {
    /// A report that prints events as they happen.
    #[must_use]
    pub fn verbose() -> Self {
        Self { verbose: AtomicBool::new(true), ..Self::default() }
    }

    /// Everything that went wrong. Empty after a successful run.
    pub fn problems(&self) -> Vec<String> {
        self.entries().problems.clone()
    }

    /// How often a fault was injected, or an incident happened (`EFFECT at POINT`).
    pub fn faults(&self, name: &str) -> u64 {
        self.entries().faults.get(name).copied().unwrap_or_default()
    }

    /// A counter of the leader.
    pub fn counter(&self, name: &str) -> u64 {
        self.entries().counters.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn problem(&self, problem: String) {
        self.print(&format!("PROBLEM: {problem}"));
        self.entries().problems.push(problem);
    }

    pub(crate) fn count(&self, fault: &str) {
        *self.entries().faults.entry(fault.to_owned()).or_default() += 1;
    }

    /// Reads a line that the leader printed.
    pub(crate) fn read(&self, line: &str) {
        self.print(line);
        if let Some(wrong) = line.strip_prefix("wrong: ") {
            self.entries().problems.push(wrong.to_owned());
        } else if let Some((count, name)) =
            line.strip_prefix("count: ").and_then(|entry| entry.split_once(' '))
        {
            self.entries().counters.insert(name.to_owned(), count.parse().unwrap_or_default());
        }
    }

    pub(crate) fn print(&self, line: &str) {
        if self.verbose.load(Ordering::Relaxed) {
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
        for (title, counts) in [("faults", &entries.faults), ("jobs", &entries.counters)] {
            writeln!(f, "{title}")?;
            for (name, count) in counts {
                writeln!(f, "  {name:32} {count:>10}")?;
            }
        }
        entries.problems.iter().try_for_each(|problem| writeln!(f, "PROBLEM: {problem}"))
    }
}
