//! Writes replies and pushes as whole text frames.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Number, Value, json, value::RawValue};

use crate::{
    domain::{
        entry::{Entry, Head, Kind},
        event::{EventStatus, ReadMark},
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

/// Replaces `"user": 5` by `"user": {"id": 5, "name": "..."}`, here and in lists of participants,
/// and so each number in the list of who is missing.
fn name_people(members: &mut Map<String, Value>, style: &EntryStyle<'_>) {
    let person = |number: &Number| {
        let id = number.as_i64().unwrap_or_default();
        let name = i18n::name_or_unknown(style.language, (style.name_of)(UserId(id)));
        json!({ "id": id, "name": name })
    };
    for (name, value) in members {
        match value {
            Value::Number(number) if name == "user" => *value = person(number),
            Value::Array(items) if name == "missing" => {
                for item in items {
                    if let Value::Number(number) = item {
                        *item = person(number);
                    }
                }
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

/// The reply to `read`: where the mark is now.
pub fn read_reply(id: u64, room: EventId, seq: u64) -> Bytes {
    frame_of(&json!({ "id": id, "read": { "room": room, "seq": seq } }))
}

/// Whether somebody is here, and until when somebody was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Here {
    /// Who.
    pub id: UserId,
    /// Whether the user has a socket.
    pub online: bool,
    /// When the user was last here: now while online, null when nobody knows.
    pub seen_at: Option<Micros>,
}

/// The reply to `presence`.
pub fn presence_reply(id: u64, room: EventId, users: &[Here]) -> Bytes {
    frame_of(&json!({ "id": id, "presence": { "room": room, "users": users } }))
}

/// `{"push":"presence",...}`
pub fn presence_push(room: EventId, here: Here) -> Bytes {
    frame_of(&json!({
        "push": "presence",
        "room": room,
        "user": here.id,
        "online": here.online,
        "seen_at": here.seen_at,
    }))
}

/// `{"push":"typing",...}`
pub fn typing_push(room: EventId, user: UserId, until: Micros) -> Bytes {
    frame_of(&json!({ "push": "typing", "room": room, "user": user, "until": until }))
}

/// `{"push":"read",...}`; `unread` only to the reader's own sockets.
pub fn read_push(room: EventId, user: UserId, mark: ReadMark, unread: Option<u64>) -> Bytes {
    let mut push = json!({
        "push": "read",
        "room": room,
        "user": user,
        "seq": mark.seq,
        "at": mark.at,
    });
    if let Some(unread) = unread {
        push["unread"] = unread.into();
    }
    frame_of(&push)
}

/// `{"push":"feed",...}` with the event as one JSON text; `change` is its word.
pub fn feed_push(event: &RawValue, head: Head, unread: u64, change: &'static str) -> Bytes {
    #[derive(Serialize)]
    struct Out<'a> {
        push: &'static str,
        change: &'static str,
        event: &'a RawValue,
        head: Head,
        unread: u64,
    }
    frame_of(&Out {
        push: "feed",
        change,
        event,
        head,
        unread,
    })
}

/// `{"push":"feed",...,"change":"removed"}`: of how it goes on nothing is told.
pub fn feed_removed_push(event: &RawValue) -> Bytes {
    #[derive(Serialize)]
    struct Out<'a> {
        push: &'static str,
        change: &'static str,
        event: &'a RawValue,
    }
    frame_of(&Out {
        push: "feed",
        change: "removed",
        event,
    })
}

/// `{"push":"feed_reset"}`
pub fn feed_reset_push() -> Bytes {
    frame_of(&json!({ "push": "feed_reset" }))
}

/// Of an event what a list shows.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BriefEvent<'a> {
    /// Its number.
    pub id: EventId,
    /// Its title.
    pub title: &'a str,
    /// Where it is in its life.
    pub status: EventStatus,
    /// How many changes it has had; not told to who takes part no longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fact_no: Option<u64>,
}

/// What is told of an event as one JSON text, to be told to many.
pub fn event_text(event: &impl Serialize) -> Box<RawValue> {
    raw(event)
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
