//! One binary: one link, one harness.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod log_contract;
mod log_format;
mod tamper;
mod architecture;
mod config;
mod conversation;
mod harness;
