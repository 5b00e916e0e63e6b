//! Does what follows from what another node tells.

use std::time::Instant;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    interest::WORDS,
    run::Hearer,
    wire::{Beat, Body, Hint, WireNews},
};
use crate::{
    domain::{
        entry::{Hash, Head},
        id::{EventId, UserId},
        time::Micros,
    },
    i18n::Language,
    metrics::{self, Hearing},
    ports::Topic,
    realtime::{
        feed::{FeedChange, Texts, Tidings},
        protocol::v2::{self, Here},
    },
};

impl Hearer {
    pub(super) fn obey(&mut self, node: u64, topic: Topic, body: Body, now: Instant) {
        let registry = &self.ears.registry;
        match body {
            Body::Beat(beat) => self.obey_beat(node, &beat, now),
            Body::Probe(_) => {}
            Body::Bye => {
                if self.peers.remove(&node).is_some() {
                    tracing::info!(nodes = self.peers.len(), "another node has gone");
                    self.note_peers();
                    self.note_wants();
                }
            }
            Body::Hint(hint) => match Hint::try_from(hint) {
                Ok(hint) => {
                    let event = hint.event;
                    if !registry.hear(hint) {
                        self.looks.add([event], false);
                    }
                }
                Err(_) => self.lose(topic),
            },
            Body::Look { event } => self.looks.add([EventId(event)], false),
            Body::Typing { event, user } => {
                if let Some(room) = registry.live(EventId(event)) {
                    room.hear_typing(UserId(user));
                }
            }
            Body::Mark(mark) => {
                let (event, user, mark) = mark.parts();
                if let Some(room) = registry.live(event) {
                    room.hear_mark(user, mark);
                }
            }
            Body::OwnMark { mark, unread } => {
                let (event, user, mark) = mark.parts();
                self.feed
                    .push(user, &v2::read_push(event, user, mark, Some(unread)), &[]);
            }
            Body::News(news) => self.obey_news(news),
            Body::Reset { users } => self.looks.reset(users.into_iter().map(UserId).collect()),
            Body::Here { user, online, at } => {
                let here = Here {
                    id: UserId(user),
                    online,
                    seen_at: Some(Micros(at)),
                };
                self.ears.presences.hear(registry, here);
            }
            Body::Revoked(sign_in) => self.ears.roster.revoke_here(Uuid::from_bytes(sign_in)),
            Body::RevokedUser(user) => self.ears.roster.revoke_user_here(UserId(user)),
            Body::Renamed { user, name, events } => {
                let registry = registry.clone();
                let events: Vec<EventId> = events.into_iter().map(EventId).collect();
                self.ears.registry.go_on(async move {
                    registry.rename_here(&events, UserId(user), name.as_deref()).await;
                });
            }
        }
    }

    fn obey_beat(&mut self, node: u64, beat: &Beat, now: Instant) {
        let interests = self.ears.bridge.shared.interests.lock();
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        for (index, count) in &beat.counts {
            if let Some(topic) = Topic::of_index(*index) {
                peer.counts.expect(topic, *count, interests.listens(topic), now);
            }
        }
        drop(interests);
        let mut wants = [0; WORDS];
        for (word, bits) in wants.iter_mut().zip(&beat.wants) {
            *word = *bits;
        }
        if peer.wants != wants {
            peer.wants = wants;
            self.note_wants();
        }
    }

    fn obey_news(&mut self, news: WireNews) {
        let event = EventId(news.event);
        // Its room on this node tells this by itself.
        if self.ears.registry.tells(event, news.from) {
            return;
        }
        let (Some(texts), head) = (
            Texts::from_wire(news.short, news.long),
            Head {
                seq: news.head.0,
                hash: Hash(news.head.1),
            },
        ) else {
            return metrics::bridge_heard(Hearing::Unreadable);
        };
        // Another node told of a later one already, and a list shows nothing of those before.
        let is_late = self.heads.get(&event).is_some_and(|told| *told >= head.seq);
        if !is_late {
            self.heads.put(event, head.seq);
        }
        let told = news.told.into_iter().filter_map(|(user, change, unread)| {
            let change = FeedChange::from_u8(change)?;
            (!is_late || change > FeedChange::Entries).then_some((UserId(user), change, unread))
        });
        let removed = news.removed.into_iter().filter_map(|(user, brief)| {
            let brief = RawValue::from_string(brief).ok()?;
            Some((UserId(user), brief))
        });
        self.feed.tell_texts(&Tidings {
            texts,
            head,
            told: told.collect(),
            removed: removed.collect(),
        });
    }
}

impl Texts {
    /// As another node sent them; `None` if they are not JSON.
    fn from_wire(short: String, long: Vec<(String, String)>) -> Option<Self> {
        let raw = |text| RawValue::from_string(text).ok();
        let long = long.into_iter().filter_map(|(language, text)| {
            let language = Language::from_tag(&language)?;
            Some(raw(text).map(|text| (language, text)))
        });
        Some(Self {
            short: raw(short)?,
            long: long.collect::<Option<_>>()?,
        })
    }
}
