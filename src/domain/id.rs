//! The numbers and names of users, events and rooms.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest integer a JavaScript or Dart client holds exactly, 2^53 - 1.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }
    };
}

number! {
    /// A user's number: 1..2^53-1, the same on every wire.
    UserId
}
number! {
    /// An event's number: 1..2^53-1; on the wire it also names the event's room.
    EventId
}

/// The name of a room's log.
///
/// Not the event's number: after a restore a number may be given out again,
/// and must not meet the old event's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoomId(pub Uuid);

impl std::fmt::Display for RoomId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
