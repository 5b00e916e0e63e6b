//! Version 2 of the wire (`docs/protocol.md`): what a client may send and what it is told.

mod decode;
mod encode;

pub use decode::{Command, DecodeError, Decoded, History, Join, JoinRoom, Publish, TextBody, Window, decode};
pub use encode::{
    EntryStyle, HelloLimits, Joined, entries_push, entry, error_reply, error_value, head_push, hello,
    history_reply, join_reply, joined_push, leave_reply, publish_reply, removed_push, shutdown_push,
};

#[cfg(test)]
mod tests;
