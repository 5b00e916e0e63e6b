//! Users.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::{Common, Conn, SqlError, schema::users};
use crate::domain::{
    id::UserId,
    phone::Phone,
    time::Micros,
    user::{User, UserName, UserStatus},
};

#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = users, check_for_backend(Common))]
pub(super) struct UserRow {
    id: i64,
    phone: Option<String>,
    name: Option<String>,
    language: String,
    timezone: String,
    role: String,
    status: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<UserRow> for User {
    type Error = SqlError;

    fn try_from(row: UserRow) -> Result<Self, SqlError> {
        Ok(Self {
            id: UserId(row.id),
            phone: row.phone.map(Phone::from_stored),
            // Only an account that is gone has none.
            name: row.name.unwrap_or_default(),
            language: row.language,
            timezone: row.timezone,
            role: row.role.parse().map_err(SqlError::corrupt)?,
            status: row.status.parse().map_err(SqlError::corrupt)?,
            created_at: row.created_at.into(),
            updated_at: row.updated_at.into(),
        })
    }
}

/// A user that is to be.
#[derive(Debug, Clone, Copy)]
pub struct NewUser<'a> {
    /// Their number.
    pub phone: &'a Phone,
    /// Their display name.
    pub name: &'a UserName,
    /// BCP 47 tag of the language they read.
    pub language: &'a str,
    /// When: now.
    pub at: Micros,
}

/// Adds a user, unless somebody has that number: then `None`.
///
/// # Errors
/// The store does not answer, or holds what it must not.
pub async fn insert(conn: &mut Conn, new: NewUser<'_>) -> Result<Option<User>, SqlError> {
    let at = new.at.to_datetime();
    diesel::insert_into(users::table)
        .values((
            users::phone.eq(new.phone.as_str()),
            users::name.eq(new.name.as_str()),
            users::language.eq(new.language),
            users::created_at.eq(at),
            users::updated_at.eq(at),
        ))
        .on_conflict(users::phone)
        .do_nothing()
        .returning(UserRow::as_returning())
        .get_result::<UserRow>(conn)
        .await
        .optional()?
        .map(User::try_from)
        .transpose()
}

/// Keeps the numbers of users whom only a room's log still knows from being given out
/// again: each becomes an account that is gone. A number that is in use stays as it is.
///
/// # Errors
/// As [`insert`].
pub async fn bury(conn: &mut Conn, ids: &[UserId], at: Micros) -> Result<(), SqlError> {
    let at = at.to_datetime();
    for id in ids {
        diesel::insert_into(users::table)
            .values((
                users::id.eq(id.0),
                users::status.eq(UserStatus::Deleted.as_str()),
                users::created_at.eq(at),
                users::updated_at.eq(at),
            ))
            .on_conflict(users::id)
            .do_nothing()
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// The user with that number.
///
/// # Errors
/// As [`insert`].
pub async fn by_phone(conn: &mut Conn, phone: &Phone) -> Result<Option<User>, SqlError> {
    users::table
        .filter(users::phone.eq(phone.as_str()))
        .select(UserRow::as_select())
        .first::<UserRow>(conn)
        .await
        .optional()?
        .map(User::try_from)
        .transpose()
}

/// Says whether a user may use the service. False: there is no such user.
///
/// # Errors
/// As [`insert`].
pub async fn set_status(
    conn: &mut Conn,
    id: UserId,
    status: UserStatus,
    at: Micros,
) -> Result<bool, SqlError> {
    let changed = diesel::update(users::table.find(id.0))
        .set((
            users::status.eq(status.as_str()),
            users::updated_at.eq(at.to_datetime()),
        ))
        .execute(conn)
        .await?;
    Ok(changed == 1)
}
