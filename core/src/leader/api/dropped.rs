//! Jobs that are dropped before their end, and so cancelled: an easy mistake, which is told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::{id::JobId, leader::engine::Progress, notice::Notices};

/// Whether a program has from a job what it asked for, so that dropping the job is no mistake.
#[derive(Debug, Clone, Default)]
pub(super) struct Satisfied(Arc<AtomicBool>);

impl Satisfied {
    pub(super) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Tells of the first job of a runtime that is dropped before its end: a program that cancels its
/// jobs in this way on purpose does not want to read it each time.
#[derive(Debug, Clone)]
pub(super) struct DropNotice {
    notices: Notices,
    told: Arc<AtomicBool>,
}

impl DropNotice {
    pub(super) fn new(notices: Notices) -> Self {
        Self { notices, told: Arc::default() }
    }

    pub(super) fn tell(&self, job: JobId, progress: &Progress) {
        if !self.told.swap(true, Relaxed) {
            let line = line(job, progress);
            tracing::warn!("{line}");
            self.notices.print(line);
        }
    }
}

fn line(job: JobId, progress: &Progress) -> String {
    let total = progress.total.map_or_else(String::new, |total| format!(" of {total}"));
    format!(
        "job {job} was dropped before its end and is cancelled, with {}{total} elements done: keep \
         its handle or its results, and its runtime, until it has ended (this is said once)",
        progress.done
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_job_is_told_once_for_a_runtime() {
        let notice = DropNotice::new(Notices::new(true));
        notice.tell(JobId::new(), &Progress::default());
        assert!(notice.clone().told.load(Relaxed));
    }

    #[test]
    fn the_line_says_how_far_the_job_was() {
        let job = JobId::new();
        let progress = Progress { total: Some(20), done: 4, ..Progress::default() };
        let line = line(job, &progress);
        let start = format!("job {job} was dropped before its end and is cancelled, with 4 of 20 ");
        assert!(line.starts_with(&start), "{line}");
    }
}
