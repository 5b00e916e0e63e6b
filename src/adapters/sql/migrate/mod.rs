//! Brings a database to the schema that this binary expects.
//!
//! - `sqlite`: a file, which nobody else uses meanwhile.
//! - `postgres`: a server that other nodes use, and may migrate, at the same moment.

mod postgres;
mod sqlite;

use std::path::PathBuf;

pub(super) use self::postgres::{keep_trying, run as migrate_server, wanted as pending_on_server};
pub use self::sqlite::{migrate, pending};
#[cfg(test)]
pub(crate) use self::sqlite::{migrate_one, revert};

/// Why the schema could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The file cannot be opened.
    #[error("the database {} cannot be opened", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the driver said.
        #[source]
        source: diesel::ConnectionError,
    },
    /// The server cannot be reached.
    #[error("the database cannot be reached")]
    Connect(#[source] diesel::ConnectionError),
    /// Another node migrates, and did not end in time.
    #[error("another node has been migrating for too long")]
    Busy,
    /// A migration took longer than any may.
    #[error("a migration took too long and was given up")]
    Late,
    /// A path that is not UTF-8; the driver takes no other.
    #[error("the path {} is not UTF-8", .0.display())]
    Path(PathBuf),
    /// A migration failed; what ran before it stays, its own changes do not.
    #[error("a migration failed")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that migrates died.
    #[error("the migration did not end")]
    Gone(#[source] tokio::task::JoinError),
}

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
