//! Relational queries, written once for both databases.
//!
//! - [`backend`]: the diesel backend for the SQL that PostgreSQL and SQLite share.
//! - [`schema`]: the tables in diesel's words.
//! - [`migrate`]: brings a database to that schema.
//! - [`Sql`]: the pool of connections (`store`), and transactions on them (`transaction`).
//! - one file per resource: free functions, one per statement, that take the caller's
//!   connection, so that they compose inside a transaction.
//!
//! Whatever writes more than one row, or reads before it writes, goes through [`Sql::write`];
//! if it changes an event it begins with [`events::lock`].

pub mod backend;
mod error;
pub mod events;
#[cfg(test)]
pub(crate) mod fixture;
pub mod history;
pub mod idempotency;
pub mod invites;
pub mod migrate;
pub mod participants;
pub mod people;
mod postgres;
pub mod schema;
pub mod sessions;
mod store;
pub mod tables;
#[cfg(test)]
mod tests;
mod transaction;
pub mod users;
mod words;

pub use self::{
    backend::{Common, Conn, Snapshots},
    error::SqlError,
    store::{OwnConn, Sql},
};
