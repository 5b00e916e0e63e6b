//! What numbers the rows of a table.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable},
};
use diesel_async::RunQueryDsl;

use crate::adapters::sql::{Common, Conn, SqlError};

/// A table that numbers its rows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    /// `users`.
    Users,
    /// `events`.
    Events,
}

impl Numbered {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Users, Self::Events];

    /// The table's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Events => "events",
        }
    }
}

#[derive(QueryableByName)]
#[diesel(check_for_backend(Common))]
pub(super) struct Number {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) number: Option<i64>,
}

/// The highest number that `table` has given to a row of its own, 0 before the first.
///
/// # Errors
/// The store failed.
pub async fn last_number(conn: &mut Conn, table: Numbered) -> Result<i64, SqlError> {
    let name = table.name();
    let sql = match conn {
        Conn::Pg(_) => format!("select {} as number", pg_last(name)),
        Conn::Sqlite(_) => {
            format!("select (select seq from sqlite_sequence where name = '{name}') as number")
        }
    };
    let row: Number = diesel::sql_query(sql).get_result(conn).await?;
    Ok(row.number.unwrap_or(0))
}

/// Makes sure that `table` gives no number up to `last` to a row of its own any more.
///
/// # Errors
/// The store failed.
pub async fn skip_numbers(conn: &mut Conn, table: Numbered, last: i64) -> Result<(), SqlError> {
    if last_number(conn, table).await? >= last {
        return Ok(());
    }
    let name = table.name();
    match conn {
        Conn::Pg(_) => {
            let sql = format!("select setval(pg_get_serial_sequence('{name}', 'id'), {last}) as number");
            let _: Number = diesel::sql_query(sql).get_result(conn).await?;
        }
        Conn::Sqlite(_) => {
            // The row is there once the table has had one; its name has no index.
            let there = diesel::sql_query(format!(
                "update sqlite_sequence set seq = {last} where name = '{name}'"
            ))
            .execute(conn)
            .await?;
            if there == 0 {
                diesel::sql_query(format!(
                    "insert into sqlite_sequence (name, seq) values ('{name}', {last})"
                ))
                .execute(conn)
                .await?;
            }
        }
    }
    Ok(())
}

/// Null before the first number.
fn pg_last(table: &str) -> String {
    format!("pg_sequence_last_value(pg_get_serial_sequence('{table}', 'id')::regclass)")
}
