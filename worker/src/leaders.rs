//! The leaders whose tasks this worker runs: which of their jobs are dead, and when each leader was
//! heard from last.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use phalanx_core::{
    id::{JobId, LeaderId},
    wire::{
        Control,
        timing::{FIRST_ALIVE_TIMEOUT, LEADER_TIMEOUT},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// How many leaders are tracked. A new one replaces the one that has been quiet for longest.
const MAX_LEADERS: usize = 1_024;

/// How many `Cancel` hints are kept. The next `Alive` of a leader repeats their information.
const MAX_HINTS: usize = 1_024;

/// The leaders, shared by the parts of a worker.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    table: Mutex<LeaderTable>,
    /// Fires when leaders have had the time to announce which jobs are dead.
    introduced: CancellationToken,
    /// Notified at each `Alive`.
    alive: Notify,
}

impl Leaders {
    /// Whether the leader has declared the job dead.
    pub(crate) fn is_dead(&self, leader: LeaderId, job: JobId) -> bool {
        self.table().is_dead(leader, job)
    }

    /// Tracks the leader of a task that has arrived, and returns what is known of it.
    pub(crate) fn task_arrived(&self, leader: LeaderId, job: JobId) -> LeaderState {
        let mut table = self.table();
        if table.is_dead(leader, job) {
            return LeaderState::JobDead;
        }
        table.track(leader);
        if table.is_silent(leader) { LeaderState::Silent } else { LeaderState::Live }
    }

    /// Tracks the leader of a reply that is unroutable, and returns whether it seems to be gone. The
    /// leader of a redelivered task may be unknown until then.
    pub(crate) fn unroutable_is_gone(&self, leader: LeaderId) -> bool {
        let mut table = self.table();
        table.track(leader);
        table.is_silent(leader)
    }

    /// Whether the leader seems to be gone: its `Alive` has not come for [`LEADER_TIMEOUT`], or
    /// never and for [`FIRST_ALIVE_TIMEOUT`] since its first task.
    pub(crate) fn is_silent(&self, leader: LeaderId) -> bool {
        self.table().is_silent(leader)
    }

    /// Processes a message; `true` if it is the first `Alive` of its leader.
    pub(crate) fn update(&self, control: Control) -> bool {
        let is_alive = matches!(control, Control::Alive { .. });
        let first = self.table().update(control);
        // After the update: the waiting consumer must not begin a task of a job that this very
        // message declares dead.
        if is_alive {
            self.alive.notify_waiters();
        }
        first
    }

    /// Counts time in which messages of leaders could have arrived.
    pub(crate) fn advance(&self, elapsed: Duration) {
        self.table().advance(elapsed);
    }

    /// How long the leader has not been heard from; zero for one that is not tracked.
    pub(crate) fn unheard_for(&self, leader: LeaderId) -> Duration {
        self.table().unheard_for(leader)
    }

    /// Ends the wait of [`introduced`](Self::introduced).
    pub(crate) fn set_introduced(&self) {
        self.introduced.cancel();
    }

    /// Resolves when leaders have had the time, after the start, to announce which jobs are dead.
    /// Cancel-safe.
    pub(crate) async fn introduced(&self) {
        self.introduced.cancelled().await;
    }

    /// Resolves at the next `Alive` of any leader. Cancel-safe.
    pub(crate) async fn next_alive(&self) {
        self.alive.notified().await;
    }

    fn table(&self) -> MutexGuard<'_, LeaderTable> {
        lock(&self.table)
    }
}

/// What a worker knows of the leader of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaderState {
    /// The leader has declared the job dead.
    JobDead,
    /// The leader seems to be gone.
    Silent,
    Live,
}

/// The announcements of leaders about themselves (rule 21), and hints.
#[derive(Debug, Default)]
struct LeaderTable {
    leaders: HashMap<LeaderId, Tracked>,
    /// The total time in which messages of leaders could arrive; pauses while they could not.
    clock: Duration,
    cancelled: HashSet<(LeaderId, JobId)>,
    /// The entries of `cancelled`, oldest first.
    hints: VecDeque<(LeaderId, JobId)>,
}

#[derive(Debug)]
struct Tracked {
    /// The clock at the last `Alive` or, before any, at the first task.
    heard: Duration,
    /// The newest `Alive`; `None` before the first.
    alive: Option<Alive>,
}

/// The content of an `Alive`.
#[derive(Debug)]
struct Alive {
    heartbeat: u64,
    up_to: Option<JobId>,
    live: HashSet<JobId>,
}

impl LeaderTable {
    fn is_dead(&self, leader: LeaderId, job: JobId) -> bool {
        let is_over = |alive: &Alive| {
            alive.up_to.is_some_and(|up_to| job <= up_to) && !alive.live.contains(&job)
        };
        let alive = self.leaders.get(&leader).and_then(|tracked| tracked.alive.as_ref());
        alive.is_some_and(is_over) || self.cancelled.contains(&(leader, job))
    }

    fn track(&mut self, leader: LeaderId) {
        if !self.leaders.contains_key(&leader) {
            if self.leaders.len() >= MAX_LEADERS {
                self.evict_longest_unheard();
            }
            self.leaders.insert(leader, Tracked { heard: self.clock, alive: None });
        }
    }

    fn advance(&mut self, elapsed: Duration) {
        self.clock += elapsed;
    }

    fn unheard_for(&self, leader: LeaderId) -> Duration {
        self.leaders.get(&leader).map_or(Duration::ZERO, |tracked| self.clock - tracked.heard)
    }

    fn is_silent(&self, leader: LeaderId) -> bool {
        self.leaders.get(&leader).is_some_and(|tracked| {
            let was_heard = tracked.alive.is_some();
            let timeout = if was_heard { LEADER_TIMEOUT } else { FIRST_ALIVE_TIMEOUT };
            self.clock - tracked.heard >= timeout
        })
    }

    fn update(&mut self, control: Control) -> bool {
        match control {
            Control::Alive { leader, heartbeat, up_to, live, .. } => {
                self.track(leader);
                let clock = self.clock;
                let Some(tracked) = self.leaders.get_mut(&leader) else { return false };
                tracked.heard = clock;
                let first = tracked.alive.is_none();
                // Heartbeats may overtake each other; an older one is out of date.
                if tracked.alive.as_ref().is_none_or(|alive| alive.heartbeat <= heartbeat) {
                    let live = live.into_iter().collect();
                    tracked.alive = Some(Alive { heartbeat, up_to, live });
                }
                first
            }
            Control::Cancel { leader, job } => {
                if self.cancelled.insert((leader, job)) {
                    self.hints.push_back((leader, job));
                }
                if self.hints.len() > MAX_HINTS
                    && let Some(oldest) = self.hints.pop_front()
                {
                    self.cancelled.remove(&oldest);
                }
                false
            }
            _ => false,
        }
    }

    fn evict_longest_unheard(&mut self) {
        let oldest = self.leaders.iter().min_by_key(|(_, tracked)| tracked.heard);
        if let Some(leader) = oldest.map(|(leader, _)| *leader) {
            self.leaders.remove(&leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(leader: LeaderId, heartbeat: u64, up_to: JobId, live: &[JobId]) -> Control {
        Control::Alive {
            leader,
            heartbeat,
            up_to: Some(up_to),
            live: live.to_vec(),
            asks_for_operations: false,
        }
    }

    fn jobs(n: usize) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = (0..n).map(|_| JobId::new()).collect();
        jobs.sort();
        jobs
    }

    #[test]
    fn a_job_is_dead_if_the_newest_alive_covers_but_does_not_list_it() {
        let (leader, jobs) = (LeaderId::new(), jobs(3));
        let mut table = LeaderTable::default();
        assert!(!table.is_dead(leader, jobs[0]), "no `Alive` has arrived");
        assert!(table.update(alive(leader, 1, jobs[1], &jobs[1..2])));
        assert!(table.is_dead(leader, jobs[0]));
        assert!(!table.is_dead(leader, jobs[1]), "live");
        assert!(!table.is_dead(leader, jobs[2]), "younger than the message");
        assert!(!table.is_dead(LeaderId::new(), jobs[0]), "another leader's");
    }

    #[test]
    fn an_older_heartbeat_changes_nothing() {
        let (leader, jobs) = (LeaderId::new(), jobs(2));
        let mut table = LeaderTable::default();
        table.update(alive(leader, 2, jobs[1], &[]));
        assert!(!table.update(alive(leader, 1, jobs[0], &jobs[..1])));
        assert!(table.is_dead(leader, jobs[0]));
    }

    #[test]
    fn cancel_hints_are_honoured_and_bounded() {
        let (leader, jobs) = (LeaderId::new(), jobs(MAX_HINTS + 1));
        let mut table = LeaderTable::default();
        for job in &jobs {
            table.update(Control::Cancel { leader, job: *job });
        }
        assert!(!table.is_dead(leader, jobs[0]), "the oldest is dropped");
        assert!(table.is_dead(leader, jobs[1]));
        assert_eq!(table.cancelled.len(), MAX_HINTS);
    }

    #[test]
    fn leaders_are_silent_after_their_last_alive_or_sooner_after_their_first_task() {
        let (heard, met, unknown) = (LeaderId::new(), LeaderId::new(), LeaderId::new());
        let (mut table, job) = (LeaderTable::default(), JobId::new());
        table.update(alive(heard, 1, job, &[]));
        table.advance(Duration::from_secs(45));
        table.track(met);
        table.track(heard);
        table.advance(Duration::from_secs(14));
        let unheard = [heard, met, unknown].map(|leader| table.unheard_for(leader).as_secs());
        assert_eq!(unheard, [59, 14, 0]);
        let silent = |table: &LeaderTable| [heard, met, unknown].map(|it| table.is_silent(it));
        assert_eq!(silent(&table), [false; 3]);
        table.advance(Duration::from_secs(1));
        assert_eq!(silent(&table), [true, true, false]);
        assert!(table.update(alive(met, 1, job, &[])), "its first alive");
        table.update(alive(heard, 0, job, &[]));
        assert_eq!(table.unheard_for(heard), Duration::ZERO, "an old heartbeat counts, too");
        assert_eq!(silent(&table), [false; 3]);
    }

    #[test]
    fn leaders_are_bounded() {
        let mut table = LeaderTable::default();
        for _ in 0..MAX_LEADERS + 10 {
            table.update(alive(LeaderId::new(), 1, JobId::new(), &[]));
        }
        assert_eq!(table.leaders.len(), MAX_LEADERS);
    }
}
