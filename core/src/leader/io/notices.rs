//! What a leader tells people on standard error: lost connections, and jobs that make no progress.

use std::collections::HashSet;

use crate::{
    broker::Health,
    error::Error,
    id::JobId,
    leader::engine::{JobEvent, Stall},
    notice::{ConnectionNotices, Notices},
};

/// Prints the notices of a leader.
#[derive(Debug)]
pub(super) struct LeaderNotices {
    notices: Notices,
    connection: ConnectionNotices,
    /// The jobs whose stall was printed, which is taken back when they go on or end. At most the
    /// running jobs.
    stalled: HashSet<JobId>,
}

impl LeaderNotices {
    pub(super) fn new(notices: Notices) -> Self {
        Self { notices, connection: ConnectionNotices::default(), stalled: HashSet::new() }
    }

    pub(super) fn connection(&mut self, health: &Health) {
        self.connection.lines(health).iter().for_each(|line| self.notices.print(line));
    }

    /// The leader has failed, and all its jobs with it.
    pub(super) fn failed(&self, error: &Error) {
        self.notices.print(error);
    }

    pub(super) fn event(&mut self, job: JobId, event: &JobEvent) {
        if let Some(line) = self.line(job, event) {
            self.notices.print(line);
        }
    }

    fn line(&mut self, job: JobId, event: &JobEvent) -> Option<String> {
        match event {
            // A program may wait for its own input for as long as it likes.
            JobEvent::Stalled(Stall::InputSlow) => None,
            // The notice of the connection says it, once for all jobs.
            JobEvent::Stalled(Stall::Disconnected { .. } | Stall::Blocked { .. }) => None,
            JobEvent::Stalled(stall) => {
                self.stalled.insert(job);
                let what = match stall {
                    Stall::Crawling { .. } => "is much slower than it was",
                    Stall::Losing { .. } => "loses tasks",
                    _ => "makes no progress",
                };
                Some(format!("job {job} {what}: {stall}"))
            }
            JobEvent::Resumed => {
                self.stalled.remove(&job).then(|| format!("job {job} makes progress again"))
            }
            JobEvent::Ended { error } => self.stalled.remove(&job).then(|| match error {
                Some(error) => format!("job {job} has ended: {error}"),
                None => format!("job {job} has ended"),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_told_until_its_end() {
        let mut notices = LeaderNotices::new(Notices::new(true));
        let job = JobId::new();
        let mut line = |event| notices.line(job, &event);
        assert_eq!(line(JobEvent::Resumed), None);
        assert_eq!(line(JobEvent::Stalled(Stall::InputSlow)), None);
        assert_eq!(line(JobEvent::Stalled(Stall::Disconnected { reason: String::new() })), None);
        let stalled = line(JobEvent::Stalled(Stall::ReaderSlow { bytes: 1 })).unwrap();
        assert!(stalled.starts_with(&format!("job {job} makes no progress: ")), "{stalled}");
        assert_eq!(line(JobEvent::Resumed), Some(format!("job {job} makes progress again")));
        assert_eq!(line(JobEvent::Ended { error: None }), None);
    }
}
