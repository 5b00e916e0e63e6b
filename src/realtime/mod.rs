//! What stays alive between requests: rooms, sessions, and the wire between them.
//!
//! - [`bridge`]: what nodes tell each other.
//! - [`protocol`]: what a client may send and what it is told, as bytes.
//! - [`outbox`]: the bounded bytes that wait for one socket; the only way to it.
//! - [`pages`]: reads a room's record for somebody who has no socket.
//! - [`room`]: one actor per live room; order is decided there and nowhere else.
//! - [`registry`]: finds, starts, rebuilds and lets go of rooms.
//! - [`roster`]: the sockets of this node, by user and by sign-in.
//! - [`feed`]: tells people what becomes of their events, joined or not.
//! - [`presence`]: who is here.
//! - [`unread`]: how many messages of an event somebody has not read.
//! - [`heal`]: brings a room's log and the relational store to one state.
//! - [`limiter`]: how often a user may publish.
//! - [`session`]: one actor per WebSocket.
//! - [`sweep`]: finds facts that nobody brought into the log.
//! - [`told`]: how far each sign-in of version 1 has been told each room.
//! - [`upgrade`]: takes a socket out of HTTP and gives it to a session.

pub mod bridge;
pub mod feed;
pub mod heal;
pub mod limiter;
pub mod outbox;
pub mod pages;
pub mod presence;
pub mod protocol;
pub mod registry;
pub mod room;
pub mod roster;
pub mod session;
pub mod sweep;
pub mod told;
pub mod unread;
pub mod upgrade;

pub use bridge::Bridge;
pub use registry::Registry;
pub use roster::Roster;
