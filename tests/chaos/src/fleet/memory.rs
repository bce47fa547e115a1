//! A limit of memory, as containers have one.

use std::{fs, io, path::PathBuf};

/// So many bytes of memory for all processes that are held by it, after which the kernel kills the
/// largest of them: a control group, of either version.
#[derive(Debug)]
pub struct MemoryLimit {
    group: PathBuf,
    /// Where it counts whom it killed.
    events: &'static str,
}

impl MemoryLimit {
    /// `None` where this process may not make control groups.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
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

    /// Holds a process, and those that it starts from now on.
    pub(crate) fn hold(&self, process: u32) -> io::Result<()> {
        fs::write(self.group.join("cgroup.procs"), process.to_string())
    }

    /// How many processes the kernel has killed for it.
    pub fn killed(&self) -> u64 {
        let events = fs::read_to_string(self.group.join(self.events)).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // Those that it held have ended.
        let _ = fs::remove_dir(&self.group);
    }
}
