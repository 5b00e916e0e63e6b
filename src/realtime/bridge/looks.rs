//! Which rooms look at their heads next, and which feeds are told that they may have missed
//! something: each once, and not all at the same moment.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::domain::id::{EventId, UserId};

/// Rooms that look at their heads within a second, at most.
pub(super) const LOOKS_PER_S: usize = 500;

/// How often a room looks as long as nobody can tell it what other nodes do, if there are not
/// too many: beyond [`LOOKS_PER_S`] times this, it takes longer.
pub(super) const ROUND: Duration = Duration::from_millis(3_500);

/// Feeds that are told within a second, at most.
const RESETS_PER_S: usize = 10_000;

/// An allowance that grows with time, up to what a second brings.
struct Allowance {
    per_s: usize,
    left: usize,
    at: Instant,
}

impl Allowance {
    fn new(per_s: usize, now: Instant) -> Self {
        Self {
            per_s,
            left: per_s,
            at: now,
        }
    }

    fn left(&mut self, now: Instant) -> usize {
        let grown = now.duration_since(self.at).as_millis() * self.per_s as u128 / 1_000;
        let grown = usize::try_from(grown).unwrap_or(self.per_s);
        if grown > 0 {
            self.left = self.left.saturating_add(grown).min(self.per_s);
            self.at = now;
        }
        self.left
    }
}

/// See the module.
pub(super) struct Looks {
    /// Rooms in the order in which they look, and whether thoroughly.
    queue: VecDeque<EventId>,
    depths: HashMap<EventId, bool>,
    allowance: Allowance,
    round: VecDeque<EventId>,
    round_began: Option<Instant>,
    resets: VecDeque<UserId>,
    told: Allowance,
}

impl Looks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            depths: HashMap::new(),
            allowance: Allowance::new(LOOKS_PER_S, now),
            round: VecDeque::new(),
            round_began: None,
            resets: VecDeque::new(),
            told: Allowance::new(RESETS_PER_S, now),
        }
    }

    /// Has these rooms look, `deep`: also at what is no entry.
    pub(super) fn add(&mut self, events: impl IntoIterator<Item = EventId>, deep: bool) {
        for event in events {
            let queue = &mut self.queue;
            *self.depths.entry(event).or_insert_with(|| {
                queue.push_back(event);
                false
            }) |= deep;
        }
    }

    /// Has the feeds of these users told.
    pub(super) fn reset(&mut self, users: Vec<UserId>) {
        if self.resets.is_empty() {
            self.resets = users.into();
        } else {
            let mut all: Vec<UserId> = self.resets.drain(..).chain(users).collect();
            all.sort_unstable();
            all.dedup();
            self.resets = all.into();
        }
    }

    /// Whether a new round of all rooms, `live`, is due while nobody tells them anything.
    pub(super) fn begin_round(&mut self, now: Instant, live: impl FnOnce() -> Vec<EventId>) {
        let is_due = self
            .round_began
            .is_none_or(|began| now.duration_since(began) >= ROUND);
        if self.round.is_empty() && is_due {
            self.round_began = Some(now);
            self.round = live().into();
        }
    }

    /// Rooms are told again.
    pub(super) fn end_rounds(&mut self) {
        self.round.clear();
        self.round_began = None;
    }

    /// Which rooms look now.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(EventId, bool)> {
        let mut taken = Vec::new();
        for _ in 0..self.allowance.left(now) {
            if let Some(event) = self.queue.pop_front() {
                taken.push((event, self.depths.remove(&event).unwrap_or(false)));
            } else if let Some(event) = self.round.pop_front() {
                taken.push((event, false));
            } else {
                break;
            }
        }
        self.allowance.left -= taken.len();
        taken
    }

    /// Whose feeds are told now.
    pub(super) fn take_resets(&mut self, now: Instant) -> Vec<UserId> {
        let count = self.told.left(now).min(self.resets.len());
        self.told.left -= count;
        self.resets.drain(..count).collect()
    }
}
