//! The hash chain over a room's log (`docs/log-format.md` defines every byte).
//!
//! `digest = SHA-256(salt || body)` and
//! `hash = SHA-256("timingle.entry.v1" || previous hash || every field but the
//! body, big-endian and of fixed width || digest)`: whoever changes, drops, adds
//! or moves an entry changes every hash after it.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{
    entry::{Content, Draft, Entry, Hash, Head, Kind},
    id::RoomId,
    time::Micros,
};

/// Version of the hashed form; hashed itself.
pub const FORMAT_VERSION: u8 = 1;

const ROOM_DOMAIN: &[u8] = b"timingle.room.v1";
const ENTRY_DOMAIN: &[u8] = b"timingle.entry.v1";

/// The hash before a room's first entry. It covers the room's name, so that
/// a chain cannot be grafted whole onto another room.
pub fn genesis(room: RoomId) -> Hash {
    let mut sha = Sha256::new();
    sha.update(ROOM_DOMAIN);
    sha.update(room.0.as_bytes());
    Hash(sha.finalize().into())
}

/// `SHA-256(salt || body)`.
pub fn digest(salt: &[u8; 16], body: &[u8]) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(salt);
    sha.update(body);
    sha.finalize().into()
}

/// The end of a log: all that its next entry builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Number and hash of the last entry.
    pub head: Head,
    /// When the last entry was taken.
    pub at: Micros,
    /// Messages so far.
    pub msg_no: u64,
    /// Facts so far.
    pub fact_no: u64,
}

impl Tip {
    /// The tip of a log without entries.
    pub fn empty(room: RoomId) -> Self {
        Self {
            head: Head {
                seq: 0,
                hash: genesis(room),
            },
            at: Micros(0),
            msg_no: 0,
            fact_no: 0,
        }
    }

    /// The tip right after `entry`.
    pub fn of(entry: &Entry) -> Self {
        Self {
            head: entry.head(),
            at: entry.at,
            msg_no: entry.msg_no,
            fact_no: entry.fact_no,
        }
    }

    /// Gives `draft` the next place in the log and moves the tip behind it.
    ///
    /// `now` is the wall clock; a clock that stepped back is not believed.
    pub fn seal(&mut self, draft: Draft, now: Micros, salt: [u8; 16]) -> Entry {
        let (message, fact) = counts(draft.kind);
        let mut entry = Entry {
            seq: self.head.seq + 1,
            at: now.max(self.at),
            author: draft.author,
            kind: draft.kind,
            key: draft.key,
            msg_no: self.msg_no + message,
            fact_no: self.fact_no + fact,
            reply_to: draft.reply_to,
            target: draft.target,
            digest: digest(&salt, &draft.body),
            content: Some(Content {
                salt,
                body: draft.body,
            }),
            hash: Hash([0; 32]),
        };
        entry.hash = link(self.head.hash, &entry);
        *self = Self::of(&entry);
        entry
    }

    /// Moves the tip behind `entry` if it is the right next one.
    ///
    /// # Errors
    /// The first rule of the chain that `entry` breaks; the tip stays.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), ChainFault> {
        let (message, fact) = counts(entry.kind);
        if entry.seq != self.head.seq + 1 {
            return Err(ChainFault::Seq {
                expected: self.head.seq + 1,
                found: entry.seq,
            });
        }
        if entry.at < self.at {
            return Err(ChainFault::Time);
        }
        if (entry.msg_no, entry.fact_no) != (self.msg_no + message, self.fact_no + fact) {
            return Err(ChainFault::Count);
        }
        if let Some(Content { salt, body }) = &entry.content
            && digest(salt, body) != entry.digest
        {
            return Err(ChainFault::Digest);
        }
        if link(self.head.hash, entry) != entry.hash {
            return Err(ChainFault::Hash);
        }
        *self = Self::of(entry);
        Ok(())
    }
}

/// The rule of the chain that an entry breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// An entry is missing, doubled or moved.
    #[error("expected seq {expected}, found {found}")]
    Seq {
        /// The number that had to come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The entry is dated before the one it follows.
    #[error("the entry is dated before the one it follows")]
    Time,
    /// `msg_no` or `fact_no` does not count this entry.
    #[error("the counts of messages and facts do not fit the entry's kind")]
    Count,
    /// The body or its salt is not what was digested.
    #[error("the body does not match its digest")]
    Digest,
    /// Some hashed field, or an earlier entry, is not what was hashed.
    #[error("the hash does not match the entry and what came before it")]
    Hash,
}

/// How much an entry of this kind adds to `(msg_no, fact_no)`.
const fn counts(kind: Kind) -> (u64, u64) {
    match kind {
        Kind::Message => (1, 0),
        Kind::Fact => (0, 1),
        Kind::Edit | Kind::Erase | Kind::React | Kind::Ack => (0, 0),
    }
}

/// The chain's hash up to and including `entry`, given the hash before it.
///
/// `author`, `reply_to` and `target` are 0 when absent: none of them is ever 0.
pub fn link(previous: Hash, entry: &Entry) -> Hash {
    let mut sha = Sha256::new();
    sha.update(ENTRY_DOMAIN);
    sha.update(previous.0);
    sha.update([FORMAT_VERSION]);
    sha.update(entry.seq.to_be_bytes());
    sha.update(entry.at.0.to_be_bytes());
    sha.update(entry.author.map_or(0, |user| user.0).to_be_bytes());
    sha.update([entry.kind as u8]);
    sha.update(entry.key.as_bytes());
    sha.update(entry.msg_no.to_be_bytes());
    sha.update(entry.fact_no.to_be_bytes());
    sha.update(entry.reply_to.unwrap_or(0).to_be_bytes());
    sha.update(entry.target.unwrap_or(0).to_be_bytes());
    sha.update(entry.digest);
    Hash(sha.finalize().into())
}

/// A body as it is stored: the JSON object's bytes.
pub fn body_of(value: &impl serde::Serialize) -> Bytes {
    // Serialising our own structs into memory cannot fail: no maps with odd keys, no I/O.
    Bytes::from(serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests;
