//! What stands outside the process, as the rest of timingle sees it.
//!
//! Each trait has, or is about to have, two real implementations: the embedded
//! one and the one for production (`design` in `ARCHITECTURE.md`).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        event::{Event, Participant, ReadMark},
        fact::{Fact, Membership},
        id::{EventId, RoomId, UserId},
        phone::Phone,
        time::Micros,
    },
    error::{Coded, ErrorCode},
};

/// The durable, ordered record of every room.
///
/// There is no leader and no lease: whoever appends must name the head that it
/// believes in, and of two who name the same one exactly one succeeds.
#[async_trait]
pub trait RoomLog: Send + Sync + 'static {
    /// Appends `entries`, which must continue `expected`, if that is the log's head.
    ///
    /// When it returns `Ok`, the first `taken` entries are on disk and visible;
    /// never a part with a hole, never nothing. Repeating the very same call after
    /// [`AppendError::InDoubt`] is safe and succeeds if the first try had.
    ///
    /// # Errors
    /// [`AppendError::Conflict`]: nothing was or will be written by this call.
    /// [`AppendError::InDoubt`]: it may or may not be written, now or later.
    async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError>;

    /// Entries `from`, `from + 1`, ... in order, at most `limit`; empty behind the head.
    ///
    /// # Errors
    /// The log cannot be read, or what it holds cannot be understood.
    async fn read(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError>;

    /// The last `limit` entries before `before`, in ascending order.
    ///
    /// # Errors
    /// As [`RoomLog::read`].
    async fn read_back(&self, room: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError>;

    /// The end of the log; of an unknown room that of an empty log.
    ///
    /// # Errors
    /// As [`RoomLog::read`].
    async fn tip(&self, room: RoomId) -> Result<Tip, ReadError>;

    /// Takes nothing more, and returns once what it had taken is done with.
    async fn close(&self) {}
}

/// What an append wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The log's head behind the entries taken.
    pub head: Head,
    /// How many of the entries were taken, from the first on; at least 1.
    pub taken: usize,
}

/// Why an append did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Somebody else appended: the head is not `expected`. Final.
    #[error("the log's head is {}", head.seq)]
    Conflict {
        /// Where the log's head is.
        head: Head,
    },
    /// Neither success nor failure: repeat the very same call.
    #[error("the log did not say whether it wrote")]
    InDoubt(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It did not answer.
    #[error("the log does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It holds something that is not an entry of ours.
    #[error("the log of room {room} is damaged at seq {seq}")]
    Corrupt {
        /// Which log.
        room: RoomId,
        /// Where.
        seq: u64,
    },
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Corrupt { .. } => ErrorCode::InternalError,
        }
    }
}

/// Where the room meets the relational truth about its event.
#[async_trait]
pub trait FactSource: Send + Sync + 'static {
    /// The event, its participants and its facts' bookkeeping, as one snapshot.
    ///
    /// # Errors
    /// [`SourceError::NotFound`]: there is no such event.
    async fn load(&self, event: EventId) -> Result<RoomSnapshot, SourceError>;

    /// The event and its facts with `no > after`, at most `limit`, in order, as one snapshot.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn facts(&self, event: EventId, after: u64, limit: usize) -> Result<FactPage, SourceError>;

    /// Whether `user` takes part in `event` or ever did: what a stranger asks starts no room.
    ///
    /// # Errors
    /// As [`FactSource::load`]; an event that does not exist knows nobody.
    async fn knows(&self, event: EventId, user: UserId) -> Result<bool, SourceError>;

    /// Writes down at which seq each of these facts stands in the log. Idempotent.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn mark(&self, event: EventId, places: &[FactPlace]) -> Result<(), SourceError>;

    /// Events with facts not known to be in the log, oldest first.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn unmarked(&self, limit: usize) -> Result<Vec<EventId>, SourceError>;

    /// Takes over facts that the log has and the relational store lost in a restore
    /// (all with `no` above the event's `fact_no`), then states the event as it now
    /// stands in a `restored` fact behind them. Succeeds without effect when the
    /// store already has them.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn adopt(&self, event: EventId, lost: &[(Fact, u64)], now: Micros) -> Result<(), SourceError>;

    /// Moves read marks of participants forward; one that is further already stays. Of
    /// somebody who takes part no longer nothing is kept. Idempotent.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn mark_read(&self, event: EventId, marks: &[(UserId, ReadMark)]) -> Result<(), SourceError>;

    /// Up to where `user` has read each of `events`, as far as the user takes part in it.
    ///
    /// # Errors
    /// As [`FactSource::load`].
    async fn readings(&self, user: UserId, events: &[EventId]) -> Result<Vec<Reading>, SourceError>;
}

/// Up to where somebody has read the record of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The event.
    pub event: EventId,
    /// The name of its log.
    pub room: RoomId,
    /// The last entry read.
    pub mark: ReadMark,
}

/// An event as a room needs it at its start.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomSnapshot {
    /// The event; `event.fact_no` says how many facts it has.
    pub event: Event,
    /// Who takes part now.
    pub participants: Vec<Participant>,
    /// Everyone who takes part or ever did, and the actors of its facts.
    pub people: Vec<Person>,
    /// Every fact that changed who takes part, in order, with its seq where that is known.
    pub memberships: Vec<(u64, Membership, Option<u64>)>,
    /// Numbers of the facts whose seq is not known, ascending.
    pub unmarked: Vec<u64>,
}

/// A page of facts, with what a room needs to show them.
#[derive(Debug, Clone, PartialEq)]
pub struct FactPage {
    /// The event at the moment of the page.
    pub event: Event,
    /// Who takes part at the moment of the page.
    pub participants: Vec<Participant>,
    /// The facts, in order.
    pub facts: Vec<Fact>,
    /// Everyone whom these facts name or who takes part.
    pub people: Vec<Person>,
}

/// Where a fact stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactPlace {
    /// The fact's number.
    pub no: u64,
    /// Its entry's number.
    pub seq: u64,
}

/// Of a user, what other participants may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Display name.
    pub name: String,
}

/// Why the relational store did not answer a room.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is no such event.
    #[error("no such event")]
    NotFound,
    /// It did not answer.
    #[error("the relational store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row breaks a rule of the domain.
    #[error("a row of the relational store breaks a rule")]
    Corrupt(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Coded for SourceError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::EventNotFound,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Corrupt(_) => ErrorCode::InternalError,
        }
    }
}

/// Who was here when, as far as that is known beyond this node. May be lost: then nobody
/// knows, and nothing is wrong.
#[async_trait]
pub trait Presence: Send + Sync + 'static {
    /// Takes in that `user` has sockets on this node from `at` on.
    async fn came(&self, user: UserId, at: Micros);

    /// Takes in that `user` has no socket on this node any more since `at`.
    async fn went(&self, user: UserId, at: Micros);

    /// What is known of each of `users`, in their order; nothing when the store does not answer.
    async fn of(&self, users: &[UserId]) -> Vec<Seen>;
}

/// What is known of somebody's being here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the user has sockets on any other node.
    pub elsewhere: bool,
    /// When the user was last here.
    pub at: Option<Micros>,
}

/// Under what nodes tell each other something: everything of one kind that concerns one shard
/// of the events, or of the users. Displayed as `all`, `room.17`, `feed.5`, `here.9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// What every node has to hear.
    All,
    /// What goes on in the rooms of a shard, below [`Topic::SHARDS`].
    Room(u16),
    /// What the feeds of a shard of users are told.
    Feed(u16),
    /// Who of a shard of users comes and goes.
    Here(u16),
}

impl Topic {
    /// How many shards there are of rooms, and of users.
    pub const SHARDS: u16 = 1_024;

    /// How many topics there are.
    pub const COUNT: usize = 1 + 3 * Self::SHARDS as usize;

    /// Where the room of `event` is told of.
    pub const fn room(event: EventId) -> Self {
        Self::Room(shard(event.0))
    }

    /// Where the feed of `user` is told.
    pub const fn feed(user: UserId) -> Self {
        Self::Feed(shard(user.0))
    }

    /// Where it is told that `user` came or went.
    pub const fn here(user: UserId) -> Self {
        Self::Here(shard(user.0))
    }

    /// A number of its own, below [`Topic::COUNT`]; the same on every node.
    pub const fn index(self) -> u16 {
        match self {
            Self::All => 0,
            Self::Room(shard) => 1 + shard,
            Self::Feed(shard) => 1 + Self::SHARDS + shard,
            Self::Here(shard) => 1 + 2 * Self::SHARDS + shard,
        }
    }

    /// The topic with this number, if there is one.
    pub const fn of_index(index: u16) -> Option<Self> {
        let Some(index) = index.checked_sub(1) else {
            return Some(Self::All);
        };
        let shard = index % Self::SHARDS;
        match index / Self::SHARDS {
            0 => Some(Self::Room(shard)),
            1 => Some(Self::Feed(shard)),
            2 => Some(Self::Here(shard)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Room(shard) => write!(f, "room.{shard}"),
            Self::Feed(shard) => write!(f, "feed.{shard}"),
            Self::Here(shard) => write!(f, "here.{shard}"),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder of a small divisor is below it"
)]
const fn shard(number: i64) -> u16 {
    number.rem_euclid(Topic::SHARDS as i64).unsigned_abs() as u16
}

/// Carries bytes between nodes, and loses them as it likes: drops, doubles and reorders. Who
/// tells something hears it too, if it listens. Nothing may depend on it but how soon it happens.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Hands `bytes`, at most 512 KiB, over to everyone who listens to `topic`. Never waits:
    /// whether it was taken, or dropped because too much waits or the carrier is away.
    fn tell(&self, topic: Topic, bytes: Bytes) -> bool;

    /// Hears what is told under `topic` from soon on.
    fn listen(&self, topic: Topic);

    /// Hears no more of `topic` from soon on.
    fn unlisten(&self, topic: Topic);

    /// The next thing heard; `None` for ever once the broker is closed. For one caller at a
    /// time; one that gives up loses nothing.
    async fn hear(&self) -> Option<Heard>;

    /// Lets go of the carrier; what was told until now still goes out, if that is soon.
    async fn close(&self) {}
}

/// What a [`Broker`] says to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Some node told this.
    Told {
        /// Under which topic.
        topic: Topic,
        /// What.
        bytes: Bytes,
    },
    /// The carrier is there, for the first time or again. Whatever was told before may be lost.
    Connected,
    /// The carrier is away.
    Disconnected,
    /// Something was told that this node was too slow to hear.
    Lost,
}

/// Brings one-time codes to people.
#[async_trait]
pub trait CodeSender: Send + Sync + 'static {
    /// Hands `code` over for delivery to `phone`.
    ///
    /// # Errors
    /// It could not be handed over; the person may ask again.
    async fn send(
        &self,
        phone: &Phone,
        code: &str,
        language: crate::i18n::Language,
    ) -> Result<(), SendCodeError>;
}

/// A one-time code could not be handed over for delivery.
#[derive(Debug, thiserror::Error)]
#[error("the code could not be sent")]
pub struct SendCodeError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl Coded for SendCodeError {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }
}

/// A one-time code on its way, as [`OneTimeCodes`] keeps it.
#[derive(Debug, Clone)]
pub struct PendingCode {
    /// Whose number it proves.
    pub phone: Phone,
    /// Keyed hash of the code: the code itself is not kept.
    pub hash: [u8; 32],
    /// Until when it counts.
    pub expires_at: Micros,
    /// How many wrong tries are left.
    pub tries_left: u32,
}

/// What a try at a one-time code came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeCheck {
    /// Right; it is used up now. The number it proves.
    Right(Phone),
    /// Wrong; this many tries are left.
    Wrong {
        /// Tries left.
        tries_left: u32,
    },
    /// Unknown, used, expired, or out of tries.
    Gone,
}

/// One-time codes on their way. May be lost: people ask for another one.
#[async_trait]
pub trait OneTimeCodes: Send + Sync + 'static {
    /// Keeps a code under `id` until it expires.
    ///
    /// # Errors
    /// The store does not answer.
    async fn put(&self, id: uuid::Uuid, code: PendingCode) -> Result<(), CodesUnavailable>;

    /// Tries `hash` against the code under `id`, as one step: a code counts once,
    /// and parallel tries cannot exceed its number of tries.
    ///
    /// # Errors
    /// The store does not answer.
    async fn check(&self, id: uuid::Uuid, hash: [u8; 32], now: Micros)
    -> Result<CodeCheck, CodesUnavailable>;
}

/// The store of one-time codes does not answer.
#[derive(Debug, thiserror::Error)]
#[error("one-time codes are not available")]
pub struct CodesUnavailable(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl Coded for CodesUnavailable {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }
}

/// Counts what happens, to limit how often it may.
#[async_trait]
pub trait Counters: Send + Sync + 'static {
    /// Takes one from the allowance of `key`, which is `limit` per `window`; what is left of it.
    ///
    /// When the store does not answer, the node's own count decides: never an error.
    async fn take(&self, key: &str, limit: u32, window: Duration) -> Result<Left, RateLimited>;
}

/// How many of an allowance can be taken at once now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left(pub u32);

/// The allowance is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests; try again in {} ms", .retry_after.as_millis())]
pub struct RateLimited {
    /// When one will be free again.
    pub retry_after: Duration,
}

impl Coded for RateLimited {
    fn code(&self) -> ErrorCode {
        ErrorCode::RateLimitExceeded
    }

    fn retry_after_ms(&self) -> Option<u64> {
        Some(
            u64::try_from(self.retry_after.as_millis())
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }
}

/// Who is behind a credential, as a socket needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub user: UserId,
    /// Display name.
    pub name: String,
    /// The language of the user's texts.
    pub language: crate::i18n::Language,
    /// IANA name of the user's time zone.
    pub timezone: String,
    /// The sign-in the credential belongs to; it can be revoked.
    pub sign_in: uuid::Uuid,
    /// When the credential ends.
    pub expires_at: Micros,
}

/// Tells sockets who is behind a credential.
#[async_trait]
pub trait SignIns: Send + Sync + 'static {
    /// Whose access token this is; a revoked one is nobody's.
    ///
    /// # Errors
    /// It is nobody's, or that cannot be found out now.
    async fn identify(&self, access_token: &str) -> Result<Identity, Box<dyn Coded>>;

    /// Which of these sign-ins count no more.
    ///
    /// # Errors
    /// It cannot be found out now.
    async fn revoked(&self, sign_ins: &[uuid::Uuid]) -> Result<Vec<uuid::Uuid>, Box<dyn Coded>>;
}
