//! Reads a room's record for somebody who has no socket.

use super::{
    heal::HealError,
    protocol::v2::Window,
    registry::Registry,
    room::{Page, RoomError},
};
use crate::{
    domain::id::{EventId, UserId},
    error::{Coded, ErrorCode},
};

/// How often a room that is let go of meanwhile is asked for again.
const TRIES: usize = 3;

/// Why a page cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The room cannot start; to a stranger the event does not exist.
    #[error("the event's room cannot start")]
    Start(#[source] HealError),
    /// The room says no.
    #[error("the event's room gives no page")]
    Room(#[source] RoomError),
}

impl Coded for PageError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Start(error) => error.code(),
            Self::Room(error) => error.code(),
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Start(error) => error.retry_after_ms(),
            Self::Room(error) => error.retry_after_ms(),
        }
    }
}

/// A page of the record of `event` as `user` may see it, at most `limit` entries.
///
/// # Errors
/// The event does not exist for this user; its room, log or store does not answer.
pub async fn page(
    registry: &Registry,
    event: EventId,
    user: UserId,
    window: Window,
    limit: usize,
) -> Result<Page, PageError> {
    let mut tries = 0;
    loop {
        let room = registry.room_for(event, user).await.map_err(PageError::Start)?;
        tries += 1;
        match room.page(user, window, Some(limit)).await {
            // It was let go of, or fell, in between.
            Err(RoomError::Unavailable) if tries < TRIES && !room.is_alive() => {
                tokio::time::sleep(RoomError::RETRY).await;
            }
            outcome => return outcome.map_err(PageError::Room),
        }
    }
}

/// Notes that `user` has read the record of `event` up to `seq`. Without an answer: one that
/// is lost comes again with the next page.
pub fn read_up_to(registry: &Registry, event: EventId, user: UserId, seq: u64) {
    if let Some(room) = registry.live(event) {
        room.read_up_to(user, seq);
    }
}
