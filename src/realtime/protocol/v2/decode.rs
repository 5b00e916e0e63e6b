//! Reads a client's text frame. Never panics, whatever the bytes.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    domain::{
        entry::Head,
        id::{EventId, MAX_SAFE_INTEGER},
    },
    error::{Coded, ErrorCode},
};

/// Rooms one join may name.
const ROOMS_PER_JOIN: usize = 100;

/// A frame as far as it could be read.
#[derive(Debug)]
pub struct Decoded {
    /// The client's number for this command; `None` when none could be read.
    pub id: Option<u64>,
    /// What it asks for.
    pub command: Result<Command, DecodeError>,
}

/// What a client may ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Present or renew a credential.
    Auth {
        /// The access token.
        access_token: String,
    },
    /// Receive rooms from here on.
    Join(Join),
    /// Receive rooms no longer.
    Leave {
        /// The rooms, by their events' numbers.
        rooms: Vec<EventId>,
    },
    /// Say something.
    Publish(Publish),
    /// Read a page of a record.
    History(History),
    /// Say up to where the record was read.
    Read(Read),
    /// Say that one is writing; the only command that may lack an id.
    Typing {
        /// The room, by its event's number.
        room: EventId,
    },
    /// Ask who is here.
    Presence {
        /// The room, by its event's number.
        room: EventId,
    },
}

/// `join {rooms: [...]}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Join {
    /// At most 100.
    pub rooms: Vec<JoinRoom>,
}

/// One room of a join.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct JoinRoom {
    /// The room, by its event's number.
    pub room: EventId,
    /// Up to where the client has the record; `None`: it has nothing.
    #[serde(default)]
    pub since: Option<Head>,
    /// How many of the newest entries, without `since`: 1-100, default 50.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// `publish {...}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Publish {
    /// The room, by its event's number.
    pub room: EventId,
    /// The author's key for this message, the same for each repetition.
    pub key: Uuid,
    /// The highest seq the client had seen in the room when it first tried this key.
    pub after: u64,
    /// What to say.
    pub body: TextBody,
    /// The message it answers.
    #[serde(default)]
    pub reply_to: Option<u64>,
}

/// `{"text": "..."}`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextBody {
    /// The words.
    pub text: String,
}

/// `history {...}`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The room, by its event's number.
    pub room: EventId,
    /// Which part.
    pub window: Window,
    /// At most so many entries: 1-100, default 50.
    pub limit: Option<usize>,
}

/// Which part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The newest entries.
    Newest,
    /// The entries right before this seq.
    Before(u64),
    /// The entries right after this seq.
    After(u64),
}

/// `read {...}`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Read {
    /// The room, by its event's number.
    pub room: EventId,
    /// The last entry that was read.
    pub seq: u64,
}

#[derive(Deserialize)]
struct RawRoom {
    room: EventId,
}

#[derive(Deserialize)]
struct RawAuth {
    access_token: String,
}

#[derive(Deserialize)]
struct RawLeave {
    rooms: Vec<EventId>,
}

#[derive(Deserialize)]
struct RawHistory {
    room: EventId,
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<usize>,
}

/// Why a frame is not a command.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a JSON object.
    #[error("the frame is not a JSON object")]
    NotJson,
    /// No `id`, or not an integer from 1 to 2^53-1.
    #[error("the command's id is not an integer from 1 to 2^53-1")]
    Id,
    /// No command of this protocol in the frame.
    #[error("the frame holds no known command")]
    Unknown,
    /// More than one command in the frame.
    #[error("the frame holds more than one command")]
    Many,
    /// A member is missing or of the wrong type.
    #[error("the command cannot be read")]
    Shape(#[source] serde_json::Error),
    /// A number out of its range, or a list too long.
    #[error("a value is out of range")]
    Range(&'static str),
}

impl Coded for DecodeError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotJson | Self::Id | Self::Unknown | Self::Many | Self::Shape(_) => ErrorCode::BadRequest,
            Self::Range(_) => ErrorCode::ValidationError,
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut details = serde_json::Map::new();
        let problem = match self {
            // serde's text names the member and never the value's content beyond its type.
            Self::Shape(error) => error.to_string().chars().take(200).collect(),
            Self::Range(what) => (*what).to_owned(),
            other => other.to_string(),
        };
        details.insert("problem".into(), problem.into());
        details
    }
}

/// Reads one text frame.
pub fn decode(text: &str) -> Decoded {
    let Ok(members) = serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(text) else {
        return Decoded {
            id: None,
            command: Err(DecodeError::NotJson),
        };
    };
    let id = members
        .get("id")
        .and_then(|raw| serde_json::from_str::<u64>(raw.get()).ok())
        .filter(|id| (1..=MAX_SAFE_INTEGER.unsigned_abs()).contains(id));
    if id.is_some() {
        let command = command(&members);
        return Decoded { id, command };
    }
    let may_lack_one = !members.contains_key("id") && members.contains_key("typing");
    Decoded {
        id,
        command: if may_lack_one {
            command(&members)
        } else {
            Err(DecodeError::Id)
        },
    }
}

fn command(members: &BTreeMap<Cow<'_, str>, &RawValue>) -> Result<Command, DecodeError> {
    let mut found = None;
    for (name, raw) in members {
        let reader: fn(&str) -> Result<Command, DecodeError> = match name.as_ref() {
            "auth" => |raw| {
                shape::<RawAuth>(raw).map(|auth| Command::Auth {
                    access_token: auth.access_token,
                })
            },
            "join" => |raw| join(shape(raw)?),
            "leave" => |raw| leave(shape(raw)?),
            "publish" => |raw| publish(shape(raw)?),
            "history" => |raw| history(&shape(raw)?),
            "read" => |raw| read(shape(raw)?),
            "typing" => |raw| {
                Ok(Command::Typing {
                    room: room(shape::<RawRoom>(raw)?.room)?,
                })
            },
            "presence" => |raw| {
                Ok(Command::Presence {
                    room: room(shape::<RawRoom>(raw)?.room)?,
                })
            },
            _ => continue,
        };
        if found.replace((reader, raw)).is_some() {
            return Err(DecodeError::Many);
        }
    }
    let (reader, raw) = found.ok_or(DecodeError::Unknown)?;
    reader(raw.get())
}

fn shape<'a, T: Deserialize<'a>>(raw: &'a str) -> Result<T, DecodeError> {
    serde_json::from_str(raw).map_err(DecodeError::Shape)
}

fn room(room: EventId) -> Result<EventId, DecodeError> {
    if (1..=MAX_SAFE_INTEGER).contains(&room.0) {
        Ok(room)
    } else {
        Err(DecodeError::Range("room: 1 to 2^53-1"))
    }
}

fn seq(seq: u64) -> Result<u64, DecodeError> {
    if seq <= MAX_SAFE_INTEGER.unsigned_abs() {
        Ok(seq)
    } else {
        Err(DecodeError::Range("a seq: 0 to 2^53-1"))
    }
}

fn limit(limit: Option<usize>) -> Result<Option<usize>, DecodeError> {
    match limit {
        Some(0) => Err(DecodeError::Range("limit: at least 1")),
        other => Ok(other),
    }
}

fn join(join: Join) -> Result<Command, DecodeError> {
    if !(1..=ROOMS_PER_JOIN).contains(&join.rooms.len()) {
        return Err(DecodeError::Range("rooms: 1 to 100 of them"));
    }
    for wanted in &join.rooms {
        room(wanted.room)?;
        limit(wanted.limit)?;
        if let Some(since) = wanted.since {
            seq(since.seq)?;
        }
    }
    Ok(Command::Join(join))
}

fn leave(leave: RawLeave) -> Result<Command, DecodeError> {
    if !(1..=ROOMS_PER_JOIN).contains(&leave.rooms.len()) {
        return Err(DecodeError::Range("rooms: 1 to 100 of them"));
    }
    Ok(Command::Leave { rooms: leave.rooms })
}

fn publish(publish: Publish) -> Result<Command, DecodeError> {
    room(publish.room)?;
    seq(publish.after)?;
    if publish.reply_to == Some(0) || publish.reply_to.is_some_and(|target| seq(target).is_err()) {
        return Err(DecodeError::Range("reply_to: 1 to 2^53-1"));
    }
    Ok(Command::Publish(publish))
}

fn history(raw: &RawHistory) -> Result<Command, DecodeError> {
    let window = match (raw.before, raw.after) {
        (None, None) => Window::Newest,
        (Some(before), None) => Window::Before(seq(before)?),
        (None, Some(after)) => Window::After(seq(after)?),
        (Some(_), Some(_)) => return Err(DecodeError::Range("before or after, not both")),
    };
    Ok(Command::History(History {
        room: room(raw.room)?,
        window,
        limit: limit(raw.limit)?,
    }))
}

fn read(read: Read) -> Result<Command, DecodeError> {
    room(read.room)?;
    seq(read.seq)?;
    Ok(Command::Read(read))
}
