//! Every table whole, in the order of its key: for moving an installation to other engines.
//!
//! Rows go as they are, with their ids. What hands out ids ([`Numbered`]) goes along, so
//! that no number is given twice, not even one whose row is gone.
//!
//! - `numbers`: what hands out ids.
//! - `others`: whether somebody else works on the database.

mod numbers;
mod others;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

pub use self::{
    numbers::{Numbered, last_number, skip_numbers},
    others::other_nodes,
};
use super::{Common, Conn, SqlError, schema::events};
use crate::domain::id::{EventId, RoomId};

/// A table, as it is read and written whole.
pub trait Table {
    /// What it holds.
    type Row: PartialEq + Clone + Send + Sync + 'static;
    /// By what its rows are told apart, in the order in which both databases sort it.
    type Key: Ord + Clone + Send + Sync + 'static;
    /// Its name.
    const NAME: &'static str;

    /// The key of `row`.
    fn key(row: &Self::Row) -> Self::Key;

    /// The first `limit` rows whose key is above `after`, in the order of their keys.
    ///
    /// # Errors
    /// The store failed, or a value does not fit its column's type.
    fn page(
        conn: &mut Conn,
        after: Option<&Self::Key>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self::Row>, SqlError>> + Send;

    /// Writes those of `rows` whose keys are not there, all or none; how many those were.
    ///
    /// # Errors
    /// The store failed, or a row breaks a rule of the table.
    fn insert(conn: &mut Conn, rows: &[Self::Row]) -> impl Future<Output = Result<usize, SqlError>> + Send;
}

/// `first key (, second key)` of a row whose key is above `$after`.
macro_rules! above {
    ($table:ident, $after:expr, $key:ident) => {
        $table::$key.gt($after.clone())
    };
    // The first condition bounds the stretch of the index that is looked at.
    ($table:ident, $after:expr, $first:ident, $second:ident) => {
        $table::$first.ge($after.0.clone()).and(
            $table::$first
                .gt($after.0.clone())
                .or($table::$second.gt($after.1.clone())),
        )
    };
}

macro_rules! key_of {
    ($of:expr, $key:ident) => {
        $of.$key.clone()
    };
    ($of:expr, $first:ident, $second:ident) => {
        ($of.$first.clone(), $of.$second.clone())
    };
}

macro_rules! order_of {
    ($table:ident, $key:ident) => {
        $table::$key.asc()
    };
    ($table:ident, $first:ident, $second:ident) => {
        ($table::$first.asc(), $table::$second.asc())
    };
}

macro_rules! columns_of {
    ($table:ident, $key:ident) => {
        $table::$key
    };
    ($table:ident, $first:ident, $second:ident) => {
        ($table::$first, $table::$second)
    };
}

macro_rules! tables {
    ($($(#[$doc:meta])* $Name:ident: $table:ident by ($($key:ident),+) as $Key:ty {
        $($column:ident: $Type:ty,)+
    })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $Name;

            const _: () = {
                use super::schema::$table;

                /// A row as it stands.
                #[derive(Clone, PartialEq, Queryable, Selectable, Insertable)]
                #[diesel(
                    table_name = $table,
                    check_for_backend(Common),
                    treat_none_as_default_value = false
                )]
                pub struct Row {
                    $($column: $Type,)+
                }

                impl Table for $Name {
                    type Row = Row;
                    type Key = $Key;
                    const NAME: &'static str = stringify!($table);

                    fn key(row: &Row) -> $Key {
                        key_of!(row, $($key),+)
                    }

                    async fn page(
                        conn: &mut Conn,
                        after: Option<&$Key>,
                        limit: i64,
                    ) -> Result<Vec<Row>, SqlError> {
                        let mut rows = $table::table
                            .select(Row::as_select())
                            .into_boxed::<Common>()
                            .order_by(order_of!($table, $($key),+))
                            .limit(limit);
                        if let Some(after) = after {
                            rows = rows.filter(above!($table, after, $($key),+));
                        }
                        Ok(rows.load(conn).await?)
                    }

                    async fn insert(conn: &mut Conn, rows: &[Row]) -> Result<usize, SqlError> {
                        let written = diesel::insert_into($table::table)
                            .values(rows)
                            .on_conflict(columns_of!($table, $($key),+))
                            .do_nothing()
                            .execute(conn)
                            .await?;
                        Ok(written)
                    }
                }
            };
        )+

        /// Shows every table to `visitor`, each one behind those that its rows name.
        ///
        /// # Errors
        /// The first that `visitor` answers; the tables behind it are not shown.
        pub async fn each<V: Visitor>(visitor: &mut V) -> Result<(), V::Error> {
            $(visitor.visit::<$Name>().await?;)+
            Ok(())
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$(<$Name as Table>::NAME),+];
    };
}

tables! {
    /// Who there is.
    Users: users by (id) as i64 {
        id: i64,
        phone: Option<String>,
        name: Option<String>,
        language: String,
        timezone: String,
        role: String,
        status: String,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        leaving: bool,
    }
    /// Their sign-ins.
    Sessions: sessions by (id) as Uuid {
        id: Uuid,
        user_id: i64,
        created_at: DateTime<Utc>,
        last_used_at: DateTime<Utc>,
        revoked_at: Option<DateTime<Utc>>,
        client: Option<String>,
        access_life: Option<i64>,
    }
    /// What a sign-in is renewed with.
    RefreshTokens: refresh_tokens by (hash) as Vec<u8> {
        hash: Vec<u8>,
        session_id: Uuid,
        created_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
        replaced_by: Option<Vec<u8>>,
        replaced_at: Option<DateTime<Utc>>,
    }
    /// The appointments.
    Events: events by (id) as i64 {
        id: i64,
        room: Uuid,
        title: String,
        description: Option<String>,
        location: Option<String>,
        start_time: DateTime<Utc>,
        end_time: DateTime<Utc>,
        timezone: String,
        status: String,
        creator_id: i64,
        fact_no: i64,
        created_at: DateTime<Utc>,
        updated_at: DateTime<Utc>,
        quorum: Option<i64>,
        confirm_by: Option<DateTime<Utc>>,
        on_deadline: String,
        change_limit: Option<i64>,
        confirmed_at: Option<DateTime<Utc>>,
        was_confirmed: bool,
        changes_used: i64,
        deadline_spent: bool,
        ended_at: Option<DateTime<Utc>>,
        due_at: Option<DateTime<Utc>>,
    }
    /// Who takes part.
    Participants: participants by (event_id, user_id) as (i64, i64) {
        event_id: i64,
        user_id: i64,
        role: String,
        answer: String,
        answered_at: Option<DateTime<Utc>>,
        joined_at: DateTime<Utc>,
        reason: Option<String>,
        read_seq: i64,
        read_msg_no: i64,
        read_at: Option<DateTime<Utc>>,
    }
    /// The facts.
    EventHistory: event_history by (event_id, fact_no) as (i64, i64) {
        event_id: i64,
        fact_no: i64,
        id: Uuid,
        kind: String,
        actor: Option<i64>,
        subject: Option<i64>,
        at: DateTime<Utc>,
        payload: Value,
        seq: Option<i64>,
    }
    /// Links into events.
    Invites: invites by (code) as String {
        code: String,
        event_id: i64,
        created_by: i64,
        fact_no: i64,
        expires_at: Option<DateTime<Utc>>,
        max_uses: i64,
        use_count: i64,
        is_active: bool,
        created_at: DateTime<Utc>,
    }
    /// Answers to creations.
    IdempotencyKeys: idempotency_keys by (user_id, key) as (i64, String) {
        user_id: i64,
        key: String,
        fingerprint: Vec<u8>,
        answer: Value,
        created_at: DateTime<Utc>,
    }
}

/// Does something with every table: see [`each`].
pub trait Visitor {
    /// Why it gives up.
    type Error;

    /// Does it with one table.
    ///
    /// # Errors
    /// What keeps it from going on.
    fn visit<T: Table>(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Events with an id above `after` and the names of their logs, by id, at most `limit`.
///
/// # Errors
/// The store failed.
pub async fn rooms_after(
    conn: &mut Conn,
    after: EventId,
    limit: i64,
) -> Result<Vec<(EventId, RoomId)>, SqlError> {
    let rows: Vec<(i64, Uuid)> = events::table
        .filter(events::id.gt(after.0))
        .order_by(events::id)
        .limit(limit)
        .select((events::id, events::room))
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(id, room)| (EventId(id), RoomId(room)))
        .collect())
}
