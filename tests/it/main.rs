//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod config;
mod conversation;
mod harness;
mod http_errors;
mod limits;
mod kill;
mod log_contract;
mod log_format;
mod publish_rules;
mod resume;
mod tamper;
