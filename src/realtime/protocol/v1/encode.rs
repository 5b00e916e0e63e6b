//! Writes chat messages as version 1's clients read them, in frames and in pages of history alike.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    domain::{
        entry::{Entry, Kind},
        fact::Fact,
        id::{EventId, UserId},
        message_id::MessageId,
        time::Micros,
    },
    i18n,
    realtime::protocol::{frame, v2::EntryStyle},
};

/// The name over what nobody in particular says.
const SERVER_NAME: &str = "timingle";

/// Number of the sender that nobody has.
const NOBODY: UserId = UserId(0);

/// Optional members are left out, never null: an empty picture would be loaded as one.
#[derive(Serialize)]
struct ChatMessage<'a> {
    message_id: Uuid,
    event_id: EventId,
    sender_id: UserId,
    sender_name: &'a str,
    message: &'a str,
    message_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Uuid>,
    is_deleted: bool,
    created_at: Micros,
}

/// What stands in the log as the body of a message.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// An entry of `event` as a chat message: the same bytes in history and live. `None` for
/// kinds that version 1 does not know.
///
/// A fact is a note of type `system`. What was erased has no words and `is_deleted`.
pub fn chat_message(event: EventId, entry: &Entry, style: &EntryStyle<'_>) -> Option<Box<RawValue>> {
    let (words, message_type): (Cow<'_, str>, _) = match entry.kind {
        Kind::Message => {
            let said = entry
                .body()
                .and_then(|body| serde_json::from_slice::<Said<'_>>(body).ok());
            (said.map(|said| said.text).unwrap_or_default(), "text")
        }
        Kind::Fact => {
            let note = Fact::of(entry).map(|fact| i18n::fact_text(style.language, &fact, style.name_of));
            (note.unwrap_or_default().into(), "system")
        }
        Kind::Edit | Kind::Erase | Kind::React | Kind::Ack => return None,
    };
    let sender_name = match entry.author {
        None => SERVER_NAME.to_owned(),
        Some(author) => i18n::name_or_unknown(style.language, (style.name_of)(author)),
    };
    let id = |seq| MessageId { event, seq }.to_uuid();
    Some(raw(&ChatMessage {
        message_id: id(entry.seq),
        event_id: event,
        sender_id: entry.author.unwrap_or(NOBODY),
        sender_name: &sender_name,
        message: &words,
        message_type,
        reply_to: entry.reply_to.map(id),
        is_deleted: entry.content.is_none(),
        created_at: entry.at,
    }))
}

/// [`chat_message`] in a frame of its own: a client drops a frame with two of them.
pub fn message_frame(event: EventId, entry: &Entry, style: &EntryStyle<'_>) -> Option<Bytes> {
    chat_message(event, entry, style).map(|message| frame::text(message.get().as_bytes()))
}

/// A note of the server's to one socket. It stands in no record and its id in no other note.
pub fn note_frame(event: EventId, text: &str, now: Micros) -> Bytes {
    let note = raw(&ChatMessage {
        message_id: Uuid::new_v4(),
        event_id: event,
        sender_id: NOBODY,
        sender_name: SERVER_NAME,
        message: text,
        message_type: "system",
        reply_to: None,
        is_deleted: false,
        created_at: now,
    });
    frame::text(note.get().as_bytes())
}

fn raw(message: &ChatMessage<'_>) -> Box<RawValue> {
    // A struct of our own with string keys cannot fail.
    serde_json::value::to_raw_value(message).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
