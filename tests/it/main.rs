//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod bad_input;
mod chat_client;
mod clock;
mod config;
mod conversation;
mod disk_trace;
mod full_disk;
mod harness;
mod http_errors;
mod kill;
mod limits;
mod live_sessions;
mod log_contract;
mod log_format;
mod publish_rules;
mod registry;
mod removal;
mod restore;
mod resume;
mod room_panic;
mod secrets;
mod shutdown;
mod slow_reader;
mod tamper;
