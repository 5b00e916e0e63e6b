//! What timingle's things *are*: no I/O, no async, no clock of its own.
//!
//! - [`id`]: the numbers and names of users, events and rooms.
//! - [`phone`]: a telephone number in E.164.
//! - [`message`]: what a participant may say.
//! - [`message_id`]: the name of an entry on wires that know no seq.
//! - [`entry`]: one element of a room's log.
//! - [`chain`]: the hash chain over a log; `docs/log-format.md` defines its bytes.
//! - [`fact`]: one change of an event, as history keeps it.
//! - [`event`]: an appointment and the rules of its life.
//! - [`visibility`]: which part of a record a participant may see.
//! - [`text`]: characters that a line must not have, or that do not show.
//! - [`time`]: instants in microseconds.
//! - [`user`]: a person with an account.
//! - [`view`]: an event as clients read it.

pub mod chain;
pub mod entry;
pub mod event;
pub mod fact;
pub mod id;
pub mod message;
pub mod message_id;
pub mod phone;
pub mod text;
pub mod time;
pub mod user;
pub mod view;
pub mod visibility;
