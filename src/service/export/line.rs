//! The three kinds of lines of an export, each with one form only.

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::domain::{
    entry::{Content, Entry, Hash, Kind},
    id::{EventId, RoomId, UserId},
    time::Micros,
};

/// Version of the file's form.
pub const VERSION: u32 = 1;

/// The longest line in bytes, its line feed included.
///
/// A body has at most 64 KiB, and no byte of it takes more than six in a JSON string.
pub const MAX_LINE: usize = 1024 * 1024;

/// What the first line says the file is.
const FORMAT: &str = "timingle.export";

/// How the last line begins, and no other.
pub(super) const END_MARK: &[u8] = b"{\"entries\":";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    format: String,
    /// See [`VERSION`].
    pub(super) version: u32,
    /// The event, as its first fact must say too.
    pub(super) event: EventId,
    /// The room, from which the chain starts.
    pub(super) room: RoomId,
}

impl Header {
    pub(super) fn new(event: EventId, room: RoomId) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            event,
            room,
        }
    }

    /// Whether the file says that it is one of ours.
    pub(super) fn is_ours(&self) -> bool {
        self.format == FORMAT
    }
}

/// A line in between: the hashed fields in the order in which they are hashed,
/// 0 for what is absent, then what the hash covers only through `digest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    seq: u64,
    at: i64,
    author: i64,
    kind: u8,
    key: Uuid,
    msg_no: u64,
    fact_no: u64,
    reply_to: u64,
    target: u64,
    digest: Hash,
    hash: Hash,
    salt: Option<Salt>,
    body: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Salt(#[serde(with = "hex::serde")] [u8; 16]);

impl Record {
    /// The line of `entry`; `None` when its body is not text.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let body = match entry.body() {
            Some(body) => Some(std::str::from_utf8(body).ok()?.to_owned()),
            None => None,
        };
        Some(Self {
            seq: entry.seq,
            at: entry.at.0,
            author: entry.author.map_or(0, |user| user.0),
            kind: entry.kind as u8,
            key: entry.key,
            msg_no: entry.msg_no,
            fact_no: entry.fact_no,
            reply_to: entry.reply_to.unwrap_or(0),
            target: entry.target.unwrap_or(0),
            digest: Hash(entry.digest),
            hash: entry.hash,
            salt: entry.content.as_ref().map(|content| Salt(content.salt)),
            body,
        })
    }

    /// The entry of this line; `None` when the kind is unknown or half the content is missing.
    pub(super) fn into_entry(self) -> Option<Entry> {
        let content = match (self.salt, self.body) {
            (Some(Salt(salt)), Some(body)) => Some(Content {
                salt,
                body: Bytes::from(body),
            }),
            (None, None) => None,
            _ => return None,
        };
        Some(Entry {
            seq: self.seq,
            at: Micros(self.at),
            author: (self.author != 0).then_some(UserId(self.author)),
            kind: Kind::from_u8(self.kind)?,
            key: self.key,
            msg_no: self.msg_no,
            fact_no: self.fact_no,
            reply_to: (self.reply_to != 0).then_some(self.reply_to),
            target: (self.target != 0).then_some(self.target),
            content,
            digest: self.digest.0,
            hash: self.hash,
        })
    }
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// How many entries the file has; also the seq of the last one.
    pub(super) entries: u64,
    /// Hash of the last entry.
    pub(super) hash: Hash,
    /// SHA-256 of every byte before this line.
    pub(super) sha256: Hash,
}

/// Appends `line` and a line feed to `out`.
pub(super) fn push(out: &mut Vec<u8>, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.push(b'\n');
    Ok(())
}

/// Reads a line, without its line feed, that is in the one form `push` gives it.
///
/// `None` otherwise: then spare white space, a doubled member, another order, or another
/// spelling of the same text, none of which the chain would notice, make no valid file.
pub(super) fn parse<T: Serialize + DeserializeOwned>(line: &[u8]) -> Option<T> {
    let parsed: T = serde_json::from_slice(line).ok()?;
    (serde_json::to_vec(&parsed).ok()? == line).then_some(parsed)
}

/// What must stand in the first fact, whatever else a later version puts there.
#[derive(Deserialize)]
struct Creation {
    no: u64,
    r#type: String,
    event: EventId,
}

/// Whether `entry` says that `event` came to be: what binds a chain to the event's number.
pub(super) fn creates(entry: &Entry, event: EventId) -> bool {
    let creation = entry
        .body()
        .and_then(|body| serde_json::from_slice::<Creation>(body).ok());
    entry.kind == Kind::Fact
        && creation.is_some_and(|it| it.no == 1 && it.r#type == "event_created" && it.event == event)
}
