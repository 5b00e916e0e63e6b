//! What a participant may say.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Coded, ErrorCode};

/// The longest text in bytes of UTF-8, whatever the limit in characters.
pub const MAX_BYTES: usize = 32_000;

/// A message's text: not blank, at most the configured number of characters
/// (Unicode scalar values) and [`MAX_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageBody {
    text: String,
}

impl MessageBody {
    /// Takes `text` if it may be said.
    ///
    /// # Errors
    /// Blank, or longer than `max_chars` characters or [`MAX_BYTES`] bytes.
    pub fn parse(text: String, max_chars: usize) -> Result<Self, MessageBodyError> {
        if text.trim().is_empty() {
            return Err(MessageBodyError::Blank);
        }
        if text.len() > MAX_BYTES || text.chars().count() > max_chars {
            return Err(MessageBodyError::TooLong { max_chars });
        }
        Ok(Self { text })
    }

    /// The bytes that are stored and hashed.
    pub fn to_bytes(&self) -> Bytes {
        super::chain::body_of(self)
    }
}

/// Why a text may not be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageBodyError {
    /// Nothing but white space.
    #[error("a message needs at least one visible character")]
    Blank,
    /// Too many characters or bytes.
    #[error("a message has at most {max_chars} characters and {MAX_BYTES} bytes")]
    TooLong {
        /// The limit in characters.
        max_chars: usize,
    },
}

impl Coded for MessageBodyError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Blank => ErrorCode::ValidationError,
            Self::TooLong { .. } => ErrorCode::BodyTooLong,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Blank => "message-blank",
            Self::TooLong { .. } => "message-too-long",
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut details = serde_json::Map::new();
        if let Self::TooLong { max_chars } = self {
            details.insert("max_chars".into(), (*max_chars).into());
            details.insert("max_bytes".into(), MAX_BYTES.into());
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, MessageBody, MessageBodyError};

    #[test]
    fn limits_are_characters_and_bytes() {
        assert!(MessageBody::parse("가".repeat(8_000), 8_000).is_ok());
        assert_eq!(
            MessageBody::parse("가".repeat(8_001), 8_000),
            Err(MessageBodyError::TooLong { max_chars: 8_000 })
        );
        assert!(MessageBody::parse("🙂".repeat(MAX_BYTES / 4 + 1), 20_000).is_err());
        assert_eq!(
            MessageBody::parse(" \n\t".into(), 8_000),
            Err(MessageBodyError::Blank)
        );
    }

    #[test]
    fn stored_bytes_are_the_wire_object() {
        assert_eq!(
            MessageBody::parse("hi \"you\"".into(), 10).unwrap().to_bytes(),
            "{\"text\":\"hi \\\"you\\\"\"}"
        );
    }
}
