//! What this node wants to hear, and whether it does.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::Bridge;
use crate::ports::{Broker, Topic};

/// How long a topic is listened to beyond its last use: rooms and people come back.
const LINGER: Duration = Duration::from_secs(30);

/// After how long the node asks again whether it hears a topic.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Words of a bit for each topic.
pub(super) const WORDS: usize = Topic::COUNT.div_ceil(64);

/// A bit for each topic.
pub(super) type Topics = [u64; WORDS];

/// Where the bit of `topic` is.
pub(super) fn bit(topic: Topic) -> (usize, u64) {
    let index = usize::from(topic.index());
    (index / 64, 1 << (index % 64))
}

/// As long as this lives, its topic is listened to.
#[must_use]
pub(in crate::realtime) struct Interest {
    pub(super) bridge: Bridge,
    pub(super) topic: Topic,
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.bridge.shared.interests.lock().release(self.topic);
    }
}

/// The topics that this node listens to.
#[derive(Default)]
pub(super) struct Interests {
    topics: HashMap<Topic, Listening>,
}

struct Listening {
    uses: usize,
    /// When it was used last.
    used: Instant,
    state: Asked,
}

/// Whether the node hears what is told.
enum Asked {
    /// It has not asked.
    No,
    /// It asked itself, and waits to hear it.
    At(Instant),
    /// It heard itself.
    InForce,
}

impl Interests {
    /// One more use of `topic`; whether it is a new one.
    pub(super) fn take(&mut self, topic: Topic, broker: &dyn Broker) -> bool {
        let now = Instant::now();
        let mut is_new = false;
        let listening = self.topics.entry(topic).or_insert_with(|| {
            is_new = true;
            broker.listen(topic);
            Listening {
                uses: 0,
                used: now,
                state: Asked::No,
            }
        });
        listening.uses += 1;
        is_new
    }

    fn release(&mut self, topic: Topic) {
        if let Some(listening) = self.topics.get_mut(&topic) {
            listening.uses = listening.uses.saturating_sub(1);
            listening.used = Instant::now();
        }
    }

    /// Whether what is told under `topic` should be heard here.
    pub(super) fn listens(&self, topic: Topic) -> bool {
        self.topics.contains_key(&topic)
    }

    /// What is listened to.
    pub(super) fn all(&self) -> Topics {
        let mut topics = [0; WORDS];
        for topic in self.topics.keys() {
            let (word, bit) = bit(*topic);
            topics[word] |= bit;
        }
        topics
    }

    /// Topics of which the node has to ask whether it hears them.
    pub(super) fn take_unasked(&mut self, now: Instant) -> Vec<Topic> {
        let unasked = self.topics.iter_mut().filter_map(|(topic, listening)| {
            let is_due = match listening.state {
                Asked::No => true,
                Asked::At(asked) => now.duration_since(asked) >= ASK_AGAIN,
                Asked::InForce => false,
            };
            is_due.then(|| {
                listening.state = Asked::At(now);
                *topic
            })
        });
        unasked.collect()
    }

    /// The node heard itself under `topic`; whether that is news.
    pub(super) fn is_heard(&mut self, topic: Topic) -> bool {
        self.topics.get_mut(&topic).is_some_and(|listening| {
            !matches!(
                std::mem::replace(&mut listening.state, Asked::InForce),
                Asked::InForce
            )
        })
    }

    /// Nothing is heard any more until the node has asked again.
    pub(super) fn ask_all(&mut self) {
        for listening in self.topics.values_mut() {
            listening.state = Asked::No;
        }
    }

    /// Listens no longer to what has not been used for some time.
    pub(super) fn tidy(&mut self, now: Instant, broker: &dyn Broker) {
        self.topics.retain(|topic, listening| {
            let stays = listening.uses > 0 || now.duration_since(listening.used) < LINGER;
            if !stays {
                broker.unlisten(*topic);
            }
            stays
        });
    }
}
