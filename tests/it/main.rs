//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![expect(clippy::too_many_lines, reason = "a test tells one story to its end")]

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
mod protocol_document;
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
