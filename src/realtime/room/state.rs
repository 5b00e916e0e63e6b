//! A room without its actor: order, keys, rights, and who is told what.
//!
//! No I/O and no clock of its own: the actor in [`super`] brings instants,
//! appends what [`State::next_batch`] gives it, and tells what came of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{ReplyTo, RoomError, tail::Tail};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        event::{Event, Participant},
        fact::{Change, Fact},
        id::UserId,
        time::Micros,
        view,
        visibility::Circle,
    },
    i18n::Language,
    ports::{FactPage, FactPlace, Person},
    realtime::{
        outbox::Outbox,
        protocol::v2::{self, EntryStyle},
        roster::SessionId,
    },
};

/// Participants that a `joined` push names; the rest is paged over HTTP.
const PARTICIPANTS_SHOWN: usize = 200;

/// Searches for keys that one user may have waiting in a room.
const SEARCHES_PER_USER: usize = 64;

/// The limits a room works under.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) tail_entries: usize,
    pub(crate) tail_bytes: usize,
    pub(crate) append_entries: usize,
    pub(crate) append_bytes: usize,
    pub(crate) pending_entries: usize,
    pub(crate) key_window: u64,
    pub(crate) answer_bytes: usize,
    pub(crate) history_page: usize,
}

/// A message on its way into the room.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) key: Uuid,
    pub(crate) after: u64,
    pub(crate) body: Bytes,
    pub(crate) reply_to: Option<u64>,
    pub(crate) deadline: Instant,
    pub(crate) arrived: Instant,
    pub(crate) reply: ReplyTo,
}

/// A key to be looked for in the log: entries `from..=to`.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) publish: Publish,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// A message that waits for its place, with everyone who wants to hear of it.
#[derive(Debug)]
struct Waiting {
    draft: Draft,
    user: UserId,
    deadline: Instant,
    arrived: Instant,
    replies: Vec<ReplyTo>,
}

#[derive(Debug)]
enum Item {
    Fact(Fact),
    Message(Waiting),
}

struct Flight {
    entries: Arc<[Entry]>,
    items: Vec<Item>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waiting,
    At(u64),
}

/// A session that receives the room.
pub(crate) struct Attached {
    pub(crate) user: UserId,
    pub(crate) outbox: Outbox,
    pub(crate) language: Language,
    /// The last entry it was told.
    pub(crate) sent: u64,
}

struct View {
    fact_no: u64,
    event: Event,
    participants: Vec<Participant>,
}

/// A join on its way into the room.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub(crate) session: SessionId,
    pub(crate) user: UserId,
    pub(crate) outbox: OutboxRef,
    pub(crate) language: Language,
    pub(crate) since: Option<Head>,
    pub(crate) limit: Option<usize>,
    pub(crate) id: u64,
}

/// An [`Outbox`] whose `Debug` says nothing.
#[derive(Clone)]
pub(crate) struct OutboxRef(pub(crate) Outbox);

impl std::fmt::Debug for OutboxRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox")
    }
}

/// What came of a join.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JoinStep {
    /// The session is attached and was told.
    Done,
    /// The log must first say whether the hash of this seq is the client's.
    NeedHash(u64),
}

/// Which entries a page of history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageRange {
    /// First seq.
    pub(super) from: u64,
    /// Last seq; below `from` when the page is empty.
    pub(super) to: u64,
    /// Whether nothing further lies in the direction of reading.
    pub(super) complete: bool,
    /// Which end is cut when the page is too large.
    pub(super) backwards: bool,
}

/// See the module.
pub(super) struct State {
    settings: Settings,
    event: Event,
    participants: Vec<Participant>,
    people: HashMap<UserId, String>,
    circle: Circle,
    tip: Tip,
    tail: Tail,
    queue: VecDeque<Waiting>,
    facts: VecDeque<Fact>,
    views: VecDeque<View>,
    flight: Option<Flight>,
    keys: HashMap<(UserId, Uuid), Place>,
    sessions: HashMap<SessionId, Attached>,
    places: Vec<FactPlace>,
    searches: HashMap<UserId, usize>,
}

impl State {
    /// A room at `tip`, of which `newest` are the last entries.
    pub(super) fn new(
        settings: Settings,
        event: Event,
        participants: Vec<Participant>,
        people: Vec<Person>,
        circle: Circle,
        tip: Tip,
        newest: Vec<Entry>,
    ) -> Self {
        let (tail, kept) = Tail::new(event.room, newest, settings.tail_entries, settings.tail_bytes);
        let keys = kept.iter().filter_map(|entry| Some((key_of(entry)?, Place::At(entry.seq)))).collect();
        Self {
            settings,
            event,
            participants,
            people: people.into_iter().map(|person| (person.id, person.name)).collect(),
            circle,
            tip,
            tail,
            queue: VecDeque::new(),
            facts: VecDeque::new(),
            views: VecDeque::new(),
            flight: None,
            keys,
            sessions: HashMap::new(),
            places: Vec::new(),
            searches: HashMap::new(),
        }
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    pub(super) fn tip(&self) -> Tip {
        self.tip
    }

    /// Whether nothing waits for the log.
    pub(super) fn is_quiet(&self) -> bool {
        self.flight.is_none() && self.queue.is_empty() && self.facts.is_empty() && self.searches.is_empty()
    }

    pub(super) fn has_deadlines(&self) -> bool {
        !self.queue.is_empty() || self.flight.is_some()
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Facts whose places have become known since the last call.
    pub(super) fn take_places(&mut self) -> Vec<FactPlace> {
        std::mem::take(&mut self.places)
    }

    /// The last fact that is in the log or waits for it.
    pub(super) fn last_known_fact(&self) -> u64 {
        let in_flight = self.flight.as_ref().and_then(|flight| flight.entries.last()).map_or(0, |last| last.fact_no);
        self.facts.back().map_or(0, |fact| fact.no).max(in_flight).max(self.tip.fact_no)
    }

    // ---- rights

    /// Whether `user` takes part; otherwise how that is told.
    pub(super) fn check_participant(&self, user: UserId) -> Result<(), RoomError> {
        match self.circle.visible(user) {
            Some(visible) if visible.is_open() => Ok(()),
            Some(_) => Err(RoomError::Gone),
            None => Err(RoomError::Unknown),
        }
    }

    // ---- joining

    /// Attaches a session and tells it what it missed, in one turn.
    ///
    /// `known` says whether the log holds the client's hash at `since`, once that was looked up.
    pub(super) fn join(&mut self, join: &Join, known: Option<bool>) -> Result<JoinStep, RoomError> {
        self.check_participant(join.user)?;
        let head = self.tip.head;
        let (from, reset) = match join.since {
            None => (0, false),
            Some(since) if since.seq > head.seq => (0, true),
            Some(since) => match known.or_else(|| self.tail.hash_at(since.seq).map(|hash| hash == since.hash)) {
                None => return Ok(JoinStep::NeedHash(since.seq)),
                Some(true) => (since.seq, false),
                Some(false) => (0, true),
            },
        };
        let newest = join.limit.unwrap_or(50).min(self.settings.history_page);
        let resumes = join.since.is_some() && !reset;
        let (entries, complete) = self.missed(join.user, join.language, from, if resumes { None } else { Some(newest) });
        let name_of = |user| self.people.get(&user).cloned();
        let joined = v2::Joined {
            room: self.event.id,
            head,
            msg_no: self.tip.msg_no,
            entries: &entries,
            complete,
            reset,
            participants: self
                .participants
                .iter()
                .take(PARTICIPANTS_SHOWN)
                .map(|participant| view::participant_view(participant, &name_of))
                .collect(),
            event: self.event_view(),
        };
        let frame = v2::joined_push(Some(join.id).filter(|id| *id > 0), &joined);
        // A closed outbox means the session is going; its leave will follow.
        if join.outbox.0.try_push(frame).is_ok() {
            self.attach(join.session, join.user, join.outbox.0.clone(), join.language, head.seq);
        }
        Ok(JoinStep::Done)
    }

    fn event_view(&self) -> view::EventView {
        let name_of = |user| self.people.get(&user).cloned();
        let shown: Vec<Participant> = self.participants.iter().take(PARTICIPANTS_SHOWN).cloned().collect();
        view::event_view(&self.event, &shown, &name_of)
    }

    fn attach(&mut self, session: SessionId, user: UserId, outbox: Outbox, language: Language, sent: u64) {
        self.sessions.insert(session, Attached { user, outbox, language, sent });
    }

    /// What `user` may see behind `from`: everything when it fits, else the newest 50;
    /// with `newest` at most so many. And whether nothing was left out.
    fn missed(&self, user: UserId, language: Language, from: u64, newest: Option<usize>) -> (Vec<Box<RawValue>>, bool) {
        let Some(visible) = self.circle.visible(user) else { return (Vec::new(), true) };
        let head = self.tip.head.seq;
        let budget = self.settings.answer_bytes;
        if newest.is_none() && from + 1 >= self.tail.first_seq() {
            let (all, cut) = self.render(
                self.tail.range(from + 1, head).rev().filter(|entry| visible.contains(entry.seq)).cloned(),
                language,
                budget,
            );
            if !cut && all.len() <= 500 {
                return (all, true);
            }
        }
        let limit = newest.unwrap_or(50);
        let mut count = 0;
        let (entries, cut) = self.render(
            self.tail
                .range(from + 1, head)
                .rev()
                .filter(|entry| visible.contains(entry.seq))
                .take_while(|_| {
                    count += 1;
                    count <= limit
                })
                .cloned(),
            language,
            budget,
        );
        let complete = !cut && count <= limit && from + 1 >= self.tail.first_seq();
        (entries, complete)
    }

    /// Renders entries that come newest first, within `budget` bytes, into ascending order.
    fn render(
        &self,
        newest_first: impl Iterator<Item = Arc<Entry>>,
        language: Language,
        budget: usize,
    ) -> (Vec<Box<RawValue>>, bool) {
        let (mut shown, mut bytes, mut cut) = (Vec::new(), 0, false);
        for entry in newest_first {
            let text = self.show(&entry, language);
            bytes += text.get().len() + 1;
            if bytes > budget && !shown.is_empty() {
                cut = true;
                break;
            }
            shown.push(text);
        }
        shown.reverse();
        (shown, cut)
    }

    fn show(&self, entry: &Entry, language: Language) -> Box<RawValue> {
        v2::entry(entry, &EntryStyle { language, name_of: &|user| self.people.get(&user).cloned() })
    }

    /// Detaches a session.
    pub(super) fn leave(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// Takes over the sessions of a room that panicked, each told up to its `sent`.
    pub(super) fn adopt(&mut self, survivors: Vec<(SessionId, Attached)>) {
        for (session, old) in survivors {
            if self.check_participant(old.user).is_err() {
                let _ = old.outbox.try_push(v2::removed_push(self.event.id, "removed"));
                continue;
            }
            let head = self.tip.head;
            let covered = old.sent + 1 >= self.tail.first_seq();
            if covered {
                let missed: Vec<Arc<Entry>> = self.tail.range(old.sent + 1, head.seq).cloned().collect();
                let alive = missed.is_empty()
                    || self.pushes(&missed, old.language).into_iter().all(|frame| old.outbox.try_push(frame).is_ok());
                if alive {
                    self.attach(session, old.user, old.outbox, old.language, head.seq);
                }
            } else {
                // Too much was said meanwhile: a fresh `joined`, which tells that it is not complete.
                let join = Join {
                    session,
                    user: old.user,
                    outbox: OutboxRef(old.outbox),
                    language: old.language,
                    since: Some(Head { seq: old.sent, hash: head.hash }),
                    limit: None,
                    id: 0,
                };
                let _ = self.join(&join, Some(true));
            }
        }
    }

    /// The sessions, when the room ends without having been asked to.
    pub(super) fn take_sessions(&mut self) -> Vec<(SessionId, Attached)> {
        self.sessions.drain().collect()
    }

    /// Lets go of sessions whose socket is closed.
    pub(super) fn prune(&mut self) {
        self.sessions.retain(|_, attached| attached.outbox.closed().is_none());
    }

    /// Tells every session where the head is, so that a lost push is noticed.
    pub(super) fn push_head(&self) {
        let frame = v2::head_push(self.event.id, self.tip.head);
        for attached in self.sessions.values() {
            let _ = attached.outbox.try_push(frame.clone());
        }
    }

    // ---- publishing

    /// Takes a message in, answers it, or says where its key must be looked for first.
    ///
    /// `searched` is the seq up to which the log is known not to hold the key.
    pub(super) fn publish(&mut self, publish: Publish, searched: u64) -> Option<Search> {
        match self.admit(&publish, searched) {
            Err(error) => {
                crate::metrics::publish_refused(crate::error::Coded::code(&error));
                publish.reply.fail(&error);
                None
            }
            Ok(Admission::Duplicate(seq, at)) => {
                let frame = v2::publish_reply(publish.reply.id(), self.event.id, seq, at, true);
                publish.reply.send(frame);
                None
            }
            Ok(Admission::SameAsWaiting) => {
                let key = (publish.user, publish.key);
                if let Some(waiting) = self.waiting_mut(key) {
                    waiting.replies.push(publish.reply);
                }
                None
            }
            Ok(Admission::Search(from, to)) => {
                *self.searches.entry(publish.user).or_default() += 1;
                Some(Search { publish, from, to })
            }
            Ok(Admission::New) => {
                self.keys.insert((publish.user, publish.key), Place::Waiting);
                self.queue.push_back(Waiting {
                    draft: Draft {
                        author: Some(publish.user),
                        kind: Kind::Message,
                        key: publish.key,
                        reply_to: publish.reply_to,
                        target: None,
                        body: publish.body,
                    },
                    user: publish.user,
                    deadline: publish.deadline,
                    arrived: publish.arrived,
                    replies: vec![publish.reply],
                });
                None
            }
        }
    }

    fn admit(&self, publish: &Publish, searched: u64) -> Result<Admission, RoomError> {
        self.check_participant(publish.user)?;
        if self.sessions.get(&publish.session).is_none_or(|attached| attached.user != publish.user) {
            return Err(RoomError::NotJoined);
        }
        let head = self.tip.head.seq;
        if publish.after > head {
            return Err(RoomError::PositionUnknown { head });
        }
        match self.keys.get(&(publish.user, publish.key)) {
            Some(Place::At(seq)) => {
                let entry = self.tail.get(*seq).ok_or(RoomError::Internal)?;
                return same_message(entry, publish).map(|()| Admission::Duplicate(entry.seq, entry.at));
            }
            Some(Place::Waiting) => {
                let waiting = self.waiting((publish.user, publish.key)).ok_or(RoomError::Internal)?;
                let same = waiting.draft.body == publish.body && waiting.draft.reply_to == publish.reply_to;
                return if same { Ok(Admission::SameAsWaiting) } else { Err(RoomError::KeyConflict) };
            }
            None => {}
        }
        let from = publish.after.max(searched) + 1;
        let first_indexed = self.tail.first_seq();
        if from < first_indexed {
            if head - publish.after > self.settings.key_window {
                return Err(RoomError::KeyExpired);
            }
            if self.searches.get(&publish.user).is_some_and(|running| *running >= SEARCHES_PER_USER) {
                return Err(RoomError::Busy);
            }
            return Ok(Admission::Search(from, first_indexed - 1));
        }
        if let Some(target) = publish.reply_to
            && (target > head || !self.circle.visible(publish.user).is_some_and(|visible| visible.contains(target)))
        {
            return Err(RoomError::ReplyTo);
        }
        if self.queue.len() >= self.settings.pending_entries {
            return Err(RoomError::Unavailable);
        }
        Ok(Admission::New)
    }

    /// Goes on with a message whose key was looked for: `found` is its entry, if there is one.
    pub(super) fn searched(&mut self, search: Search, found: Option<&Entry>) -> Option<Search> {
        let Search { publish, to, .. } = search;
        if let Some(running) = self.searches.get_mut(&publish.user) {
            *running -= 1;
            if *running == 0 {
                self.searches.remove(&publish.user);
            }
        }
        let Some(entry) = found else { return self.publish(publish, to) };
        let answer = self.check_participant(publish.user).and_then(|()| same_message(entry, &publish));
        match answer {
            Ok(()) => {
                let frame = v2::publish_reply(publish.reply.id(), self.event.id, entry.seq, entry.at, true);
                publish.reply.send(frame);
            }
            Err(error) => publish.reply.fail(&error),
        }
        None
    }

    /// The search came to nothing: the log does not answer.
    pub(super) fn search_failed(&mut self, search: Search) {
        if let Some(running) = self.searches.get_mut(&search.publish.user) {
            *running -= 1;
            if *running == 0 {
                self.searches.remove(&search.publish.user);
            }
        }
        search.publish.reply.fail(&RoomError::Unavailable);
    }

    fn all_waiting(&self) -> impl Iterator<Item = &Waiting> {
        let flying = self.flight.iter().flat_map(|flight| &flight.items).filter_map(|item| match item {
            Item::Message(waiting) => Some(waiting),
            Item::Fact(_) => None,
        });
        self.queue.iter().chain(flying)
    }

    fn waiting(&self, key: (UserId, Uuid)) -> Option<&Waiting> {
        self.all_waiting().find(|waiting| (waiting.user, waiting.draft.key) == key)
    }

    fn waiting_mut(&mut self, key: (UserId, Uuid)) -> Option<&mut Waiting> {
        let flying = self.flight.iter_mut().flat_map(|flight| &mut flight.items).filter_map(|item| match item {
            Item::Message(waiting) => Some(waiting),
            Item::Fact(_) => None,
        });
        self.queue.iter_mut().chain(flying).find(|waiting| (waiting.user, waiting.draft.key) == key)
    }

    /// Answers what has waited past its deadline. What the log has not been asked for yet
    /// is dropped; what is on its way stays on its way.
    pub(super) fn expire(&mut self, now: Instant) {
        let (expired, waiting): (Vec<_>, Vec<_>) = self.queue.drain(..).partition(|waiting| waiting.deadline <= now);
        self.queue = waiting.into();
        for late in expired {
            self.keys.remove(&(late.user, late.draft.key));
            refuse(late.replies, &RoomError::Unavailable);
        }
        for item in self.flight.iter_mut().flat_map(|flight| &mut flight.items) {
            if let Item::Message(waiting) = item
                && waiting.deadline <= now
            {
                refuse(std::mem::take(&mut waiting.replies), &RoomError::Unavailable);
            }
        }
    }

    // ---- facts

    /// Takes in facts that the relational store committed.
    pub(super) fn queue_facts(&mut self, page: FactPage) {
        self.learn(page.people);
        let last = page.facts.last().map_or(0, |fact| fact.no);
        for fact in page.facts {
            if fact.no == self.last_known_fact() + 1 {
                self.facts.push_back(fact);
            }
        }
        if page.event.fact_no == self.tip.fact_no || last == page.event.fact_no {
            self.views.push_back(View {
                fact_no: page.event.fact_no,
                event: page.event,
                participants: page.participants,
            });
        }
        self.show_view();
    }

    fn learn(&mut self, people: Vec<Person>) {
        self.people.extend(people.into_iter().map(|person| (person.id, person.name)));
    }

    /// Shows the event as it was at the last fact that is in the log.
    fn show_view(&mut self) {
        while let Some(view) = self.views.pop_front_if(|view| view.fact_no <= self.tip.fact_no) {
            self.event = view.event;
            self.participants = view.participants;
        }
    }

    // ---- the log

    /// What to append next, and behind which head; `None` when there is nothing or something is on its way.
    ///
    /// Facts go before messages, and a batch ends behind a fact that changes who takes
    /// part: whoever is removed is in no batch after it.
    pub(super) fn next_batch(&mut self, now: Micros, mut salt: impl FnMut() -> [u8; 16]) -> Option<(Head, Arc<[Entry]>)> {
        if self.flight.is_some() {
            return None;
        }
        let expected = self.tip.head;
        let mut tip = self.tip;
        let (mut items, mut entries, mut bytes): (Vec<Item>, Vec<Entry>, usize) = (Vec::new(), Vec::new(), 0);
        let mut cut = false;
        while let Some(fact) = self.facts.pop_front_if(|_| entries.len() < self.settings.append_entries && !cut) {
            if fact.no <= tip.fact_no {
                continue;
            }
            cut = fact.change.membership(fact.actor).is_some();
            entries.push(tip.seal(fact.draft(), now, salt()));
            items.push(Item::Fact(fact));
        }
        if !cut && self.facts.is_empty() {
            while let Some(waiting) = self.queue.front() {
                bytes += waiting.draft.body.len() + 256;
                let full = entries.len() >= self.settings.append_entries || bytes > self.settings.append_bytes;
                if full && !entries.is_empty() {
                    break;
                }
                let Some(waiting) = self.queue.pop_front() else { break };
                if let Err(error) = self.check_participant(waiting.user) {
                    self.keys.remove(&(waiting.user, waiting.draft.key));
                    refuse(waiting.replies, &error);
                    continue;
                }
                entries.push(tip.seal(waiting.draft.clone(), now, salt()));
                items.push(Item::Message(waiting));
            }
        }
        if entries.is_empty() {
            return None;
        }
        let entries: Arc<[Entry]> = entries.into();
        self.flight = Some(Flight { entries: Arc::clone(&entries), items });
        Some((expected, entries))
    }

    /// The log has the first `taken` entries on disk: tells everyone, then those who wait.
    pub(super) fn appended(&mut self, taken: usize, now: Instant) {
        let Some(Flight { entries, items }) = self.flight.take() else { return };
        let taken = taken.min(entries.len());
        let mut items = items.into_iter();
        let done: Vec<Item> = items.by_ref().take(taken).collect();
        self.requeue(items.collect());
        self.take_in(entries.iter().take(taken).cloned().map(Arc::new).collect());
        for (entry, item) in entries.iter().zip(done) {
            if let Item::Message(waiting) = item {
                crate::metrics::message_published(now.saturating_duration_since(waiting.arrived));
                for reply in waiting.replies {
                    let frame = v2::publish_reply(reply.id(), self.event.id, entry.seq, entry.at, false);
                    reply.send(frame);
                }
            }
        }
    }

    /// Somebody else appended: what was on its way waits again, to be checked again
    /// against `others`, the entries that the log has behind our tip.
    pub(super) fn conflicted(&mut self, others: Vec<Entry>) {
        if let Some(flight) = self.flight.take() {
            self.requeue(flight.items);
        }
        self.take_in(others.into_iter().map(Arc::new).collect());
        self.answer_found();
    }

    fn requeue(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            match item {
                Item::Fact(fact) => self.facts.push_front(fact),
                Item::Message(waiting) => self.queue.push_front(waiting),
            }
        }
    }

    /// Answers waiting messages whose key another node has put into the log meanwhile.
    fn answer_found(&mut self) {
        let (found, waiting): (Vec<_>, Vec<_>) = self
            .queue
            .drain(..)
            .partition(|waiting| matches!(self.keys.get(&(waiting.user, waiting.draft.key)), Some(Place::At(_))));
        self.queue = waiting.into();
        for twin in found {
            let entry = match self.keys.get(&(twin.user, twin.draft.key)) {
                Some(Place::At(seq)) => self.tail.get(*seq),
                _ => None,
            };
            for reply in twin.replies {
                match entry {
                    Some(entry) if entry.body().is_none_or(|body| *body == twin.draft.body) => {
                        let frame = v2::publish_reply(reply.id(), self.event.id, entry.seq, entry.at, true);
                        reply.send(frame);
                    }
                    Some(_) => reply.fail(&RoomError::KeyConflict),
                    None => reply.fail(&RoomError::Unavailable),
                }
            }
        }
    }

    /// Moves the room behind `entries`, which the log holds, and tells the sessions.
    fn take_in(&mut self, entries: Vec<Arc<Entry>>) {
        let mut run: Vec<Arc<Entry>> = Vec::new();
        for entry in entries {
            self.tip = Tip::of(&entry);
            if let Some(key) = key_of(&entry) {
                self.keys.insert(key, Place::At(entry.seq));
            }
            let keys = &mut self.keys;
            self.tail.push(Arc::clone(&entry), |old| {
                if let Some(key) = key_of(old)
                    && keys.get(&key) == Some(&Place::At(old.seq))
                {
                    keys.remove(&key);
                }
            });
            run.push(Arc::clone(&entry));
            let Some(fact) = Fact::of(&entry) else { continue };
            self.places.push(FactPlace { no: entry.fact_no, seq: entry.seq });
            if let Some(membership) = fact.change.membership(fact.actor) {
                self.deliver(&std::mem::take(&mut run));
                let gone = self.circle.apply(&membership, entry.seq);
                let reason = if matches!(fact.change, Change::ParticipantLeft { .. }) { "left" } else { "removed" };
                self.dismiss(&gone, reason);
            }
        }
        self.deliver(&run);
        self.show_view();
    }

    /// Tells every session these entries.
    fn deliver(&mut self, entries: &[Arc<Entry>]) {
        let Some(last) = entries.last() else { return };
        if self.sessions.is_empty() {
            return;
        }
        // Only facts read differently in another language.
        let has_facts = entries.iter().any(|entry| entry.kind == Kind::Fact);
        let languages: HashSet<Language> = self.sessions.values().map(|attached| attached.language).collect();
        let mut frames: HashMap<Language, Vec<Bytes>> = HashMap::new();
        let mut shared: Option<Vec<Bytes>> = None;
        for language in languages {
            let encoded = match &shared {
                Some(encoded) if !has_facts => encoded.clone(),
                _ => self.pushes(entries, language),
            };
            shared.get_or_insert_with(|| encoded.clone());
            frames.insert(language, encoded);
        }
        let mut deliveries = 0;
        self.sessions.retain(|_, attached| {
            let Some(frames) = frames.get(&attached.language) else { return false };
            let alive = frames.iter().all(|frame| attached.outbox.try_push(frame.clone()).is_ok());
            attached.sent = last.seq;
            deliveries += u64::from(alive) * entries.len() as u64;
            alive
        });
        crate::metrics::deliveries(deliveries);
    }

    /// These entries as pushes, each within the size of an answer.
    fn pushes(&self, entries: &[Arc<Entry>], language: Language) -> Vec<Bytes> {
        let (mut frames, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut head = self.tip.head;
        for entry in entries {
            let text = self.show(entry, language);
            if bytes + text.get().len() > self.settings.answer_bytes && !part.is_empty() {
                frames.push(v2::entries_push(self.event.id, &std::mem::take(&mut part), head));
                bytes = 0;
            }
            bytes += text.get().len() + 1;
            head = entry.head();
            part.push(text);
        }
        if !part.is_empty() {
            frames.push(v2::entries_push(self.event.id, &part, head));
        }
        frames
    }

    fn dismiss(&mut self, users: &[UserId], reason: &str) {
        if users.is_empty() {
            return;
        }
        let frame = v2::removed_push(self.event.id, reason);
        self.sessions.retain(|_, attached| {
            let gone = users.contains(&attached.user);
            if gone {
                let _ = attached.outbox.try_push(frame.clone());
            }
            !gone
        });
    }

    // ---- history

    /// Which entries a page holds; it never reaches over what the user may not see.
    pub(super) fn page(&self, user: UserId, window: v2::Window, limit: Option<usize>) -> Result<PageRange, RoomError> {
        let visible = self.circle.visible(user).ok_or(RoomError::Unknown)?;
        let head = self.tip.head.seq;
        let limit = limit.unwrap_or(50).min(self.settings.history_page) as u64;
        let spans: Vec<(u64, u64)> = visible
            .intervals()
            .iter()
            .map(|&(from, to)| (from, to.map_or(head, |to| to.min(head))))
            .filter(|(from, to)| from <= to)
            .collect();
        let empty = PageRange { from: 1, to: 0, complete: true, backwards: true };
        let range = match window {
            v2::Window::After(after) => spans.iter().find(|(_, to)| *to > after).map(|&(start, end)| {
                let from = start.max(after + 1);
                let to = end.min(from + limit - 1);
                let complete = spans.last().is_some_and(|(_, last)| to == *last);
                PageRange { from, to, complete, backwards: false }
            }),
            v2::Window::Newest | v2::Window::Before(_) => {
                let before = if let v2::Window::Before(before) = window { before } else { head + 1 };
                spans.iter().rev().find(|(from, _)| *from < before).map(|&(start, end)| {
                    let to = end.min(before - 1);
                    let from = start.max((to + 1).saturating_sub(limit));
                    let complete = spans.first().is_some_and(|(first, _)| from == *first);
                    PageRange { from, to, complete, backwards: true }
                })
            }
        };
        Ok(range.unwrap_or(empty))
    }

    /// The entries of `range` if all of them are in memory.
    pub(super) fn page_in_memory(&self, range: PageRange) -> Option<Vec<Entry>> {
        if range.from > range.to {
            return Some(Vec::new());
        }
        (range.from >= self.tail.first_seq())
            .then(|| self.tail.range(range.from, range.to).map(|entry| Entry::clone(entry)).collect())
    }

    /// Answers a page of history.
    pub(super) fn answer_page(&self, reply: ReplyTo, entries: Vec<Entry>, range: PageRange) {
        let (mut shown, mut bytes, mut cut) = (Vec::new(), 0, false);
        let mut add = |entry: &Entry| {
            let text = self.show(entry, reply.language());
            bytes += text.get().len() + 1;
            cut = bytes > self.settings.answer_bytes && !shown.is_empty();
            if !cut {
                shown.push(text);
            }
            !cut
        };
        if range.backwards {
            let _ = entries.iter().rev().all(&mut add);
            shown.reverse();
        } else {
            let _ = entries.iter().all(&mut add);
        }
        let complete = range.complete && !cut;
        let frame = v2::history_reply(reply.id(), self.event.id, &shown, self.tip.head.seq, complete);
        reply.send(frame);
    }
}

enum Admission {
    New,
    Duplicate(u64, Micros),
    SameAsWaiting,
    Search(u64, u64),
}

/// Whether `entry` says what `publish` says. An erased one can only be told by its key.
fn same_message(entry: &Entry, publish: &Publish) -> Result<(), RoomError> {
    let same = entry.body().is_none_or(|body| *body == publish.body) && entry.reply_to == publish.reply_to;
    if same { Ok(()) } else { Err(RoomError::KeyConflict) }
}

fn key_of(entry: &Entry) -> Option<(UserId, Uuid)> {
    if entry.kind == Kind::Message { Some((entry.author?, entry.key)) } else { None }
}

fn refuse(replies: Vec<ReplyTo>, error: &RoomError) {
    for reply in replies {
        crate::metrics::publish_refused(crate::error::Coded::code(error));
        reply.fail(error);
    }
}

#[cfg(test)]
mod tests;
