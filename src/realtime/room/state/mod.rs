//! A room without its actor: order, keys, rights, and who is told what.
//!
//! No I/O and no clock of its own: the actor in [`super`] brings instants,
//! appends what [`State::next_batch`] gives it, and tells what came of it.
//!
//! - `sessions`: joining, leaving, being taken over.
//! - `publish`: what is taken in, and what is answered at once.
//! - `append`: what goes to the log next, and what comes of it.
//! - `deliver`: what the sessions are told.
//! - `page`: a page of the record.
//! - `reads`: up to where everyone has read, who is writing, who is told of it.
//! - `feed`: what the feeds of those who take part are told, at most so often.
//! - `version1`: what of that is different for sockets of version 1.

mod append;
mod deliver;
mod feed;
mod page;
mod publish;
mod reads;
mod sessions;
mod version1;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use uuid::Uuid;

pub(in crate::realtime) use self::reads::Board;
pub(in crate::realtime::room) use self::reads::Read;
use self::{feed::FeedBook, reads::Reads};
use super::{ReplyTo, RoomError, tail::Tail};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        event::{Event, Participant},
        fact::{Fact, Membership},
        id::UserId,
        time::Micros,
        visibility::Circle,
    },
    i18n::Language,
    ports::{FactPlace, Person},
    realtime::{outbox::Outbox, protocol::Wire, roster::SessionId, told::Progress},
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
    /// How long after an event's end its room takes messages.
    pub(crate) chat_after_end: Duration,
}

/// A message on its way into the room.
#[derive(Debug)]
pub(crate) struct Publish {
    /// The socket that must have joined the room; none where whoever says it need be there no more.
    pub(crate) session: Option<SessionId>,
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
pub(in crate::realtime::room) struct Search {
    pub(in crate::realtime::room) publish: Publish,
    pub(in crate::realtime::room) from: u64,
    pub(in crate::realtime::room) to: u64,
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
    pub(crate) wire: Wire,
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
    /// Of a socket of version 1: up to where its sign-in has been told the room.
    pub(crate) told: Option<Progress>,
}

impl Join {
    fn wire(&self) -> Wire {
        if self.told.is_some() { Wire::V1 } else { Wire::V2 }
    }
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
pub(in crate::realtime::room) enum JoinStep {
    /// The session is attached and was told.
    Done,
    /// The log must first say whether the hash of this seq is the client's.
    NeedHash(u64),
}

/// Which entries a page of history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::realtime::room) struct PageRange {
    /// First seq.
    pub(in crate::realtime::room) from: u64,
    /// Last seq; below `from` when the page is empty.
    pub(in crate::realtime::room) to: u64,
    /// Whether nothing further lies in the direction of reading.
    pub(in crate::realtime::room) complete: bool,
    /// Which end is cut when the page is too large.
    pub(in crate::realtime::room) backwards: bool,
    /// The last entry that the user may see at all: who takes part no longer is not told
    /// how far it went on.
    pub(in crate::realtime::room) as_of: u64,
}

/// See the module.
pub(in crate::realtime::room) struct State {
    settings: Settings,
    event: Event,
    participants: Vec<Participant>,
    people: Arc<HashMap<UserId, String>>,
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
    /// Grows whenever the circle changes.
    circle_no: u64,
    reads: Reads,
    feed: FeedBook,
}

impl State {
    /// A room at `tip`, of which `newest` are the last entries.
    pub(in crate::realtime::room) fn new(
        settings: Settings,
        event: Event,
        participants: Vec<Participant>,
        people: Vec<Person>,
        circle: Circle,
        tip: Tip,
        newest: Vec<Entry>,
    ) -> Self {
        let (tail, kept) = Tail::new(event.room, newest, settings.tail_entries, settings.tail_bytes);
        let keys = kept
            .iter()
            .filter_map(|entry| Some((key_of(entry)?, Place::At(entry.seq))))
            .collect();
        let mut state = Self {
            settings,
            event,
            participants,
            people: Arc::new(
                people
                    .into_iter()
                    .map(|person| (person.id, person.name))
                    .collect(),
            ),
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
            circle_no: 0,
            reads: Reads::default(),
            feed: FeedBook::default(),
        };
        state.merge_marks();
        state.post_tip();
        state.board().lock().began_at = tip.head.seq;
        state
    }

    pub(in crate::realtime::room) fn event(&self) -> &Event {
        &self.event
    }

    pub(in crate::realtime::room) fn tip(&self) -> Tip {
        self.tip
    }

    /// Whether nothing waits for the log.
    pub(in crate::realtime::room) fn is_quiet(&self) -> bool {
        self.flight.is_none() && self.queue.is_empty() && self.facts.is_empty() && self.searches.is_empty()
    }

    /// Whether an append is on its way.
    pub(in crate::realtime::room) fn is_appending(&self) -> bool {
        self.flight.is_some()
    }

    /// Whether any of `entries` names somebody whose name is not known here.
    pub(in crate::realtime::room) fn names_strangers(&self, entries: &[Entry]) -> bool {
        let is_stranger = |user: &UserId| !self.people.contains_key(user);
        entries.iter().any(|entry| {
            if entry.author.as_ref().is_some_and(is_stranger) {
                return true;
            }
            let Some(fact) = Fact::of(entry) else { return false };
            match fact.change.membership(fact.actor) {
                Some(Membership::Enters(user) | Membership::Leaves(user)) => is_stranger(&user),
                Some(Membership::Are(users)) => users.iter().any(is_stranger),
                None => false,
            }
        })
    }

    /// Learns the names of people.
    pub(in crate::realtime::room) fn meet(&mut self, people: Vec<Person>) {
        self.learn(people);
    }

    pub(in crate::realtime::room) fn has_deadlines(&self) -> bool {
        !self.queue.is_empty() || self.flight.is_some()
    }

    pub(in crate::realtime::room) fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Facts whose places have become known since the last call.
    pub(in crate::realtime::room) fn take_places(&mut self) -> Vec<FactPlace> {
        std::mem::take(&mut self.places)
    }

    /// The last fact that is in the log or waits for it.
    pub(in crate::realtime::room) fn last_known_fact(&self) -> u64 {
        let in_flight = self
            .flight
            .as_ref()
            .and_then(|flight| flight.entries.last())
            .map_or(0, |last| last.fact_no);
        self.facts
            .back()
            .map_or(0, |fact| fact.no)
            .max(in_flight)
            .max(self.tip.fact_no)
    }

    // ---- rights

    /// Whether `user` takes part; otherwise how that is told.
    pub(in crate::realtime::room) fn check_participant(&self, user: UserId) -> Result<(), RoomError> {
        match self.circle.visible(user) {
            Some(visible) if visible.is_open() => Ok(()),
            Some(_) => Err(RoomError::Gone),
            None => Err(RoomError::Unknown),
        }
    }

    /// Whether the room takes messages at `now`.
    pub(in crate::realtime::room) fn check_open(&self, now: Micros) -> Result<(), RoomError> {
        match self.event.chat_closes_at(self.settings.chat_after_end) {
            Some(closes_at) if now >= closes_at => Err(RoomError::Closed {
                status: self.event.status,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

fn key_of(entry: &Entry) -> Option<(UserId, Uuid)> {
    if entry.kind == Kind::Message {
        Some((entry.author?, entry.key))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
