//! The ports and the relational queries on real systems.

pub mod memory;
pub mod sms;
pub mod sql;
pub mod sqlite_log;
pub mod terminal;
