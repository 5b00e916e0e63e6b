//! timingle: a messenger in which the appointment is the conversation.
//!
//! Read the modules in this order; each may use the ones above it, never below
//! (`tests/it/architecture.rs` keeps it so):
//!
//! 1. [`error`]: the one table of error codes a client can see.
//! 2. [`domain`]: what an event, a room and an entry *are*; no I/O, no async.
//! 3. [`i18n`]: every text a person can read, in Korean and English.
//! 4. [`ports`]: traits for what stands outside the process.
//! 5. [`config`], [`data_dir`], [`metrics`], [`telemetry`]: settings, files, figures, log lines.
//! 6. [`adapters`]: the ports and the relational queries on real systems.
//! 7. [`service`]: use cases between requests and stores: sign-in, events, facts, exports.
//! 8. [`realtime`]: what stays alive between requests: rooms, sessions, the wire.
//! 9. [`http`]: extract, call, render.
//! 10. [`app`]: the composition root, the only place that knows every concrete type.
//! 11. [`chat`]: the terminal client, a client like any other.

pub mod adapters;
pub mod app;
pub mod chat;
pub mod config;
pub mod data_dir;
pub mod domain;
pub mod error;
pub mod http;
pub mod i18n;
pub mod metrics;
pub mod ports;
pub mod realtime;
pub mod service;
pub mod telemetry;
