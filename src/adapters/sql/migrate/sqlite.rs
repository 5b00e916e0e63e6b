//! Brings an SQLite file to the schema that this binary expects.

use std::path::Path;

use diesel::{Connection, SqliteConnection, connection::SimpleConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{MigrateError, Outcome};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Runs every migration that `path` lacks, making the file if there is none.
/// Returns the names of those that ran, in order.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(path: &Path) -> Result<Vec<String>, MigrateError> {
    with(path, |conn| {
        conn.run_pending_migrations(SQLITE)
            .map(|versions| versions.iter().map(ToString::to_string).collect())
    })
    .await
}

/// Names of the migrations that `path` lacks, in order.
///
/// # Errors
/// See [`MigrateError`].
pub async fn pending(path: &Path) -> Result<Vec<String>, MigrateError> {
    with(path, |conn| {
        conn.pending_migrations(SQLITE)
            .map(|migrations| migrations.iter().map(|one| one.name().to_string()).collect())
    })
    .await
}

/// Runs the first migration that `path` lacks.
///
/// # Errors
/// See [`MigrateError`].
#[cfg(test)]
pub(crate) async fn migrate_one(path: &Path) -> Result<(), MigrateError> {
    with(path, |conn| conn.run_next_migration(SQLITE).map(|_| ())).await
}

/// Undoes every migration, the last first: all data of `path` is gone.
///
/// # Errors
/// See [`MigrateError`].
#[cfg(test)]
pub(crate) async fn revert(path: &Path) -> Result<(), MigrateError> {
    with(path, |conn| conn.revert_all_migrations(SQLITE).map(|_| ())).await
}

async fn with<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&mut SqliteConnection) -> Outcome<T> + Send + 'static,
) -> Result<T, MigrateError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let Some(name) = path.to_str() else {
            return Err(MigrateError::Path(path));
        };
        let mut conn = match SqliteConnection::establish(name) {
            Ok(conn) => conn,
            Err(source) => return Err(MigrateError::Open { path, source }),
        };
        conn.batch_execute(
            "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        )
        .map_err(|error| MigrateError::Migration(error.into()))?;
        work(&mut conn).map_err(MigrateError::Migration)
    })
    .await
    .map_err(MigrateError::Gone)?
}
