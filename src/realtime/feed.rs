//! Tells people what becomes of their events, whether they have joined the rooms or not.
//!
//! The one interface between what happens to an event and the feeds of this node's
//! sockets: today rooms call it, and what other nodes say of their rooms comes in here
//! just the same.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{
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

    /// Tells everyone concerned. What reads the same is encoded once.
    pub(crate) fn tell(&self, news: &News) {
        let brief = |brief: &Brief, fact_no| {
            v2::event_text(&v2::BriefEvent {
                id: news.event,
                title: &brief.title,
                status: brief.status,
                fact_no,
            })
        };
        let short = brief(&news.brief, Some(news.fact_no));
        let long: HashMap<Language, Box<RawValue>> = news
            .views
            .iter()
            .map(|(language, view)| (*language, v2::event_text(view)))
            .collect();
        let mut frames: HashMap<(FeedChange, u64, Language), Bytes> = HashMap::new();
        for &(user, change, unread) in &news.told {
            let frame = |language| {
                let frame = frames.entry((change, unread, language)).or_insert_with(|| {
                    let whole = long.get(&language).filter(|_| change > FeedChange::Entries);
                    v2::feed_push(whole.unwrap_or(&short), news.head, unread, change.as_str())
                });
                frame.clone()
            };
            self.roster.push(user, frame, &[]);
        }
        for (user, last_seen) in &news.removed {
            let frame = v2::feed_removed_push(&brief(last_seen, None));
            self.roster.push(*user, |_| frame.clone(), &[]);
        }
    }

    /// Tells each of `users` that their feed may have missed something.
    pub(crate) fn reset(&self, users: impl IntoIterator<Item = UserId>) {
        let frame = v2::feed_reset_push();
        for user in users {
            self.roster.push(user, |_| frame.clone(), &[]);
        }
    }

    /// Queues `frame` for the sockets of version 2 that `user` has, but for those in `without`.
    pub(crate) fn push(&self, user: UserId, frame: &Bytes, without: &[SessionId]) {
        self.roster.push(user, |_| frame.clone(), without);
    }
}
