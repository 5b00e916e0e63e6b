//! Writes replies and pushes as whole text frames.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    domain::{
        entry::{Entry, Head, Kind},
        fact::Fact,
        id::{EventId, UserId},
        time::Micros,
        view::{EventView, ParticipantView},
    },
    error::Coded,
    i18n::{self, Language},
    realtime::protocol::frame,
};

/// How entries are shown: in which language, with which names.
pub struct EntryStyle<'a> {
    /// The reader's language.
    pub language: Language,
    /// Display names of the people whom facts name.
    pub name_of: &'a dyn Fn(UserId) -> Option<String>,
}

/// The limits that a client has to know.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct HelloLimits {
    /// Characters of a message.
    pub body_chars: usize,
    /// Bytes of a frame to the server.
    pub frame_bytes: usize,
    /// Messages a second.
    pub publishes_per_s: u32,
    /// Rooms one socket may join.
    pub rooms: usize,
}

/// What a join tells.
pub struct Joined<'a> {
    /// The room, by its event's number.
    pub room: EventId,
    /// Where the record stands: every entry behind it comes as a push.
    pub head: Head,
    /// Messages up to there.
    pub msg_no: u64,
    /// Entries up to there, each from [`entry`].
    pub entries: &'a [Box<RawValue>],
    /// Whether nothing lies between what the client had and these entries.
    pub complete: bool,
    /// Whether the client must throw its copy away.
    pub reset: bool,
    /// Who takes part.
    pub participants: Vec<ParticipantView>,
    /// The appointment.
    pub event: EventView,
}

#[derive(Serialize)]
struct EntryOut<'a> {
    seq: u64,
    at: Micros,
    author: Option<UserId>,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fact: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    key: uuid::Uuid,
}

/// One entry as a client reads it.
pub fn entry(entry: &Entry, style: &EntryStyle<'_>) -> Box<RawValue> {
    let stored = entry
        .body()
        .and_then(|body| serde_json::from_slice::<&RawValue>(body).ok());
    let out = EntryOut {
        seq: entry.seq,
        at: entry.at,
        author: entry.author,
        kind: entry.kind,
        body: stored.filter(|_| entry.kind != Kind::Fact),
        fact: stored
            .filter(|_| entry.kind == Kind::Fact)
            .and_then(|body| fact(entry, body, style)),
        reply_to: entry.reply_to,
        target: entry.target,
        erased: entry.content.is_none(),
        key: entry.key,
    };
    raw(&out)
}

/// A fact's stored members, with people named and the system note beside them.
fn fact(entry: &Entry, body: &RawValue, style: &EntryStyle<'_>) -> Option<Map<String, Value>> {
    let mut members: Map<String, Value> = serde_json::from_str(body.get()).ok()?;
    name_people(&mut members, style);
    if let Some(fact) = Fact::of(entry) {
        members.insert(
            "text".into(),
            i18n::fact_text(style.language, &fact, style.name_of).into(),
        );
    }
    Some(members)
}

/// Replaces `"user": 5` by `"user": {"id": 5, "name": "..."}`, here and in lists of participants.
fn name_people(members: &mut Map<String, Value>, style: &EntryStyle<'_>) {
    for (name, value) in members {
        match value {
            Value::Number(number) if name == "user" => {
                let id = number.as_i64().unwrap_or_default();
                *value = json!({ "id": id, "name": (style.name_of)(UserId(id)).unwrap_or_default() });
            }
            Value::Array(items) if name == "participants" => {
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    name_people(item, style);
                }
            }
            _ => {}
        }
    }
}

/// A JSON text of one of our own values.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    // Our own structs have string keys and no failing parts; an empty object would only be seen if they had.
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn frame_of(value: &impl Serialize) -> Bytes {
    frame::text(raw(value).get().as_bytes())
}

/// `{"push":"entries",...}`
pub fn entries_push(room: EventId, entries: &[Box<RawValue>], head: Head) -> Bytes {
    #[derive(Serialize)]
    struct Out<'a> {
        push: &'static str,
        room: EventId,
        entries: &'a [Box<RawValue>],
        head: Head,
    }
    frame_of(&Out {
        push: "entries",
        room,
        entries,
        head,
    })
}

/// `{"push":"joined",...}` for the command `id`; without one after the server rebuilt the room.
pub fn joined_push(id: Option<u64>, joined: &Joined<'_>) -> Bytes {
    #[derive(Serialize)]
    struct Out<'a> {
        push: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        room: EventId,
        head: Head,
        msg_no: u64,
        entries: &'a [Box<RawValue>],
        complete: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        reset: bool,
        participants: &'a [ParticipantView],
        event: &'a EventView,
    }
    frame_of(&Out {
        push: "joined",
        id,
        room: joined.room,
        head: joined.head,
        msg_no: joined.msg_no,
        entries: joined.entries,
        complete: joined.complete,
        reset: joined.reset,
        participants: &joined.participants,
        event: &joined.event,
    })
}

/// `{"push":"head",...}`
pub fn head_push(room: EventId, head: Head) -> Bytes {
    frame_of(&json!({ "push": "head", "room": room, "head": head }))
}

/// `{"push":"removed",...}`; `reason` is `left`, `removed` or `event_gone`.
pub fn removed_push(room: EventId, reason: &str) -> Bytes {
    frame_of(&json!({ "push": "removed", "room": room, "reason": reason }))
}

/// `{"push":"shutdown",...}`
pub fn shutdown_push(retry_after_ms: u64) -> Bytes {
    frame_of(&json!({ "push": "shutdown", "retry_after_ms": retry_after_ms }))
}

/// The reply to `auth`, or the push after a credential in the header (`id` is `None`).
pub fn hello(
    id: Option<u64>,
    user: &Value,
    server_time: Micros,
    heartbeat_s: u64,
    limits: HelloLimits,
) -> Bytes {
    let hello = json!({
        "user": user,
        "server_time": server_time,
        "version": 2,
        "heartbeat_s": heartbeat_s,
        "limits": limits,
    });
    if let Some(id) = id {
        return frame_of(&json!({ "id": id, "hello": hello }));
    }
    let mut push = hello;
    push["push"] = "hello".into();
    frame_of(&push)
}

/// The reply to `join`; a room's error as [`error_value`] gives it.
pub fn join_reply(id: u64, rooms: &[(EventId, Option<Value>)]) -> Bytes {
    let rooms: Vec<Value> = rooms
        .iter()
        .map(|(room, error)| match error {
            None => json!({ "room": room }),
            Some(error) => json!({ "room": room, "error": error }),
        })
        .collect();
    frame_of(&json!({ "id": id, "join": { "rooms": rooms } }))
}

/// The reply to `leave`.
pub fn leave_reply(id: u64) -> Bytes {
    frame_of(&json!({ "id": id, "leave": {} }))
}

/// The reply to `publish`.
pub fn publish_reply(id: u64, room: EventId, seq: u64, at: Micros, duplicate: bool) -> Bytes {
    let mut publish = json!({ "room": room, "seq": seq, "at": at });
    if duplicate {
        publish["duplicate"] = true.into();
    }
    frame_of(&json!({ "id": id, "publish": publish }))
}

/// The reply to `history`.
pub fn history_reply(id: u64, room: EventId, entries: &[Box<RawValue>], as_of: u64, complete: bool) -> Bytes {
    #[derive(Serialize)]
    struct Page<'a> {
        room: EventId,
        entries: &'a [Box<RawValue>],
        as_of: u64,
        complete: bool,
    }
    #[derive(Serialize)]
    struct Out<'a> {
        id: u64,
        history: Page<'a>,
    }
    frame_of(&Out {
        id,
        history: Page {
            room,
            entries,
            as_of,
            complete,
        },
    })
}

/// An error as it stands in a reply.
pub fn error_value(language: Language, error: &dyn Coded) -> Value {
    let mut value = json!({
        "code": error.code(),
        "message": i18n::error_text(language, error),
        "temporary": error.code().is_temporary(),
    });
    if let Some(retry_after_ms) = error.retry_after_ms() {
        value["retry_after_ms"] = retry_after_ms.into();
    }
    let details = error.details();
    if !details.is_empty() {
        value["details"] = details.into();
    }
    value
}

/// The reply that a command failed; `id` is null when none could be read.
pub fn error_reply(id: Option<u64>, language: Language, error: &dyn Coded) -> Bytes {
    frame_of(&json!({ "id": id, "error": error_value(language, error) }))
}
