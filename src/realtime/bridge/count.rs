//! What of another node's tellings has been heard, and what has not.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use crate::ports::Topic;

/// How long something told out of turn may be on its way until it counts as lost.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// Tellings heard out of turn that are remembered of one node and topic; more is a gap.
const AHEAD: usize = 64;

/// What of one node's tellings under one topic has been heard.
#[derive(Debug, Default)]
struct Count {
    /// Everything up to here has been heard, or counts as lost.
    through: u64,
    /// Heard beyond that.
    ahead: BTreeSet<u64>,
    /// How many there are, as far as is known.
    known: u64,
    /// Since when something is missing.
    since: Option<Instant>,
}

impl Count {
    fn hear(&mut self, no: u64, now: Instant) -> bool {
        if no <= self.through || !self.ahead.insert(no) {
            return false;
        }
        while self.ahead.remove(&(self.through + 1)) {
            self.through += 1;
        }
        self.expect(no, now);
        if self.ahead.len() > AHEAD {
            self.since = now.checked_sub(GRACE).or(self.since);
        }
        true
    }

    fn expect(&mut self, known: u64, now: Instant) {
        self.known = self.known.max(known);
        self.since = if self.through < self.known {
            self.since.or(Some(now))
        } else {
            None
        };
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.duration_since(since) >= GRACE)
    }

    /// What is missing counts as lost; what comes of it later as heard.
    fn give_up(&mut self) {
        self.through = self.known;
        self.ahead.clear();
        self.since = None;
    }
}

/// What of one node's tellings has been heard.
#[derive(Debug, Default)]
pub(super) struct Counts {
    topics: HashMap<Topic, Count>,
    /// Those of which something is missing.
    missing: BTreeSet<Topic>,
}

impl Counts {
    /// Takes in the telling `no`; whether it is heard for the first time and in time.
    pub(super) fn hear(&mut self, topic: Topic, no: u64, now: Instant) -> bool {
        let count = self.topics.entry(topic).or_default();
        let is_new = count.hear(no, now);
        let is_missing = count.since.is_some();
        self.note(topic, is_missing);
        is_new
    }

    /// Takes in that there are `known` tellings; `listens`: whether they should be heard here.
    pub(super) fn expect(&mut self, topic: Topic, known: u64, listens: bool, now: Instant) {
        let count = self.topics.entry(topic).or_default();
        count.expect(known, now);
        if !listens {
            count.give_up();
        }
        let is_missing = count.since.is_some();
        self.note(topic, is_missing);
    }

    /// Topics of which something is lost, each once for each loss.
    pub(super) fn take_lost(&mut self, now: Instant) -> Vec<Topic> {
        let topics = &mut self.topics;
        let overdue = |topic: &Topic| topics.get(topic).is_none_or(|count| count.is_overdue(now));
        let lost: Vec<Topic> = self.missing.iter().copied().filter(overdue).collect();
        for topic in &lost {
            self.missing.remove(topic);
            if let Some(count) = self.topics.get_mut(topic) {
                count.give_up();
            }
        }
        lost
    }

    fn note(&mut self, topic: Topic, is_missing: bool) {
        if is_missing {
            self.missing.insert(topic);
        } else {
            self.missing.remove(&topic);
        }
    }
}
