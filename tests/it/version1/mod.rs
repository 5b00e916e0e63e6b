//! A server that version 1's clients talk to: their requests and frames as they make them,
//! and every answer parsed as strictly as they parse it.
//!
//! - [`dart`]: the app's parsers.
//! - [`client`]: a client over HTTP, and a socket.
//! - `app`: every call that the app makes, in its order.
//! - `collection`: the collection's requests, in its order.
//! - `history`: the conversation over HTTP.
//! - `socket`, `people`, `gap`: the socket; who may; what is told after an interruption.

mod app;
mod client;
mod collection;
mod dart;
mod gap;
mod history;
mod people;
mod socket;
