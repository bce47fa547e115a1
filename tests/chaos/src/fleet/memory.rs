//! A limit of memory, as containers have one.

use std::{fmt::Display, fs, io, path::PathBuf};

/// A control group, of either version, with so many bytes of memory for all its processes.
///
/// When they are used up, the kernel kills children of the workers, which ask for that, and a worker
/// that has called [`offer`]. It spares all other workers. Without that it sometimes kills one of
/// them, too: a killed process takes a moment to free its memory, longer on a busy machine, and who
/// asks for memory in that moment makes the kernel choose again.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
    /// Where it counts whom it killed.
    events: &'static str,
}

impl MemoryLimit {
    /// `None` if this process may not make control groups, or may not choose what the kernel spares.
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
            made.swap_nothing("memory.memsw.limit_in_bytes", bytes)
        };
        let two = || {
            let made = Self::make(two, "memory.max", "memory.events", bytes)?;
            made.swap_nothing("memory.swap.max", 0)
        };
        one().or_else(|_| two()).ok()
    }

    fn make(group: String, limit: &str, events: &'static str, bytes: u64) -> io::Result<Self> {
        let group = PathBuf::from(group);
        fs::create_dir(&group)?;
        let made = Self { group, events };
        // Where memory is not among what the parent hands down, there is no such file.
        fs::OpenOptions::new().write(true).open(made.group.join(limit))?;
        fs::write(made.group.join(limit), bytes.to_string())?;
        Ok(made)
    }

    /// Where there is swap, a process would fill that before it is killed.
    fn swap_nothing(self, limit: &str, value: u64) -> io::Result<Self> {
        let limit = self.group.join(limit);
        // A system that does not count swap has no such file.
        if limit.exists() {
            fs::write(limit, value.to_string())?;
        }
        Ok(self)
    }

    /// Holds a worker, and the processes that it starts from now on.
    pub(crate) fn hold(&self, worker: u32) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), worker.to_string())?;
        fs::write(score(worker), SPARED)
    }

    /// How many processes the kernel has killed for it.
    pub fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.group.join(self.events)).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }
}

/// The score of a process that the kernel never kills for lack of memory.
const SPARED: &str = "-1000";
/// The score of a process that it kills first.
const OFFERED: &str = "1000";

fn score(process: impl Display) -> String {
    format!("/proc/{process}/oom_score_adj")
}

/// Lets the kernel kill this process first.
pub(crate) fn offer() {
    // Raising the score needs no rights. On a system without scores there is no limit either.
    let _ = fs::write(score("self"), OFFERED);
}

/// Whether this process may lower a score: of its own, for a moment.
fn may_spare() -> bool {
    let own = score("self");
    fs::read_to_string(&own).is_ok_and(|before| {
        fs::write(&own, SPARED).is_ok() && fs::write(&own, before.trim()).is_ok()
    })
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Those that it held have ended.
        let _ = fs::remove_dir(&self.group);
    }
}
