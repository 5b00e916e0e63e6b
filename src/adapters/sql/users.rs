//! Users.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};

use super::{
    Common, Conn, SqlError,
    schema::users,
    tables::{Numbered, last_number, skip_numbers},
};
use crate::domain::{
    id::UserId,
    phone::Phone,
    time::Micros,
    user::{User, UserName, UserRole, UserStatus},
};

/// What the columns hold of an account that says nothing of itself.
const DEFAULT_LANGUAGE: &str = "ko";
const DEFAULT_TIMEZONE: &str = "Asia/Seoul";
/// How many names one query looks for; SQLite takes 32,766 values at most.
const NAMES_PER_QUERY: usize = 500;

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
    let newest = ids.iter().map(|id| id.0).max().unwrap_or(0);
    if last_number(conn, Numbered::Users).await? < newest {
        if let Conn::Pg(_) = conn {
            // Nobody may take a number between the look at the last one and the skip.
            conn.batch_execute("lock table users in share row exclusive mode")
                .await?;
        }
        skip_numbers(conn, Numbered::Users, newest).await?;
    }
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

/// What a user changes of their own account; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Profile<'a> {
    /// Display name.
    pub name: Option<&'a str>,
    /// BCP 47 tag of the language they read.
    pub language: Option<&'a str>,
    /// IANA name of the zone they live in.
    pub timezone: Option<&'a str>,
}

/// Changes an account that is not gone. `None`: there is no such account.
///
/// # Errors
/// As [`insert`].
pub async fn set_profile(
    conn: &mut Conn,
    id: UserId,
    profile: Profile<'_>,
    at: Micros,
) -> Result<Option<User>, SqlError> {
    let account = users::table
        .find(id.0)
        .filter(users::status.ne(UserStatus::Deleted.as_str()));
    let changed = diesel::update(account)
        .set((
            profile.name.map(|name| users::name.eq(name)),
            profile.language.map(|language| users::language.eq(language)),
            profile.timezone.map(|timezone| users::timezone.eq(timezone)),
            users::updated_at.eq(at.to_datetime()),
        ))
        .returning(UserRow::as_returning())
        .get_result::<UserRow>(conn)
        .await
        .optional()?;
    changed.map(User::try_from).transpose()
}

/// The user with that id.
///
/// # Errors
/// As [`insert`].
pub async fn by_id(conn: &mut Conn, id: UserId) -> Result<Option<User>, SqlError> {
    users::table
        .find(id.0)
        .select(UserRow::as_select())
        .first::<UserRow>(conn)
        .await
        .optional()?
        .map(User::try_from)
        .transpose()
}

/// The display names of `ids`, of those who have one.
///
/// # Errors
/// As [`insert`].
pub async fn names(conn: &mut Conn, ids: &[UserId]) -> Result<HashMap<UserId, String>, SqlError> {
    let mut names = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(NAMES_PER_QUERY) {
        let rows = users::table
            .filter(users::id.eq_any(ids.iter().map(|id| id.0)))
            .filter(users::name.is_not_null())
            .select((users::id, users::name.assume_not_null()))
            .load::<(i64, String)>(conn)
            .await?;
        names.extend(rows.into_iter().map(|(id, name)| (UserId(id), name)));
    }
    Ok(names)
}

/// Makes a user something else to the service.
///
/// # Errors
/// As [`insert`].
pub async fn set_role(conn: &mut Conn, id: UserId, role: UserRole, at: Micros) -> Result<(), SqlError> {
    diesel::update(users::table.find(id.0))
        .set((
            users::role.eq(role.as_str()),
            users::updated_at.eq(at.to_datetime()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes everything personal off an account, which is gone with that; its phone number is
/// free again, its id never is. False: it was gone before.
///
/// # Errors
/// As [`insert`].
pub async fn erase(conn: &mut Conn, id: UserId, at: Micros) -> Result<bool, SqlError> {
    let account = users::table
        .find(id.0)
        .filter(users::status.ne(UserStatus::Deleted.as_str()));
    let changed = diesel::update(account)
        .set((
            users::status.eq(UserStatus::Deleted.as_str()),
            users::phone.eq(None::<String>),
            users::name.eq(None::<String>),
            users::language.eq(DEFAULT_LANGUAGE),
            users::timezone.eq(DEFAULT_TIMEZONE),
            users::role.eq(UserRole::User.as_str()),
            users::leaving.eq(true),
            users::updated_at.eq(at.to_datetime()),
        ))
        .execute(conn)
        .await?;
    Ok(changed == 1)
}

/// Accounts that are gone and may still take part in events that go on, and since when
/// they are gone; at most `limit`.
///
/// # Errors
/// As [`insert`].
pub async fn leaving(conn: &mut Conn, after: UserId, limit: i64) -> Result<Vec<(UserId, Micros)>, SqlError> {
    let rows = users::table
        .filter(users::leaving.eq(true))
        .filter(users::id.gt(after.0))
        .order(users::id)
        .limit(limit)
        .select((users::id, users::updated_at))
        .load::<(i64, DateTime<Utc>)>(conn)
        .await?;
    Ok(rows.into_iter().map(|(id, at)| (UserId(id), at.into())).collect())
}

/// Notes that an account that is gone takes part in nothing that goes on any more.
///
/// # Errors
/// As [`insert`].
pub async fn has_left(conn: &mut Conn, id: UserId) -> Result<(), SqlError> {
    diesel::update(users::table.find(id.0))
        .set(users::leaving.eq(false))
        .execute(conn)
        .await?;
    Ok(())
}
