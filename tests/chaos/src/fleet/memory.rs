//! A memory limit for all workers of a fleet, as containers have one.

use std::{fmt::Display, fs, io, path::PathBuf};

/// A control group, of either version, that limits the memory of all its processes together.
///
/// When the memory is used up, the kernel kills children of the workers, which raise their own
/// score, and workers that have called `offer`. It spares all other workers. Without that, it
/// could kill one of those, too: a killed process takes a moment to free its memory, longer on a
/// busy machine, and an allocation in that moment makes the kernel choose another process.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
    /// The file in which the kernel counts the processes that it killed.
    events: &'static str,
}

impl MemoryLimit {
    /// A limit in bytes. `None` if this process may not create control groups, or may not lower the
    /// score by which the kernel chooses a process to kill.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        may_spare().then(|| Self::group(bytes)).flatten()
    }

    fn group(bytes: u64) -> Option<Self> {
        let name = format!("phalanx-{}", uuid::Uuid::new_v4());
        let [one, two] =
            ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|it| format!("{it}/{name}"));
        let one = || {
            let made = Self::make(one, "memory.limit_in_bytes", "memory.oom_control", bytes)?;
            made.limit_swap("memory.memsw.limit_in_bytes", bytes)
        };
        let two = || {
            let made = Self::make(two, "memory.max", "memory.events", bytes)?;
            made.limit_swap("memory.swap.max", 0)
        };
        one().or_else(|_| two()).ok()
    }

    fn make(group: String, limit: &str, events: &'static str, bytes: u64) -> io::Result<Self> {
        let group = PathBuf::from(group);
        fs::create_dir(&group)?;
        let made = Self { group, events };
        // The file is missing if the parent group does not delegate the memory controller.
        fs::OpenOptions::new().write(true).open(made.group.join(limit))?;
        fs::write(made.group.join(limit), bytes.to_string())?;
        Ok(made)
    }

    /// Limits swap, too: a process would fill it before it is killed.
    fn limit_swap(self, limit: &str, value: u64) -> io::Result<Self> {
        let limit = self.group.join(limit);
        // The file is missing if the system does not account for swap.
        if limit.exists() {
            fs::write(limit, value.to_string())?;
        }
        Ok(self)
    }

    /// Adds a worker to the group. Processes that it starts from now on belong to the group, too.
    pub(crate) fn hold(&self, worker: u32) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), worker.to_string())?;
        fs::write(score(worker), SPARED)
    }

    /// How many processes the kernel has killed because of the limit.
    pub fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.group.join(self.events)).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }
}

/// The score of a process that the kernel never kills for lack of memory.
const SPARED: &str = "-1000";
/// The score of a process that the kernel kills first.
const OFFERED: &str = "1000";

fn score(process: impl Display) -> String {
    format!("/proc/{process}/oom_score_adj")
}

/// Makes the kernel kill this process first when memory is used up.
pub(crate) fn offer() {
    // Raising the score needs no privileges. A system without scores has no limit either.
    let _ = fs::write(score("self"), OFFERED);
}

/// Whether this process may lower a score. Tries it by lowering its own for a moment.
fn may_spare() -> bool {
    let own = score("self");
    fs::read_to_string(&own).is_ok_and(|before| {
        fs::write(&own, SPARED).is_ok() && fs::write(&own, before.trim()).is_ok()
    })
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // The group can be removed because all its processes have ended.
        let _ = fs::remove_dir(&self.group);
    }
}
