//! What is known of leaders: which of their jobs are dead.

use std::collections::{HashMap, HashSet, VecDeque};

use phalanx_core::{
    id::{JobId, LeaderId},
    wire::Control,
};
use tokio::time::Instant;

/// How many leaders are remembered; the one that was silent longest is forgotten for a new one.
const MAX_LEADERS: usize = 1_024;

/// How many hints are remembered until the leader itself says so.
const MAX_HINTS: usize = 1_024;

/// What is known of leaders: the state that each says of itself (rule 21), and hints.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    known: HashMap<LeaderId, Alive>,
    cancelled: HashSet<(LeaderId, JobId)>,
    /// The hints, oldest first.
    order: VecDeque<(LeaderId, JobId)>,
}

/// What a leader said of itself last.
#[derive(Debug)]
struct Alive {
    beat: u64,
    upto: Option<JobId>,
    live: HashSet<JobId>,
    heard: Instant,
}

impl Leaders {
    /// Whether the leader itself said that the job is dead.
    pub(crate) fn is_dead(&self, leader: LeaderId, job: JobId) -> bool {
        let over = |alive: &Alive| {
            alive.upto.is_some_and(|upto| job <= upto) && !alive.live.contains(&job)
        };
        self.known.get(&leader).is_some_and(over) || self.cancelled.contains(&(leader, job))
    }

    /// Learns from a message; `true` when its leader had not been heard of.
    pub(crate) fn hear(&mut self, control: Control) -> bool {
        match control {
            Control::Alive { leader, beat, upto, live } => {
                let first = !self.known.contains_key(&leader);
                if first && self.known.len() >= MAX_LEADERS {
                    self.forget_the_most_silent();
                }
                let heard = Instant::now();
                let alive = Alive { beat, upto, live: live.into_iter().collect(), heard };
                let said = self.known.entry(leader);
                // Beats may overtake each other; an older one knows less.
                said.and_modify(|known| known.heard = heard).or_insert(Alive {
                    beat: 0,
                    upto: None,
                    live: HashSet::new(),
                    heard,
                });
                if let Some(known) = self.known.get_mut(&leader)
                    && known.beat <= alive.beat
                {
                    *known = alive;
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
        let silent = self.known.iter().min_by_key(|(_, alive)| alive.heard).map(|(id, _)| *id);
        if let Some(leader) = silent {
            self.known.remove(&leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(leader: LeaderId, beat: u64, upto: JobId, live: &[JobId]) -> Control {
        Control::Alive { leader, beat, upto: Some(upto), live: live.to_vec() }
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
    fn leaders_are_bounded() {
        let mut leaders = Leaders::default();
        for _ in 0..MAX_LEADERS + 10 {
            leaders.hear(alive(LeaderId::new(), 1, JobId::new(), &[]));
        }
        assert_eq!(leaders.known.len(), MAX_LEADERS);
    }
}
