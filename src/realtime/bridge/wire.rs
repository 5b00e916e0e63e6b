//! What nodes tell each other, as bytes.
//!
//! One byte of version, then the header (who, and its count of what it told under this topic),
//! then the body, both in [`postcard`]'s format. Within a version bodies are only ever added: a
//! node that does not know one still counts it. What it cannot read at all it does not count, so
//! that a gap shows at the next beat; either way it looks for itself.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{
    entry::{Content, Entry, Hash, Head, Kind},
    event::ReadMark,
    id::{EventId, RoomId, UserId},
    time::Micros,
};

/// Version of the form; another one is not read.
const VERSION: u8 = 1;

/// Bytes of one telling; more is neither sent nor read.
pub(super) const MAX_BYTES: usize = 512 * 1024;

/// Who tells, and the how manieth time it does under the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The node's number, new at each start of its process.
    pub(super) node: u64,
    /// 1, 2, 3, ... within node and topic; 0 for what is not counted.
    pub(super) no: u64,
}

/// What is told. The order is the form: new ones go to the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Body {
    /// The node is there, and has told so much.
    Beat(Beat),
    /// The node wants to hear itself: whether it listens already.
    Probe(u32),
    /// The node goes for good.
    Bye,
    /// A room has new entries.
    Hint(WireHint),
    /// A room may have new entries.
    Look {
        /// Its event.
        event: i64,
    },
    /// Somebody is writing.
    Typing {
        /// Where.
        event: i64,
        /// Who.
        user: i64,
    },
    /// Somebody has read so far; to the room.
    Mark(WireMark),
    /// The same, to the reader's own sockets.
    OwnMark {
        /// The mark.
        mark: WireMark,
        /// Messages behind it.
        unread: u64,
    },
    /// What became of an event, to those concerned.
    News(WireNews),
    /// The feeds of these users may have missed something.
    Reset {
        /// Whose.
        users: Vec<i64>,
    },
    /// Somebody came or went.
    Here {
        /// Who.
        user: i64,
        /// Whether the user is here.
        online: bool,
        /// Since when.
        at: i64,
    },
    /// A sign-in counts no more.
    Revoked([u8; 16]),
    /// No sign-in of a user counts any more.
    RevokedUser(i64),
    /// Somebody is shown by another name in the rooms of these events, or by none ever again.
    Renamed {
        /// Who.
        user: i64,
        /// How.
        name: Option<String>,
        /// Where.
        events: Vec<i64>,
    },
}

/// A beat: what the node told lately, and what it wants to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// Indices of the topics under which it told something lately, with its count.
    pub(super) counts: Vec<(u16, u64)>,
    /// One bit for each topic that it listens to.
    pub(super) wants: Vec<u64>,
}

/// See [`Hint`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct WireHint {
    event: i64,
    room: [u8; 16],
    after: u64,
    head: (u64, [u8; 32]),
    entries: Vec<WireEntry>,
}

/// An entry, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct WireEntry {
    seq: u64,
    at: i64,
    author: Option<i64>,
    kind: u8,
    key: [u8; 16],
    msg_no: u64,
    fact_no: u64,
    reply_to: Option<u64>,
    target: Option<u64>,
    content: Option<([u8; 16], Vec<u8>)>,
    digest: [u8; 32],
    hash: [u8; 32],
}

/// A read mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireMark {
    event: i64,
    user: i64,
    seq: u64,
    msg_no: u64,
    at: Option<i64>,
}

/// What became of an event, with texts as clients read them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireNews {
    /// Which event.
    pub(super) event: i64,
    /// The first entry that this tells of.
    pub(super) from: u64,
    /// Where the record ends.
    pub(super) head: (u64, [u8; 32]),
    /// What a list shows of the event, JSON.
    pub(super) short: String,
    /// All of it, JSON, by language; empty if nobody is told more than that something was said.
    pub(super) long: Vec<(String, String)>,
    /// Who is told of what, with how much they have not read.
    pub(super) told: Vec<(i64, u8, u64)>,
    /// Who takes part no longer, and as what they last saw the event, JSON.
    pub(super) removed: Vec<(i64, String)>,
}

/// A room's new entries, as another node tells of them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::realtime) struct Hint {
    /// Which event.
    pub(in crate::realtime) event: EventId,
    /// The name of its log: an event's number may be another one's after a restore.
    pub(in crate::realtime) room: RoomId,
    /// The seq behind which `entries` stand.
    pub(in crate::realtime) after: u64,
    /// The log's head behind them.
    pub(in crate::realtime) head: Head,
    /// They; none if they are too large to be told.
    pub(in crate::realtime) entries: Vec<Entry>,
}

/// Why bytes from another node are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// Another version wrote them.
    #[error("another version of the form")]
    Version,
    /// There are more than is ever told.
    #[error("more bytes than a telling has")]
    TooLong,
    /// They are cut short, or nothing that this version knows.
    #[error("not what this version tells")]
    Malformed,
}

/// The bytes of `body`, without the header; `None` if there are too many.
pub(super) fn body(body: &Body) -> Option<Vec<u8>> {
    // Writing into memory cannot fail.
    let bytes = postcard::to_allocvec(body).ok()?;
    (bytes.len() + 32 <= MAX_BYTES).then_some(bytes)
}

/// A whole telling.
pub(super) fn frame(header: Header, body: &[u8]) -> Bytes {
    let mut buffer = [0; 24];
    let header = postcard::to_slice(&header, &mut buffer).map_or(&[][..], |header| &*header);
    let mut frame = BytesMut::with_capacity(1 + header.len() + body.len());
    frame.extend_from_slice(&[VERSION]);
    frame.extend_from_slice(header);
    frame.extend_from_slice(body);
    frame.freeze()
}

/// Who tells, and the body's bytes.
pub(super) fn header(frame: &[u8]) -> Result<(Header, &[u8]), WireError> {
    if frame.len() > MAX_BYTES {
        return Err(WireError::TooLong);
    }
    match frame.split_first() {
        Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|_| WireError::Malformed),
        Some(_) => Err(WireError::Version),
        None => Err(WireError::Malformed),
    }
}

/// What is told.
pub(super) fn read(body: &[u8]) -> Result<Body, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((body, [])) => Ok(body),
        Ok(_) | Err(_) => Err(WireError::Malformed),
    }
}

impl WireHint {
    /// `entries` as they stand behind `after`, or only that they do when they are more than
    /// `max_bytes`.
    pub(super) fn new(
        event: EventId,
        room: RoomId,
        after: u64,
        entries: &[Entry],
        max_bytes: usize,
    ) -> Option<Self> {
        let head = entries.last()?.head();
        let bytes: usize = entries.iter().map(Entry::weight).sum();
        let told = if bytes <= max_bytes { entries } else { &[] };
        Some(Self {
            event: event.0,
            room: *room.0.as_bytes(),
            after,
            head: (head.seq, head.hash.0),
            entries: told.iter().map(WireEntry::from).collect(),
        })
    }
}

impl TryFrom<WireHint> for Hint {
    type Error = WireError;

    fn try_from(hint: WireHint) -> Result<Self, WireError> {
        let entries: Result<Vec<Entry>, WireError> = hint.entries.into_iter().map(Entry::try_from).collect();
        Ok(Self {
            event: EventId(hint.event),
            room: RoomId(Uuid::from_bytes(hint.room)),
            after: hint.after,
            head: Head {
                seq: hint.head.0,
                hash: Hash(hint.head.1),
            },
            entries: entries?,
        })
    }
}

impl From<&Entry> for WireEntry {
    fn from(entry: &Entry) -> Self {
        Self {
            seq: entry.seq,
            at: entry.at.0,
            author: entry.author.map(|author| author.0),
            kind: entry.kind as u8,
            key: *entry.key.as_bytes(),
            msg_no: entry.msg_no,
            fact_no: entry.fact_no,
            reply_to: entry.reply_to,
            target: entry.target,
            content: entry
                .content
                .as_ref()
                .map(|content| (content.salt, content.body.to_vec())),
            digest: entry.digest,
            hash: entry.hash.0,
        }
    }
}

impl TryFrom<WireEntry> for Entry {
    type Error = WireError;

    fn try_from(entry: WireEntry) -> Result<Self, WireError> {
        Ok(Self {
            seq: entry.seq,
            at: Micros(entry.at),
            author: entry.author.map(UserId),
            kind: Kind::from_u8(entry.kind).ok_or(WireError::Malformed)?,
            key: Uuid::from_bytes(entry.key),
            msg_no: entry.msg_no,
            fact_no: entry.fact_no,
            reply_to: entry.reply_to,
            target: entry.target,
            content: entry.content.map(|(salt, body)| Content {
                salt,
                body: body.into(),
            }),
            digest: entry.digest,
            hash: Hash(entry.hash),
        })
    }
}

impl WireMark {
    /// That `user` has read the record of `event` up to `mark`.
    pub(super) fn new(event: EventId, user: UserId, mark: ReadMark) -> Self {
        Self {
            event: event.0,
            user: user.0,
            seq: mark.seq,
            msg_no: mark.msg_no,
            at: mark.at.map(|at| at.0),
        }
    }

    /// Whose mark it is, in which record, and where it stands.
    pub(super) fn parts(self) -> (EventId, UserId, ReadMark) {
        let mark = ReadMark {
            seq: self.seq,
            msg_no: self.msg_no,
            at: self.at.map(Micros),
        };
        (EventId(self.event), UserId(self.user), mark)
    }
}
