//! Use cases between requests and stores.

pub mod account;
pub mod auth;
mod cursor;
pub mod events;
pub mod export;
pub mod facts;
pub mod idempotency;
pub mod invites;
pub mod problems;
pub mod token;
