//! Tells people what becomes of their events, whether they have joined the rooms or not.
//!
//! The one interface between what happens to an event and the feeds of this node's
//! sockets: rooms call it, and what other nodes say of their rooms comes in here just the same.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
    bridge::Bridge,
    protocol::v2,
    roster::{Roster, SessionId},
};
use crate::{
    domain::{
        entry::Head,
        event::EventStatus,
        id::{EventId, UserId},
        view::EventView,
    },
    i18n::Language,
};

/// What became of somebody's event, the weaker ones first: of several, the strongest is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FeedChange {
    /// Something was said.
    Entries,
    /// The event changed.
    Changed,
    /// The user takes part from now on.
    Invited,
    /// The user made it.
    Created,
}

impl FeedChange {
    /// The wire's word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Changed => "changed",
            Self::Invited => "invited",
            Self::Created => "created",
        }
    }

    /// Its number between nodes.
    pub(crate) const fn as_u8(self) -> u8 {
        match self {
            Self::Entries => 0,
            Self::Changed => 1,
            Self::Invited => 2,
            Self::Created => 3,
        }
    }

    /// What has this number between nodes, if anything does.
    pub(crate) const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Entries,
            1 => Self::Changed,
            2 => Self::Invited,
            3 => Self::Created,
            _ => return None,
        })
    }
}

/// What a list of events shows of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Brief {
    /// Its title.
    pub(crate) title: String,
    /// Where it is in its life.
    pub(crate) status: EventStatus,
}

/// What became of one event since it was last told.
#[derive(Debug)]
pub(crate) struct News {
    /// Which.
    pub(crate) event: EventId,
    /// What a list shows of it.
    pub(crate) brief: Brief,
    /// How many changes it has had.
    pub(crate) fact_no: u64,
    /// All of it, in each language, if anybody is told more than that something was said.
    pub(crate) views: Vec<(Language, EventView)>,
    /// Where its record ends.
    pub(crate) head: Head,
    /// Who is told of what, with how much they have not read.
    pub(crate) told: Vec<(UserId, FeedChange, u64)>,
    /// Who takes part no longer, and as what they last saw the event.
    pub(crate) removed: Vec<(UserId, Brief)>,
    /// What the other nodes are told: only of entries that this one appended.
    pub(crate) abroad: Option<Abroad>,
}

/// Of what became of an event, that which other nodes do not know by themselves.
#[derive(Debug)]
pub(crate) struct Abroad {
    /// The first entry told of.
    pub(crate) from: u64,
    /// Who is told of what, with how much they have not read: everyone who takes part.
    pub(crate) told: Vec<(UserId, FeedChange, u64)>,
    /// Who takes part no longer, and as what they last saw the event.
    pub(crate) removed: Vec<(UserId, Brief)>,
}

/// An event as feeds tell of it, JSON.
#[derive(Debug)]
pub(crate) struct Texts {
    /// What a list shows of it.
    pub(crate) short: Box<RawValue>,
    /// All of it, by language.
    pub(crate) long: HashMap<Language, Box<RawValue>>,
}

/// What this node's feeds are told.
#[derive(Debug)]
pub(crate) struct Tidings {
    /// The event.
    pub(crate) texts: Texts,
    /// Where its record ends.
    pub(crate) head: Head,
    /// Who is told of what, with how much they have not read.
    pub(crate) told: Vec<(UserId, FeedChange, u64)>,
    /// Who takes part no longer, and the event as they last saw it.
    pub(crate) removed: Vec<(UserId, Box<RawValue>)>,
}

impl News {
    /// The event as it is told.
    pub(crate) fn texts(&self) -> Texts {
        Texts {
            short: self.brief_text(&self.brief, Some(self.fact_no)),
            long: self
                .views
                .iter()
                .map(|(language, view)| (*language, v2::event_text(view)))
                .collect(),
        }
    }

    /// What a list shows of the event, as `brief` has it.
    pub(crate) fn brief_text(&self, brief: &Brief, fact_no: Option<u64>) -> Box<RawValue> {
        v2::event_text(&v2::BriefEvent {
            id: self.event,
            title: &brief.title,
            status: brief.status,
            fact_no,
        })
    }
}

/// The feeds of this node's sockets of version 2. Clones share them.
#[derive(Clone)]
pub struct Feed {
    roster: Roster,
}

impl Feed {
    /// The feeds of the sockets in `roster`.
    pub fn new(roster: Roster) -> Self {
        Self { roster }
    }

    /// Whether anything told to `user` is heard on this node.
    pub(crate) fn is_heard_by(&self, user: UserId) -> bool {
        self.roster.listens(user)
    }

    /// Tells everyone concerned, on every node.
    pub(crate) fn tell(&self, news: &News) {
        self.bridge().news(news);
        if news.told.is_empty() && news.removed.is_empty() {
            return;
        }
        self.tell_texts(&Tidings {
            texts: news.texts(),
            head: news.head,
            told: news.told.clone(),
            removed: news
                .removed
                .iter()
                .map(|(user, brief)| (*user, news.brief_text(brief, None)))
                .collect(),
        });
    }

    /// Tells this node's feeds. What reads the same is encoded once.
    pub(crate) fn tell_texts(&self, tidings: &Tidings) {
        let Texts { short, long } = &tidings.texts;
        let mut frames: HashMap<(FeedChange, u64, Language), Bytes> = HashMap::new();
        for &(user, change, unread) in &tidings.told {
            let frame = |language| {
                let frame = frames.entry((change, unread, language)).or_insert_with(|| {
                    let whole = long.get(&language).filter(|_| change > FeedChange::Entries);
                    v2::feed_push(whole.unwrap_or(short), tidings.head, unread, change.as_str())
                });
                frame.clone()
            };
            self.roster.push(user, frame, &[]);
        }
        for (user, last_seen) in &tidings.removed {
            let frame = v2::feed_removed_push(last_seen);
            self.roster.push(*user, |_| frame.clone(), &[]);
        }
    }

    /// Tells each of `users`, on every node, that their feed may have missed something.
    pub(crate) fn reset(&self, users: Vec<UserId>) {
        self.bridge().reset(&users);
        self.reset_here(users);
    }

    /// Tells each of `users` on this node that their feed may have missed something.
    pub(crate) fn reset_here(&self, users: impl IntoIterator<Item = UserId>) {
        let frame = v2::feed_reset_push();
        for user in users {
            self.roster.push(user, |_| frame.clone(), &[]);
        }
    }

    /// The other nodes.
    pub(super) fn bridge(&self) -> &Bridge {
        self.roster.bridge()
    }

    /// Queues `frame` for the sockets of version 2 that `user` has, but for those in `without`.
    pub(crate) fn push(&self, user: UserId, frame: &Bytes, without: &[SessionId]) {
        self.roster.push(user, |_| frame.clone(), without);
    }
}
