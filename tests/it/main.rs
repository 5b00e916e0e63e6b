//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod bad_input;
mod config;
mod conversation;
mod disk_trace;
mod harness;
mod http_errors;
mod limits;
mod live_sessions;
mod kill;
mod log_contract;
mod log_format;
mod publish_rules;
mod resume;
mod secrets;
mod shutdown;
mod tamper;
