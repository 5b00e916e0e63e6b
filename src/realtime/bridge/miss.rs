//! What follows from not hearing another node, or not all of what it tells.

use std::time::{Duration, Instant};

use super::run::{Hearer, MAX_NODES, Peer};
use crate::{metrics, ports::Topic};

/// Who is silent for so long is gone, or cannot be heard.
pub(super) const SILENT: Duration = Duration::from_secs(3);

/// How long beyond its life a write of a node that is gone is waited for.
const AFTER_WRITE: Duration = Duration::from_secs(1);

/// How long somebody who went without a word may still be there, unheard. As long as there is
/// such a node, rooms look by themselves, as when nobody is heard.
const DOUBT: Duration = Duration::from_secs(300);

impl Hearer {
    /// Something told under `topic` will never be heard.
    pub(super) fn lose(&mut self, topic: Topic) {
        let what = match topic {
            Topic::All => "all",
            Topic::Room(_) => "room",
            Topic::Feed(_) => "feed",
            Topic::Here(_) => "presence",
        };
        metrics::bridge_gap(what);
        match topic {
            Topic::All => self.doubt_all(),
            Topic::Room(_) => self.look_in(topic, true),
            Topic::Feed(_) => {
                let listeners = self.ears.roster.listeners();
                let meant = listeners.into_iter().filter(|user| Topic::feed(*user) == topic);
                self.looks.reset(meant.collect());
            }
            Topic::Here(_) => self.ears.presences.look_again(&self.ears.registry, topic),
        }
    }

    /// Anything may have been missed.
    pub(super) fn doubt_all(&mut self) {
        self.ears.bridge.shared.doubted.notify_one();
        self.look_everywhere(true);
        self.looks.reset(self.ears.roster.listeners());
    }

    pub(super) fn look_in(&mut self, topic: Topic, deep: bool) {
        let events = self.ears.registry.events();
        let meant = events.into_iter().filter(|event| Topic::room(*event) == topic);
        self.looks.add(meant, deep);
    }

    pub(super) fn look_everywhere(&mut self, deep: bool) {
        self.looks.add(self.ears.registry.events(), deep);
    }

    /// Takes note of the nodes that are not heard any more.
    pub(super) fn miss_silent(&mut self, now: Instant) {
        let silent = |peer: &Peer| now.duration_since(peer.heard_at) >= SILENT;
        let gone: Vec<u64> = self
            .peers
            .extract_if(|_, peer| silent(peer))
            .map(|(node, _)| node)
            .collect();
        if gone.is_empty() {
            return;
        }
        tracing::warn!(nodes = gone.len(), "other nodes are not heard any more");
        for node in gone {
            if self.missed.len() < MAX_NODES {
                self.missed.insert(node, now + DOUBT);
            }
        }
        self.note_peers();
        self.note_wants();
        self.look_everywhere(false);
        self.look_again.push(now + self.ears.write_timeout + AFTER_WRITE);
    }
}
