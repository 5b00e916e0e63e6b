//! Reads what a version 1 client sends.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::message_id::MessageId;

/// What a frame asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// To say something. `reply_to` is what it answers, if it names a message at all;
    /// whether that is one of the room is for the caller to see.
    Message {
        /// The words, without white space around them; never empty, otherwise unchecked.
        text: String,
        /// The message answered.
        reply_to: Option<MessageId>,
    },
    /// To say that the user is typing.
    Typing,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    reply_to: Value,
}

/// What `text` asks for; `None` where it asks for nothing that is known: broken JSON,
/// another type (`system` among them: only the server writes notes), nothing said.
pub fn decode(text: &str) -> Option<Incoming> {
    let frame: Frame = serde_json::from_str(text).ok()?;
    match frame.kind.as_str()? {
        "message" => {
            let words = frame.message.as_str()?.trim();
            (!words.is_empty()).then(|| Incoming::Message {
                text: words.to_owned(),
                reply_to: frame.reply_to.as_str().and_then(|id| id.parse().ok()),
            })
        }
        "typing" => Some(Incoming::Typing),
        _ => None,
    }
}
