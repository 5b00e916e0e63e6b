//! Version 2 of the wire (`docs/protocol.md`): what a client may send and what it is told.

mod decode;
mod encode;

pub use decode::{
    Command, DecodeError, Decoded, History, Join, JoinRoom, Publish, Read, TextBody, Window, decode,
};
pub use encode::{
    BriefEvent, EntryStyle, HelloLimits, Here, Joined, entries_push, entry, error_reply, error_value,
    event_text, feed_push, feed_removed_push, feed_reset_push, head_push, hello, history_reply, join_reply,
    joined_push, leave_reply, presence_push, presence_reply, publish_reply, read_push, read_reply,
    removed_push, shutdown_push, typing_push,
};

#[cfg(test)]
mod tests;
