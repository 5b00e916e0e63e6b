//! Version 1 of the wire: whole, flat chat messages out, a handful of frames in.
//!
//! Its clients parse every frame as a chat message and drop what is none, so
//! nothing else is ever sent: no replies, no errors, no pushes.

mod decode;
mod encode;

pub use decode::{Incoming, decode};
pub use encode::{chat_message, message_frame, note_frame};

#[cfg(test)]
mod tests;
