//! What stays alive between requests: rooms, sessions, and the wire between them.
//!
//! - [`protocol`]: what a client may send and what it is told, as bytes.
//! - [`outbox`]: the bounded bytes that wait for one socket; the only way to it.
//! - [`room`]: one actor per live room; order is decided there and nowhere else.
//! - [`registry`]: finds, starts, rebuilds and lets go of rooms.
//! - [`roster`]: the sockets of this node, by user and by sign-in.
//! - [`heal`]: brings a room's log and the relational store to one state.
//! - [`limiter`]: how often a user may publish.
//! - [`session`]: one actor per WebSocket.
//! - [`upgrade`]: takes a socket out of HTTP and gives it to a session.

pub mod heal;
pub mod limiter;
pub mod outbox;
pub mod protocol;
pub mod registry;
pub mod room;
pub mod roster;
pub mod session;
pub mod upgrade;

pub use registry::Registry;
pub use roster::Roster;
