//! Replies that were unroutable, kept until their leader can be reached again (rule 16).

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use phalanx_core::{broker::Message, id::LeaderId};
use tokio::time::Instant;

/// The most bytes of kept replies to one leader, and to all together, with what each takes up beside
/// its body. The oldest are dropped first; leaders detect their loss (rule 12).
const MAX_BYTES_OF_LEADER: usize = 64 << 20;
const MAX_BYTES: usize = 256 << 20;
const ENTRY: usize = 256;

/// The pause before a leader's replies are tried again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

fn size(reply: &Message) -> usize {
    reply.body.len() + ENTRY
}

/// Replies that were unroutable, by leader. Each leader has one of them tried at a time.
#[derive(Default)]
pub(super) struct KeptReplies {
    leaders: HashMap<LeaderId, KeptOfLeader>,
    /// The bytes of all kept replies.
    bytes: usize,
}

struct KeptOfLeader {
    /// Oldest first.
    replies: VecDeque<Message>,
    bytes: usize,
    pause: Duration,
    /// `None` while a reply is tried.
    next_try: Option<Instant>,
}

impl KeptReplies {
    /// Keeps a reply that is unroutable.
    pub(super) fn keep(&mut self, leader: LeaderId, reply: Message, now: Instant) {
        let kept = self.leaders.entry(leader).or_insert_with(|| KeptOfLeader {
            replies: VecDeque::new(),
            bytes: 0,
            pause: FIRST_PAUSE,
            next_try: Some(now + FIRST_PAUSE),
        });
        let size = size(&reply);
        kept.replies.push_back(reply);
        (kept.bytes, self.bytes) = (kept.bytes + size, self.bytes + size);
        self.limit(leader);
    }

    /// When the next reply is to be tried.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.leaders.values().filter_map(|kept| kept.next_try).min()
    }

    /// Takes the oldest reply to each leader that is due. Each is followed by
    /// [`still_unroutable`](Self::still_unroutable), [`take_all`](Self::take_all) or
    /// [`forget`](Self::forget).
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<(LeaderId, Message)> {
        let mut due = Vec::new();
        for (leader, kept) in &mut self.leaders {
            if kept.next_try.is_some_and(|next_try| next_try <= now)
                && let Some(reply) = kept.replies.pop_front()
            {
                let size = size(&reply);
                (kept.bytes, self.bytes) = (kept.bytes - size, self.bytes - size);
                kept.next_try = None;
                due.push((*leader, reply));
            }
        }
        due
    }

    /// A reply that was tried did not reach the leader: it is the oldest again.
    pub(super) fn still_unroutable(&mut self, leader: LeaderId, reply: Message, now: Instant) {
        let Some(kept) = self.leaders.get_mut(&leader) else {
            return self.keep(leader, reply, now);
        };
        let size = size(&reply);
        kept.replies.push_front(reply);
        (kept.bytes, self.bytes) = (kept.bytes + size, self.bytes + size);
        kept.pause = (kept.pause * 2).min(LONGEST_PAUSE);
        kept.next_try = Some(now + kept.pause);
        self.limit(leader);
    }

    /// A reply has reached the leader: takes the others, which can be published at once.
    pub(super) fn take_all(&mut self, leader: LeaderId) -> VecDeque<Message> {
        let Some(kept) = self.leaders.remove(&leader) else { return VecDeque::new() };
        self.bytes -= kept.bytes;
        kept.replies
    }

    /// Drops the replies to a leader, which is gone.
    pub(super) fn forget(&mut self, leader: LeaderId) {
        self.take_all(leader);
    }

    fn limit(&mut self, leader: LeaderId) {
        while self.leaders.get(&leader).is_some_and(|kept| kept.bytes > MAX_BYTES_OF_LEADER) {
            self.drop_oldest(leader);
        }
        while self.bytes > MAX_BYTES
            && let Some((largest, _)) = self.leaders.iter().max_by_key(|(_, kept)| kept.bytes)
        {
            self.drop_oldest(*largest);
        }
    }

    fn drop_oldest(&mut self, leader: LeaderId) {
        let Some(kept) = self.leaders.get_mut(&leader) else { return };
        let Some(reply) = kept.replies.pop_front() else { return };
        tracing::warn!(%leader, "dropping a reply: too many to this leader are unroutable");
        let size = size(&reply);
        (kept.bytes, self.bytes) = (kept.bytes - size, self.bytes - size);
        // A leader without replies would be tried for nothing; one that is being tried stays.
        if kept.replies.is_empty() && kept.next_try.is_some() {
            self.leaders.remove(&leader);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use phalanx_core::broker::Properties;

    use super::*;

    fn reply(size: usize) -> Message {
        Message { properties: Properties::default(), body: Bytes::from(vec![0; size]) }
    }

    #[test]
    fn the_oldest_reply_is_tried_after_pauses_that_double_and_the_others_follow_it() {
        for others in [0, 2] {
            let (mut kept, leader) = (KeptReplies::default(), LeaderId::new());
            let mut now = Instant::now();
            assert_eq!(kept.next_try(), None);
            (1..=1 + others).for_each(|size| kept.keep(leader, reply(size), now));
            for pause in [1, 2, 4, 8, 15, 15] {
                assert_eq!(kept.next_try(), Some(now + Duration::from_secs(pause)));
                assert!(kept.take_due(now).is_empty(), "not yet");
                now += Duration::from_secs(pause);
                let [(due, oldest)] = &kept.take_due(now)[..] else { panic!("one is due") };
                assert_eq!((*due, oldest.body.len()), (leader, 1));
                assert!(kept.next_try().is_none() && kept.take_due(now).is_empty());
                kept.still_unroutable(leader, oldest.clone(), now);
            }
            let rest = kept.take_all(leader);
            assert!(rest.iter().map(|reply| reply.body.len()).eq(1..=1 + others));
            assert_eq!((kept.next_try(), kept.bytes), (None, 0));
        }
    }

    #[test]
    fn kept_replies_are_bounded_for_each_leader_and_together() {
        let (mut kept, leader, now) = (KeptReplies::default(), LeaderId::new(), Instant::now());
        (0..9).for_each(|size| kept.keep(leader, reply((8 << 20) + size), now));
        let due = kept.take_due(now + FIRST_PAUSE);
        assert_eq!(due[0].1.body.len(), (8 << 20) + 2, "the oldest are dropped");
        (0..9).for_each(|_| kept.keep(LeaderId::new(), reply(32 << 20), now));
        assert!(kept.bytes <= MAX_BYTES, "{}", kept.bytes);
        kept.forget(leader);
        assert_eq!(kept.bytes, kept.leaders.values().map(|kept| kept.bytes).sum::<usize>());
    }
}
