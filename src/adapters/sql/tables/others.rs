//! Whether somebody else works on the database.

use diesel_async::RunQueryDsl;

use super::numbers::Number;
use crate::adapters::sql::{Conn, SqlError};

/// How many connections nodes have to this database. The caller's own does not count from
/// now on; an SQLite file has a lock instead, and 0 connections.
///
/// # Errors
/// The store failed.
pub async fn other_nodes(conn: &mut Conn) -> Result<i64, SqlError> {
    if let Conn::Sqlite(_) = conn {
        return Ok(0);
    }
    diesel::sql_query("set application_name = 'timingle tool'")
        .execute(conn)
        .await?;
    // Of another role's connections only a superuser would see the name.
    let row: Number = diesel::sql_query(
        "select count(*) as number from pg_stat_activity \
         where datname = current_database() and application_name = 'timingle'",
    )
    .get_result(conn)
    .await?;
    Ok(row.number.unwrap_or(0))
}
