//! What is known of leaders: which of their jobs are dead, and how long they have been silent.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use phalanx_core::{
    id::{JobId, LeaderId},
    wire::Control,
};

/// How many leaders are remembered; the one that was silent longest is forgotten for a new one.
const MAX_LEADERS: usize = 1_024;

/// How many hints are remembered until the leader itself says so.
const MAX_HINTS: usize = 1_024;

/// What is known of leaders: the state that each says of itself (rule 21), and hints.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    known: HashMap<LeaderId, Known>,
    /// How long this worker has listened: it stands still where it could hear nobody.
    clock: Duration,
    cancelled: HashSet<(LeaderId, JobId)>,
    /// The hints, oldest first.
    order: VecDeque<(LeaderId, JobId)>,
}

#[derive(Debug)]
struct Known {
    /// When it was heard last, or its first task came.
    heard: Duration,
    /// What it said of itself; `None` when only its tasks came.
    alive: Option<Alive>,
}

/// What a leader said of itself last.
#[derive(Debug)]
struct Alive {
    heartbeat: u64,
    up_to: Option<JobId>,
    live: HashSet<JobId>,
}

impl Leaders {
    /// Whether the leader itself said that the job is dead.
    pub(crate) fn is_dead(&self, leader: LeaderId, job: JobId) -> bool {
        let over = |alive: &Alive| {
            alive.up_to.is_some_and(|up_to| job <= up_to) && !alive.live.contains(&job)
        };
        let alive = self.known.get(&leader).and_then(|known| known.alive.as_ref());
        alive.is_some_and(over) || self.cancelled.contains(&(leader, job))
    }

    /// A task of it came: from now on it should be heard of.
    pub(crate) fn meet(&mut self, leader: LeaderId) {
        if !self.known.contains_key(&leader) {
            if self.known.len() >= MAX_LEADERS {
                self.forget_the_most_silent();
            }
            self.known.insert(leader, Known { heard: self.clock, alive: None });
        }
    }

    /// So much time has passed in which leaders could be heard.
    pub(crate) fn tick(&mut self, elapsed: Duration) {
        self.clock += elapsed;
    }

    /// How long it was not heard; no time for one that nothing is known of.
    pub(crate) fn silence(&self, leader: LeaderId) -> Duration {
        self.known.get(&leader).map_or(Duration::ZERO, |known| self.clock - known.heard)
    }

    /// Learns from a message; `true` when its leader had not been heard of.
    pub(crate) fn hear(&mut self, control: Control) -> bool {
        match control {
            Control::Alive { leader, heartbeat, up_to, live } => {
                self.meet(leader);
                let clock = self.clock;
                let Some(known) = self.known.get_mut(&leader) else { return false };
                known.heard = clock;
                let first = known.alive.is_none();
                // Beats may overtake each other; an older one knows less.
                if known.alive.as_ref().is_none_or(|alive| alive.heartbeat <= heartbeat) {
                    let live = live.into_iter().collect();
                    known.alive = Some(Alive { heartbeat, up_to, live });
                }
                first
            }
            Control::Cancel { leader, job } => {
                if self.cancelled.insert((leader, job)) {
                    self.order.push_back((leader, job));
                }
                if self.order.len() > MAX_HINTS
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.cancelled.remove(&oldest);
                }
                false
            }
            _ => false,
        }
    }

    fn forget_the_most_silent(&mut self) {
        let silent = self.known.iter().min_by_key(|(_, known)| known.heard).map(|(id, _)| *id);
        if let Some(leader) = silent {
            self.known.remove(&leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(leader: LeaderId, heartbeat: u64, up_to: JobId, live: &[JobId]) -> Control {
        Control::Alive { leader, heartbeat, up_to: Some(up_to), live: live.to_vec() }
    }

    fn jobs(n: usize) -> Vec<JobId> {
        let mut jobs: Vec<JobId> = (0..n).map(|_| JobId::new()).collect();
        jobs.sort();
        jobs
    }

    #[test]
    fn a_job_is_dead_when_its_leader_speaks_of_its_time_and_not_of_it() {
        let (leader, jobs) = (LeaderId::new(), jobs(3));
        let mut leaders = Leaders::default();
        assert!(!leaders.is_dead(leader, jobs[0]), "silence kills nobody");
        assert!(leaders.hear(alive(leader, 1, jobs[1], &jobs[1..2])));
        assert!(leaders.is_dead(leader, jobs[0]));
        assert!(!leaders.is_dead(leader, jobs[1]), "live");
        assert!(!leaders.is_dead(leader, jobs[2]), "younger than the message");
        assert!(!leaders.is_dead(LeaderId::new(), jobs[0]), "another leader's");
    }

    #[test]
    fn an_older_beat_changes_nothing() {
        let (leader, jobs) = (LeaderId::new(), jobs(2));
        let mut leaders = Leaders::default();
        leaders.hear(alive(leader, 2, jobs[1], &[]));
        assert!(!leaders.hear(alive(leader, 1, jobs[0], &jobs[..1])));
        assert!(leaders.is_dead(leader, jobs[0]));
    }

    #[test]
    fn hints_count_and_are_bounded() {
        let (leader, jobs) = (LeaderId::new(), jobs(MAX_HINTS + 1));
        let mut leaders = Leaders::default();
        for job in &jobs {
            leaders.hear(Control::Cancel { leader, job: *job });
        }
        assert!(!leaders.is_dead(leader, jobs[0]), "the oldest is forgotten");
        assert!(leaders.is_dead(leader, jobs[1]));
        assert_eq!(leaders.cancelled.len(), MAX_HINTS);
    }

    #[test]
    fn silence_counts_from_the_last_word_or_the_first_task() {
        let (spoke, met, unknown) = (LeaderId::new(), LeaderId::new(), LeaderId::new());
        let (mut leaders, job) = (Leaders::default(), JobId::new());
        leaders.hear(alive(spoke, 1, job, &[]));
        leaders.tick(Duration::from_secs(50));
        leaders.meet(met);
        leaders.meet(spoke);
        leaders.tick(Duration::from_secs(10));
        let silences = [spoke, met, unknown].map(|leader| leaders.silence(leader).as_secs());
        assert_eq!(silences, [60, 10, 0]);
        assert!(leaders.hear(alive(met, 1, job, &[])), "its first word");
        leaders.hear(alive(spoke, 0, job, &[]));
        assert_eq!(leaders.silence(spoke), Duration::ZERO, "an old heartbeat is a word too");
    }

    #[test]
    fn leaders_are_bounded() {
        let mut leaders = Leaders::default();
        for _ in 0..MAX_LEADERS + 10 {
            leaders.hear(alive(LeaderId::new(), 1, JobId::new(), &[]));
        }
        assert_eq!(leaders.known.len(), MAX_LEADERS);
    }
}
