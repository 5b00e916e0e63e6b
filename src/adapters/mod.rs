//! The ports and the relational queries on real systems.

pub mod cql_log;
pub mod memory;
pub mod nats;
pub mod redis;
pub mod sms;
pub mod sql;
pub mod sqlite_log;
pub mod terminal;
pub mod tls;
