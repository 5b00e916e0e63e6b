//! Use cases between requests and stores.

pub mod auth;
pub mod events;
pub mod export;
pub mod facts;
pub mod invites;
pub mod problems;
pub mod token;
