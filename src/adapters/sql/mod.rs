//! Relational queries, written once for both databases.
//!
//! - [`backend`]: the diesel backend for the SQL that PostgreSQL and SQLite share.
//! - [`schema`]: the tables in diesel's words.
//! - [`migrate`]: brings a database to that schema.
//! - one file per resource: free functions, one per statement, that take the caller's
//!   connection, so that they compose inside a transaction.
//!
//! Every transaction that changes an event begins with [`events::lock`].

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
pub mod schema;
pub mod sessions;
#[cfg(test)]
mod tests;
pub mod users;
mod words;

use std::{path::Path, time::Duration};

use diesel::ConnectionError;
use diesel_async::{
    AsyncConnection,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolError, RecyclingMethod,
        bb8::{self, RunError},
    },
};
use futures_util::FutureExt;
use tokio::runtime::Handle;

pub use self::{
    backend::{Common, Conn, Snapshots},
    error::SqlError,
};

/// A pool of connections to one database.
pub type Pool = bb8::Pool<Conn>;

/// The relational store: a bounded pool, and how long one waits for a connection.
#[derive(Clone)]
pub struct Sql {
    pool: Pool,
}

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sql({:?})", self.pool.state())
    }
}

impl Sql {
    /// Opens the SQLite file `path`, which [`migrate::migrate`] has made, with at most
    /// `size` connections (at least 1); [`Sql::get`] waits at most `timeout` for one.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(path: &Path, size: u32, timeout: Duration) -> Result<Self, SqlError> {
        let path = path
            .to_str()
            .ok_or_else(|| SqlError::Unavailable("the path of the database is not UTF-8".into()))?;
        Self::connect(&format!("sqlite:{path}"), size, timeout).await
    }

    async fn connect(url: &str, size: u32, timeout: Duration) -> Result<Self, SqlError> {
        let pool = Pool::builder()
            .max_size(size.max(1))
            .connection_timeout(timeout)
            .build(AsyncDieselConnectionManager::new_with_config(url, at_home()))
            .await
            .map_err(unreachable_store)?;
        let sql = Self { pool };
        sql.get().await?;
        Ok(sql)
    }

    /// A connection of one's own until it is dropped.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`]: none came free in time, or none could be opened.
    pub async fn get(&self) -> Result<bb8::PooledConnection<'_, Conn>, SqlError> {
        self.pool.get().await.map_err(|error| match error {
            RunError::User(error) => unreachable_store(error),
            RunError::TimedOut => SqlError::Unavailable("no connection came free in time".into()),
        })
    }
}

/// Connections that belong to the runtime which opened the pool.
///
/// A connection works on the runtime that it was opened on. Each HTTP worker has one of
/// its own, which ends before the rooms do: what a worker opened would fail then.
fn at_home() -> ManagerConfig<Conn> {
    let home = Handle::current();
    let mut config = ManagerConfig::default();
    // Without a query before each use: a connection that broke says so by itself.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let url = url.to_owned();
        let opening = home.spawn(async move { Conn::establish(&url).await });
        async move {
            opening
                .await
                .map_err(|error| ConnectionError::BadConnection(error.to_string()))?
        }
        .boxed()
    });
    config
}

fn unreachable_store(error: PoolError) -> SqlError {
    SqlError::Unavailable(Box::new(error))
}
