//! The frames of wire version 2 as a client writes and reads them.
//!
//! Written from `docs/protocol.md` and not shared with the server, so that this
//! client shows what a stranger's has to do. Unknown members are ignored, unknown
//! pushes and kinds are passed over.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{
    entry::Head,
    id::{EventId, UserId},
    time::Micros,
};

/// `{"id": 7, "<name>": {...}}`
#[derive(Serialize)]
struct Frame<'a> {
    id: u64,
    #[serde(flatten)]
    command: &'a Command,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Command {
    Auth {
        access_token: String,
    },
    Join {
        rooms: Vec<JoinRoom>,
    },
    Leave {
        rooms: Vec<EventId>,
    },
    Publish {
        room: EventId,
        key: Uuid,
        after: u64,
        body: Text,
    },
    History {
        room: EventId,
        #[serde(skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        limit: u32,
    },
}

/// One room of a `join`; `since` says what the client has already.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct JoinRoom {
    pub(super) room: EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Head>,
}

/// The body of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Text {
    #[serde(default)]
    pub(super) text: String,
}

/// A frame from the server.
#[derive(Debug)]
pub(super) enum FromServer {
    /// The answer to a command; `id` is `None` when the server could not read the command's.
    Reply {
        id: Option<u64>,
        reply: Result<Reply, WireError>,
    },
    /// Something the server tells by itself.
    Push(Push),
}

/// A successful answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Hello(Hello),
    Join { rooms: Vec<JoinOutcome> },
    Leave {},
    Publish {},
    History(Page),
}

/// Why a command failed.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct WireError {
    pub(super) code: String,
    pub(super) message: String,
    #[serde(default)]
    pub(super) temporary: bool,
    pub(super) retry_after_ms: Option<u64>,
}

/// The server's greeting after a good credential.
#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) user: Person,
    pub(super) heartbeat_s: u64,
    pub(super) limits: Limits,
}

/// What the server lets a client do.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Limits {
    pub(super) frame_bytes: usize,
}

/// Somebody, by id and display name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Person {
    pub(super) id: UserId,
    #[serde(default)]
    pub(super) name: String,
}

/// What became of one room of a `join`.
#[derive(Debug, Deserialize)]
pub(super) struct JoinOutcome {
    pub(super) room: EventId,
    pub(super) error: Option<WireError>,
}

/// A page of a record, ascending.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// The record's last seq when the page was made.
    pub(super) as_of: u64,
    /// Whether nothing further lies in the direction that was asked for.
    pub(super) complete: bool,
}

/// What the server tells by itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "push", rename_all = "snake_case")]
pub(super) enum Push {
    Joined(Joined),
    Entries {
        room: EventId,
        entries: Vec<Entry>,
        head: Head,
    },
    Head {
        room: EventId,
        head: Head,
    },
    Removed {
        room: EventId,
        reason: String,
    },
    Shutdown {
        retry_after_ms: u64,
    },
    #[serde(other)]
    Unknown,
}

/// The state of a room at the moment the socket joined it.
#[derive(Debug, Deserialize)]
pub(super) struct Joined {
    pub(super) room: EventId,
    pub(super) head: Head,
    pub(super) entries: Vec<Entry>,
    pub(super) complete: bool,
    #[serde(default)]
    pub(super) reset: bool,
    #[serde(default)]
    pub(super) participants: Vec<Person>,
    pub(super) event: Title,
}

/// Of an event, what this client shows beside a conversation.
#[derive(Debug, Deserialize)]
pub(super) struct Title {
    pub(super) title: String,
}

/// One element of a record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) at: Micros,
    pub(super) author: Option<UserId>,
    /// A word rather than an enum: kinds that this client does not know come later.
    pub(super) kind: String,
    pub(super) body: Option<Text>,
    pub(super) fact: Option<Fact>,
    pub(super) reply_to: Option<u64>,
    #[serde(default)]
    pub(super) erased: bool,
}

/// A change of the event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Fact {
    #[serde(rename = "type")]
    pub(super) name: String,
    /// The change in words of the reader's language.
    pub(super) text: Option<String>,
    pub(super) user: Option<Person>,
}

/// The frame of `command`, to be answered under `id`.
pub(super) fn encode(id: u64, command: &Command) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Frame { id, command })
}

/// Reads a frame from the server.
pub(super) fn decode(text: &str) -> Result<FromServer, serde_json::Error> {
    let frame: Value = serde_json::from_str(text)?;
    if frame.get("push").is_some() {
        return Push::deserialize(frame).map(FromServer::Push);
    }
    let id = frame.get("id").and_then(Value::as_u64);
    if let Some(error) = frame.get("error") {
        let error = WireError::deserialize(error)?;
        return Ok(FromServer::Reply {
            id,
            reply: Err(error),
        });
    }
    // What is left beside the id is the reply under its name.
    let mut frame = frame;
    if let Some(members) = frame.as_object_mut() {
        members.remove("id");
    }
    let reply = Reply::deserialize(frame)?;
    Ok(FromServer::Reply { id, reply: Ok(reply) })
}

#[cfg(test)]
mod tests {
    use super::{Command, FromServer, JoinRoom, Push, Reply, Text, decode, encode};
    use crate::domain::id::EventId;

    #[test]
    fn commands_are_written_as_documented() {
        let room = EventId(7);
        for (command, frame) in [
            (
                Command::Join {
                    rooms: vec![JoinRoom { room, since: None }],
                },
                r#"{"id":1,"join":{"rooms":[{"room":7}]}}"#,
            ),
            (
                Command::Publish {
                    room,
                    key: uuid::Uuid::nil(),
                    after: 3,
                    body: Text { text: "hi".into() },
                },
                r#"{"id":1,"publish":{"room":7,"key":"00000000-0000-0000-0000-000000000000","after":3,"body":{"text":"hi"}}}"#,
            ),
            (
                Command::History {
                    room,
                    before: Some(9),
                    after: None,
                    limit: 50,
                },
                r#"{"id":1,"history":{"room":7,"before":9,"limit":50}}"#,
            ),
        ] {
            assert_eq!(encode(1, &command).unwrap(), frame);
        }
    }

    #[test]
    fn frames_are_read_and_what_is_new_is_passed_over() {
        let read = decode(r#"{"id":4,"publish":{"room":7,"seq":9,"at":"2026-01-01T00:00:00.000000Z"}}"#);
        assert!(matches!(
            read,
            Ok(FromServer::Reply {
                id: Some(4),
                reply: Ok(Reply::Publish {})
            })
        ));
        let read = decode(r#"{"id":null,"error":{"code":"BAD_REQUEST","message":"m","temporary":false}}"#);
        assert!(
            matches!(read, Ok(FromServer::Reply { id: None, reply: Err(error) }) if error.code == "BAD_REQUEST")
        );
        let read = decode(r#"{"push":"feed","event":{},"unread":3}"#);
        assert!(matches!(read, Ok(FromServer::Push(Push::Unknown))));
        let read = decode(
            r#"{"push":"entries","room":7,"head":{"seq":2,"hash":"0000000000000000000000000000000000000000000000000000000000000000"},
                "entries":[{"seq":2,"at":"2026-01-01T00:00:00.000000Z","author":null,"kind":"hologram","new":1,
                            "key":"00000000-0000-0000-0000-000000000000"}]}"#,
        );
        let Ok(FromServer::Push(Push::Entries { entries, .. })) = read else {
            panic!("{read:?}")
        };
        assert_eq!((entries[0].kind.as_str(), entries[0].author), ("hologram", None));
        assert!(decode("[]").is_err() && decode("{").is_err() && decode(r#"{"id":1}"#).is_err());
    }
}
