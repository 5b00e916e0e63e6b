//! One element of a room's log: a message, or a fact about the event.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{id::UserId, time::Micros};

/// A SHA-256 hash; on the wire 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hash(#[serde(with = "hex::serde")] pub [u8; 32]);

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The position of a log: its last entry's number and hash.
///
/// An empty log's head is `seq` 0 with the hash that [`super::chain::genesis`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the last entry; 0 when there is none.
    pub seq: u64,
    /// Hash of the last entry, which covers every entry before it.
    pub hash: Hash,
}

/// What an entry is. The numbers are hashed and stored: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// Words of a participant.
    Message = 1,
    /// A change of the event.
    Fact = 2,
    /// New words for an earlier message (`target`).
    Edit = 3,
    /// An earlier message's words taken back (`target`).
    Erase = 4,
    /// A reaction to an earlier message (`target`).
    React = 5,
    /// "I have seen this notice" (`target`).
    Ack = 6,
}

impl Kind {
    /// The kind with this number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Message,
            2 => Self::Fact,
            3 => Self::Edit,
            4 => Self::Erase,
            5 => Self::React,
            6 => Self::Ack,
            _ => return None,
        })
    }
}

/// What an entry says, and the salt that keeps its digest from being guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Random bytes, hashed before the body.
    pub salt: [u8; 16],
    /// The very bytes that were stored: a JSON object.
    pub body: Bytes,
}

/// An entry before it has its place: everything but what the log's end decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who says or did it; `None` is the server itself (a deadline passed).
    pub author: Option<UserId>,
    /// What it is.
    pub kind: Kind,
    /// The author's key of a message, the fact's own id of a fact.
    pub key: Uuid,
    /// The message this one answers.
    pub reply_to: Option<u64>,
    /// The entry this one is about, for kinds that have one.
    pub target: Option<u64>,
    /// JSON object, at most 64 KiB.
    pub body: Bytes,
}

/// One element of a room's log, immutable but for the removal of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1, 2, 3, ... without a gap.
    pub seq: u64,
    /// When the room took it; never earlier than the entry before.
    pub at: Micros,
    /// Who says or did it; `None` is the server itself.
    pub author: Option<UserId>,
    /// What it is.
    pub kind: Kind,
    /// The author's key of a message, the fact's own id of a fact.
    pub key: Uuid,
    /// Messages in the log up to and including this entry.
    pub msg_no: u64,
    /// Facts in the log up to and including this entry.
    pub fact_no: u64,
    /// The message this one answers.
    pub reply_to: Option<u64>,
    /// The entry this one is about, for kinds that have one.
    pub target: Option<u64>,
    /// What it says; `None` after it was erased.
    pub content: Option<Content>,
    /// `SHA-256(salt || body)`, kept when the content is erased.
    pub digest: [u8; 32],
    /// The chain's hash up to and including this entry.
    pub hash: Hash,
}

impl Entry {
    /// The log's position right after this entry.
    pub fn head(&self) -> Head {
        Head {
            seq: self.seq,
            hash: self.hash,
        }
    }

    /// The stored bytes, unless they were erased.
    pub fn body(&self) -> Option<&Bytes> {
        self.content.as_ref().map(|content| &content.body)
    }

    /// Bytes this entry takes in memory, roughly: what caches are bounded by.
    pub fn weight(&self) -> usize {
        256 + self.body().map_or(0, Bytes::len)
    }
}
