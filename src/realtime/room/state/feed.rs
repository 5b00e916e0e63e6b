//! What the feeds of those who take part are told of a room, at most so often.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::State;
use crate::{
    domain::{
        entry::{Entry, Kind},
        fact::{Change, Membership},
        id::UserId,
    },
    i18n::Language,
    realtime::feed::{Abroad, Brief, FeedChange, News},
};

/// The least time between two of one event's pushes to one feed.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of one person.
#[derive(Debug)]
enum Personal {
    Came(FeedChange),
    Went(Brief),
}

/// What has not been told yet.
#[derive(Debug, Default)]
pub(super) struct FeedBook {
    /// What concerns everyone.
    change: Option<FeedChange>,
    /// What concerns everyone, and no other node tells.
    own: Option<FeedChange>,
    /// The first entry of that.
    own_from: u64,
    /// What concerns one person: the last coming or going, which is stronger than `change`;
    /// and whether no other node tells it.
    personal: HashMap<UserId, (Personal, bool)>,
    /// Since when something waits.
    since: Option<Instant>,
    told: Option<Instant>,
}

impl State {
    /// Takes note of an entry that now stands in the record, before the circle changes. What
    /// is not this room's `own`, another node tells the others.
    pub(super) fn note_for_feed(&mut self, entry: &Entry, own: bool) {
        let change = match entry.kind {
            Kind::Fact => FeedChange::Changed,
            Kind::Message | Kind::Edit | Kind::Erase | Kind::React | Kind::Ack => FeedChange::Entries,
        };
        self.feed.change = self.feed.change.max(Some(change));
        if own {
            if self.feed.own.is_none() {
                self.feed.own_from = entry.seq;
            }
            self.feed.own = self.feed.own.max(Some(change));
        }
    }

    /// Takes note of who came in by a fact, and who went.
    pub(super) fn note_circle_for_feed(
        &mut self,
        change: &Change,
        came: &[UserId],
        went: &[UserId],
        own: bool,
    ) {
        let coming = if matches!(change, Change::EventCreated { .. }) {
            FeedChange::Created
        } else {
            FeedChange::Invited
        };
        for user in came {
            self.feed.personal.insert(*user, (Personal::Came(coming), own));
        }
        for user in went {
            let brief = self.brief();
            self.feed.personal.insert(*user, (Personal::Went(brief), own));
        }
    }

    /// Takes note of what was appended before the room was open: nobody has been told of it.
    pub(in crate::realtime::room) fn note_appended_before(&mut self, facts: u64) {
        let first = self.tip.fact_no.saturating_sub(facts) + 1;
        let tail = self.tail.range(self.tail.first_seq(), self.tip.head.seq);
        let missed: Vec<Entry> = tail
            .filter(|entry| entry.kind == Kind::Fact && entry.fact_no >= first)
            .map(|entry| Entry::clone(entry))
            .collect();
        for entry in missed {
            self.note_for_feed(&entry, true);
            let Some(fact) = crate::domain::fact::Fact::of(&entry) else {
                continue;
            };
            match fact.change.membership(fact.actor) {
                Some(Membership::Enters(user)) => self.note_circle_for_feed(&fact.change, &[user], &[], true),
                Some(Membership::Leaves(user)) => self.note_circle_for_feed(&fact.change, &[], &[user], true),
                Some(Membership::Are(_)) | None => {}
            }
        }
    }

    fn brief(&self) -> Brief {
        Brief {
            title: self.event.title.clone(),
            status: self.event.status,
        }
    }

    /// When there will be something to tell; `None` when nothing waits.
    pub(in crate::realtime::room) fn feed_due(&mut self, now: Instant) -> Option<Instant> {
        if self.feed.change.is_none() && self.feed.personal.is_empty() {
            self.feed.since = None;
            return None;
        }
        let since = *self.feed.since.get_or_insert(now);
        let pause = self.feed.told.map_or(now, |told| told + PAUSE);
        // One change of the event may be several facts: told in between, it would be half of it.
        let more_comes = !self.facts.is_empty() || !self.views.is_empty();
        let whole = if more_comes { since + PAUSE } else { now };
        Some(pause.max(whole))
    }

    /// What is to be told now, to those whom somebody hears.
    pub(in crate::realtime::room) fn take_news(
        &mut self,
        now: Instant,
        is_heard: impl Fn(UserId) -> bool,
    ) -> News {
        let change = self.feed.change.take().unwrap_or(FeedChange::Entries);
        let own = self.feed.own.take();
        let mut personal = std::mem::take(&mut self.feed.personal);
        self.feed.since = None;
        let (mut told, mut abroad) = (Vec::new(), Vec::new());
        for user in self.circle.taking_part() {
            let (change, own) = match personal.remove(&user) {
                Some((Personal::Came(coming), true)) => (coming, Some(coming)),
                Some((Personal::Came(coming), false)) => (coming, own),
                Some((Personal::Went(_), _)) | None => (change, own),
            };
            if !is_heard(user) && own.is_none() {
                continue;
            }
            let unread = self.unread(user);
            if is_heard(user) {
                told.push((user, change, unread));
            }
            if let Some(change) = own {
                abroad.push((user, change, unread));
            }
        }
        let (mut removed, mut removed_abroad) = (Vec::new(), Vec::new());
        for (user, (what, own)) in personal {
            let Personal::Went(brief) = what else { continue };
            if self.circle.has(user) {
                continue;
            }
            if own {
                removed_abroad.push((user, brief.clone()));
            }
            if is_heard(user) {
                removed.push((user, brief));
            }
        }
        // Also when nobody hears it: everyone was looked up, and that for each message.
        self.feed.told = Some(now);
        let all = told.iter().chain(&abroad);
        let whole = all.map(|(_, change, _)| *change).max() > Some(FeedChange::Entries);
        let has_abroad = !abroad.is_empty() || !removed_abroad.is_empty();
        News {
            event: self.event.id,
            brief: self.brief(),
            fact_no: self.event.fact_no,
            views: if whole {
                Language::ALL
                    .map(|language| (language, self.event_view(language)))
                    .into()
            } else {
                Vec::new()
            },
            head: self.tip.head,
            told,
            removed,
            abroad: has_abroad.then_some(Abroad {
                from: self.feed.own_from,
                told: abroad,
                removed: removed_abroad,
            }),
        }
    }

    /// Everyone who takes part.
    pub(in crate::realtime::room) fn everyone(&self) -> Vec<UserId> {
        self.circle.taking_part().collect()
    }
}
