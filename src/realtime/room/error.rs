//! Why a room refuses a session's request.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::{
    domain::event::EventStatus,
    error::{Coded, ErrorCode},
};

/// Why a room refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// To this user the event does not exist.
    #[error("the user never took part")]
    Unknown,
    /// The user takes part no longer.
    #[error("the user takes part no longer")]
    Gone,
    /// The socket has not joined this room.
    #[error("the socket has not joined the room")]
    NotJoined,
    /// The author's key stands in the log with another body.
    #[error("the key was used for another message")]
    KeyConflict,
    /// The author's key may lie further back than is searched.
    #[error("the key is too far back to be looked for")]
    KeyExpired,
    /// The position lies beyond the log's head.
    #[error("the position lies beyond the head, which is at {head}")]
    PositionUnknown {
        /// Where the head is.
        head: u64,
    },
    /// The message answered does not exist, or not for this user.
    #[error("reply_to names no message that the user can see")]
    ReplyTo,
    /// The event ended so long ago that its room takes no more messages.
    #[error("the room takes no more messages")]
    Closed {
        /// The event's state.
        status: EventStatus,
    },
    /// This user has too much in work in this room.
    #[error("too many requests of this user are in work")]
    Busy,
    /// The room, its log or its store does not answer in time, or the room's queue is full.
    #[error("the room is not available")]
    Unavailable,
    /// A fault on our side.
    #[error("the room failed")]
    Internal,
}

impl Coded for RoomError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::EventNotFound,
            Self::Gone => ErrorCode::Forbidden,
            Self::NotJoined => ErrorCode::NotJoined,
            Self::KeyConflict => ErrorCode::KeyConflict,
            Self::KeyExpired => ErrorCode::KeyExpired,
            Self::PositionUnknown { .. } => ErrorCode::PositionUnknown,
            Self::ReplyTo => ErrorCode::ValidationError,
            Self::Closed { .. } => ErrorCode::EventState,
            Self::Busy => ErrorCode::RateLimitExceeded,
            Self::Unavailable => ErrorCode::Unavailable,
            Self::Internal => ErrorCode::InternalError,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Gone => "participant-gone",
            Self::ReplyTo => "reply-to-unknown",
            Self::Closed { .. } => "room-closed",
            other => other.code().as_str(),
        }
    }

    fn details(&self) -> Map<String, Value> {
        let mut details = Map::new();
        match self {
            Self::PositionUnknown { head } => {
                details.insert("head_seq".into(), (*head).into());
            }
            Self::Closed { status } => {
                details.insert("status".into(), status.as_str().into());
            }
            _ => {}
        }
        details
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(200),
            Self::Unavailable => Some(1_000),
            _ => None,
        }
    }
}

impl RoomError {
    /// The least a caller should wait before it asks a room again that was not there.
    pub(crate) const RETRY: Duration = Duration::from_millis(20);
}
