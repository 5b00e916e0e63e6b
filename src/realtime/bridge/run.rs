//! Hears the other nodes, and tells them that this one is there.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lru::LruCache;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Bridge,
    count::Counts,
    interest::{Topics, WORDS},
    looks::Looks,
    miss::SILENT,
    wire::{self, Beat, Body, Header},
};
use crate::{
    domain::id::EventId,
    metrics::{self, Hearing},
    ports::{Heard, Topic},
    realtime::{feed::Feed, presence::Presences, registry::Registry, roster::Roster},
};

/// How often it is looked for what has become due.
const TICK: Duration = Duration::from_millis(100);

/// How often a node says that it is there.
const BEAT: Duration = Duration::from_secs(1);

/// The least time between two beats.
const BEAT_PAUSE: Duration = Duration::from_millis(50);

/// The least time between two losses of unknown extent that are acted upon.
const LOSS_PAUSE: Duration = Duration::from_secs(2);

/// Other nodes that are listened to; more are not heard, and rooms look by themselves.
pub(super) const MAX_NODES: usize = 1_024;

/// Events whose heads are remembered as feeds were told them by other nodes.
const HEADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// Where what is heard goes.
pub struct Ears {
    /// The bridge.
    pub bridge: Bridge,
    /// The rooms.
    pub registry: Registry,
    /// The sockets.
    pub roster: Roster,
    /// Who is here.
    pub presences: Presences,
    /// How long a write to the log may be on its way after its node has died.
    pub write_timeout: Duration,
}

impl Ears {
    /// Hears for ever what other nodes tell, and tells them that this one is there. Without a
    /// carrier, or when that is closed, it ends.
    pub async fn run(self) {
        let bridge = self.bridge.clone();
        let mut hearing = Hearer::new(self);
        let broker = &bridge.shared.broker;
        let _all = bridge.listen(Topic::All);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                heard = broker.hear() => match heard {
                    Some(heard) => hearing.hear(heard),
                    None => return,
                },
                () = bridge.shared.stirred.notified() => hearing.is_stirred = true,
                _ = ticks.tick() => hearing.tick(),
            }
            hearing.settle(Instant::now());
        }
    }
}

/// Another node.
pub(super) struct Peer {
    pub(super) heard_at: Instant,
    pub(super) counts: Counts,
    pub(super) wants: Topics,
}

/// See the module.
pub(super) struct Hearer {
    pub(super) ears: Ears,
    pub(super) feed: Feed,
    pub(super) peers: HashMap<u64, Peer>,
    /// Who went without a word, and until when that matters.
    pub(super) missed: HashMap<u64, Instant>,
    /// Whether this node hears itself.
    is_up: bool,
    /// Which time it does, so that an old telling is not taken for a new one.
    epoch: u32,
    /// Since when others may not have heard this node; beats say how much it told since.
    unheard_since: Instant,
    up_since: Instant,
    heard_itself: Instant,
    ticked: Instant,
    beaten: Option<Instant>,
    /// Whether the others should soon hear of this node, or of its interests.
    is_stirred: bool,
    /// Whether to see what this node has to ask itself.
    may_ask: bool,
    /// Since when something was lost on the way to this node, and when that was last acted upon.
    lost: Option<Instant>,
    lost_at: Option<Instant>,
    pub(super) looks: Looks,
    /// When all rooms look once more: a write of a node that died may have landed.
    pub(super) look_again: Vec<Instant>,
    pub(super) heads: LruCache<EventId, u64>,
}

impl Hearer {
    fn new(ears: Ears) -> Self {
        let now = Instant::now();
        Self {
            feed: Feed::new(ears.roster.clone()),
            ears,
            peers: HashMap::new(),
            missed: HashMap::new(),
            is_up: false,
            epoch: 0,
            unheard_since: now,
            up_since: now,
            heard_itself: now,
            ticked: now,
            beaten: None,
            is_stirred: true,
            may_ask: true,
            lost: None,
            lost_at: None,
            looks: Looks::new(now),
            look_again: Vec::new(),
            // Grows as it is used: a node that is alone needs none.
            heads: LruCache::sparse(HEADS),
        }
    }

    // ---- the carrier

    fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        match heard {
            Heard::Told { topic, bytes } => self.take(topic, &bytes, now),
            Heard::Connected => {
                self.down(now);
                self.beat(now);
            }
            Heard::Disconnected => self.down(now),
            Heard::Lost => {
                metrics::bridge_heard(Hearing::Lost);
                self.lost = Some(now);
            }
        }
    }

    /// This node hears nobody.
    fn down(&mut self, now: Instant) {
        if self.is_up {
            self.is_up = false;
            self.unheard_since = now;
            tracing::warn!("the bridge to other nodes is down");
        }
        metrics::bridge_up(false);
        self.epoch = self.epoch.wrapping_add(1);
        self.ears.bridge.shared.interests.lock().ask_all();
    }

    /// This node hears itself.
    fn up(&mut self, now: Instant) {
        self.heard_itself = now;
        if self.is_up {
            return;
        }
        self.is_up = true;
        self.up_since = now;
        metrics::bridge_up(true);
        tracing::info!("the bridge to other nodes is up");
        self.looks.end_rounds();
        self.excuse(now);
        self.doubt_all();
        self.is_stirred = true;
    }

    /// Nobody could be heard: that says nothing of them.
    fn excuse(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.heard_at = now;
        }
    }

    fn take(&mut self, topic: Topic, bytes: &Bytes, now: Instant) {
        let (header, body) = match wire::header(bytes) {
            Ok(read) => read,
            Err(error) => {
                metrics::bridge_heard(Hearing::Unreadable);
                tracing::debug!(error = %error, "what another node told cannot be read");
                return;
            }
        };
        if header.node == self.ears.bridge.shared.node {
            return self.take_own(topic, body, now);
        }
        let Some(is_new) = self.count(topic, header, now) else {
            return;
        };
        if !is_new {
            return metrics::bridge_heard(Hearing::Repeated);
        }
        match wire::read(body) {
            Ok(body) => {
                if header.no > 0 {
                    metrics::bridge_heard(Hearing::Taken);
                }
                self.obey(header.node, topic, body, now);
            }
            // A later version told something that this one does not know.
            Err(error) => {
                metrics::bridge_heard(Hearing::Unreadable);
                tracing::debug!(error = %error, "what another node told is not known here");
                self.lose(topic);
            }
        }
    }

    fn take_own(&mut self, topic: Topic, body: &[u8], now: Instant) {
        match wire::read(body) {
            Ok(Body::Probe(epoch)) if epoch == self.epoch => {
                self.up(now);
                let is_news = self.ears.bridge.shared.interests.lock().is_heard(topic);
                if let Topic::Room(_) = topic
                    && is_news
                    && !self.peers.is_empty()
                {
                    self.look_in(topic, false);
                }
            }
            Ok(Body::Beat(_)) if self.is_up => self.heard_itself = now,
            _ => {}
        }
    }

    /// Whether a telling is new; `None` if there are too many nodes to hear them all.
    fn count(&mut self, topic: Topic, header: Header, now: Instant) -> Option<bool> {
        if !self.peers.contains_key(&header.node) {
            if self.peers.len() >= MAX_NODES {
                return None;
            }
            self.missed.remove(&header.node);
            let peer = Peer {
                heard_at: now,
                counts: Counts::default(),
                wants: [0; WORDS],
            };
            self.peers.insert(header.node, peer);
            self.note_peers();
            tracing::info!(nodes = self.peers.len(), "another node is heard");
            // It shall soon know what is wanted here.
            self.is_stirred = true;
        }
        let peer = self.peers.get_mut(&header.node)?;
        peer.heard_at = now;
        Some(header.no == 0 || peer.counts.hear(topic, header.no, now))
    }

    pub(super) fn note_peers(&self) {
        let mut others = self.ears.bridge.shared.others.write();
        others.clear();
        others.extend(self.peers.keys());
        metrics::bridge_nodes(others.len());
    }

    pub(super) fn note_wants(&self) {
        for (index, word) in self.ears.bridge.shared.wanted.iter().enumerate() {
            let bits = self.peers.values().fold(0, |bits, peer| bits | peer.wants[index]);
            word.store(bits, std::sync::atomic::Ordering::Relaxed);
        }
    }

    // ---- what becomes due

    fn tick(&mut self) {
        let now = Instant::now();
        self.may_ask = true;
        let slept = now.duration_since(std::mem::replace(&mut self.ticked, now));
        if slept >= SILENT / 2 {
            // This process stood still; what was told meanwhile is only now being heard.
            tracing::warn!(seconds = slept.as_secs_f32(), "this node stood still");
            self.heard_itself = now;
            self.excuse(now);
            self.look_everywhere(false);
        }
        if self.is_up && now.duration_since(self.heard_itself) >= SILENT {
            self.down(now);
        }
        if self.is_up {
            self.miss_silent(now);
        }
        let lost: Vec<Topic> = self
            .peers
            .values_mut()
            .flat_map(|peer| peer.counts.take_lost(now))
            .collect();
        for topic in lost {
            self.lose(topic);
        }
        let may_act = self.lost_at.is_none_or(|at| now.duration_since(at) >= LOSS_PAUSE);
        if may_act && self.lost.take().is_some() {
            self.lost_at = Some(now);
            self.doubt_all();
        }
        if self.look_again.extract_if(.., |at| *at <= now).count() > 0 {
            self.doubt_all();
        }
        self.missed.retain(|_, until| *until > now);
        if !self.is_up || !self.missed.is_empty() || self.peers.len() >= MAX_NODES {
            self.looks.begin_round(now, || self.ears.registry.events());
        } else {
            self.looks.end_rounds();
        }
        let shared = &self.ears.bridge.shared;
        shared.interests.lock().tidy(now, &*shared.broker);
        if self.beaten.is_none_or(|at| now.duration_since(at) >= BEAT) {
            self.beat(now);
        }
    }

    /// Does what can be done now.
    fn settle(&mut self, now: Instant) {
        if self.is_stirred && self.beaten.is_none_or(|at| now.duration_since(at) >= BEAT_PAUSE) {
            self.beat(now);
        }
        if std::mem::take(&mut self.may_ask) {
            let unasked = self.ears.bridge.shared.interests.lock().take_unasked(now);
            for topic in unasked {
                self.ears.bridge.send(topic, 0, &Body::Probe(self.epoch));
            }
        }
        let looks = self.looks.take(now);
        if !looks.is_empty() {
            metrics::bridge_looks(looks.len());
        }
        for (event, deep) in looks {
            if !self.ears.registry.look(event, deep) {
                // It is too busy to hear of it now.
                self.looks.add([event], deep);
            }
        }
        self.feed.reset_here(self.looks.take_resets(now));
    }

    fn beat(&mut self, now: Instant) {
        self.is_stirred = false;
        self.may_ask = true;
        self.beaten = Some(now);
        // Whoever did not hear this node for a while hears how much it told in that time.
        let heard_again = self.up_since + BEAT * 10;
        let since = if self.is_up && now >= heard_again {
            now
        } else {
            self.unheard_since
        };
        let shared = &self.ears.bridge.shared;
        let beat = Beat {
            counts: shared.told.lock().lately(since),
            wants: shared.interests.lock().all().to_vec(),
        };
        self.ears.bridge.send(Topic::All, 0, &Body::Beat(beat));
    }
}
