//! Signed-in sessions and the refresh tokens that belong to them.
//!
//! A refresh token is kept as its SHA-256: with 256 random bits in it there is nothing
//! to guess, and what stands here opens nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    Common, Conn, SqlError,
    schema::{refresh_tokens, sessions, users},
    users::UserRow,
};
use crate::domain::{
    id::UserId,
    time::Micros,
    user::{User, UserStatus},
};

/// How many sessions one query looks at; SQLite takes 32,766 values at most.
const SESSIONS_PER_QUERY: usize = 500;
/// How many of a user's sessions are listed.
const SESSIONS_LISTED: i64 = 100;

/// A session that is to be, with its first refresh token.
#[derive(Debug, Clone, Copy)]
pub struct NewSession<'a> {
    /// Its name, which the access tokens carry.
    pub id: Uuid,
    /// Whose.
    pub user: UserId,
    /// What the client calls itself.
    pub client: Option<&'a str>,
    /// SHA-256 of the refresh token.
    pub token_hash: &'a [u8; 32],
    /// Until when that token counts.
    pub token_expires_at: Micros,
    /// How long its access tokens live, in whole seconds; `None`: as the configuration says.
    pub access_life: Option<Duration>,
    /// When: now.
    pub at: Micros,
}

/// A session with its user.
#[derive(Debug, Clone)]
pub struct SessionState {
    /// Since when it counts no more.
    pub revoked_at: Option<Micros>,
    /// Whose it is.
    pub user: User,
}

/// A refresh token with its session and user.
#[derive(Debug, Clone)]
pub struct TokenState {
    /// The session it belongs to.
    pub session: Uuid,
    /// Until when it counts.
    pub expires_at: Micros,
    /// The hash of its successor and since when there is one, if there is.
    pub replaced: Option<(Vec<u8>, Micros)>,
    /// How long access tokens of the session live, if not as the configuration says.
    pub access_life: Option<Duration>,
    /// That session and its user.
    pub state: SessionState,
}

/// A session as its user sees it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInRow {
    /// Its name.
    pub id: Uuid,
    /// What the client calls itself.
    pub client: Option<String>,
    /// When it began.
    pub created_at: Micros,
    /// When it last got an access token.
    pub last_used_at: Micros,
}

/// Begins a session. Call it within a transaction: these are two rows.
///
/// # Errors
/// The store does not answer, or holds what it must not.
pub async fn insert(conn: &mut Conn, new: NewSession<'_>) -> Result<(), SqlError> {
    let at = new.at.to_datetime();
    diesel::insert_into(sessions::table)
        .values((
            sessions::id.eq(new.id),
            sessions::user_id.eq(new.user.0),
            sessions::created_at.eq(at),
            sessions::last_used_at.eq(at),
            sessions::client.eq(new.client),
            sessions::access_life.eq(new
                .access_life
                .and_then(|life| i64::try_from(life.as_secs()).ok())),
        ))
        .execute(conn)
        .await?;
    insert_token(conn, new.token_hash, new.id, new.token_expires_at, new.at).await
}

async fn insert_token(
    conn: &mut Conn,
    hash: &[u8; 32],
    session: Uuid,
    expires_at: Micros,
    at: Micros,
) -> Result<(), SqlError> {
    diesel::insert_into(refresh_tokens::table)
        .values((
            refresh_tokens::hash.eq(hash.as_slice()),
            refresh_tokens::session_id.eq(session),
            refresh_tokens::created_at.eq(at.to_datetime()),
            refresh_tokens::expires_at.eq(expires_at.to_datetime()),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

/// The session with that id.
///
/// # Errors
/// As [`insert`].
pub async fn by_id(conn: &mut Conn, id: Uuid) -> Result<Option<SessionState>, SqlError> {
    sessions::table
        .inner_join(users::table)
        .filter(sessions::id.eq(id))
        .select((sessions::revoked_at, UserRow::as_select()))
        .first::<(Option<DateTime<Utc>>, UserRow)>(conn)
        .await
        .optional()?
        .map(|(revoked_at, user)| session_state(revoked_at, user))
        .transpose()
}

/// The refresh token with that hash.
///
/// # Errors
/// As [`insert`].
pub async fn by_token(conn: &mut Conn, hash: &[u8; 32]) -> Result<Option<TokenState>, SqlError> {
    let row = refresh_tokens::table
        .inner_join(sessions::table.inner_join(users::table))
        .filter(refresh_tokens::hash.eq(hash.as_slice()))
        .select((TokenRow::as_select(), UserRow::as_select()))
        .first::<(TokenRow, UserRow)>(conn)
        .await
        .optional()?;
    row.map(|(token, user)| {
        Ok(TokenState {
            session: token.session_id,
            expires_at: token.expires_at.into(),
            replaced: token.replaced_by.zip(token.replaced_at.map(Micros::from)),
            access_life: token
                .access_life
                .and_then(|life| u64::try_from(life).ok())
                .map(Duration::from_secs),
            state: session_state(token.revoked_at, user)?,
        })
    })
    .transpose()
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = refresh_tokens, check_for_backend(Common))]
struct TokenRow {
    session_id: Uuid,
    expires_at: DateTime<Utc>,
    replaced_by: Option<Vec<u8>>,
    replaced_at: Option<DateTime<Utc>>,
    #[diesel(select_expression = sessions::access_life, select_expression_type = sessions::access_life)]
    access_life: Option<i64>,
    #[diesel(select_expression = sessions::revoked_at, select_expression_type = sessions::revoked_at)]
    revoked_at: Option<DateTime<Utc>>,
}

fn session_state(revoked_at: Option<DateTime<Utc>>, user: UserRow) -> Result<SessionState, SqlError> {
    Ok(SessionState {
        revoked_at: revoked_at.map(Micros::from),
        user: user.try_into()?,
    })
}

/// Lets a refresh token count until `expires_at` and notes that its session was used.
/// Call it within a transaction.
///
/// # Errors
/// As [`insert`].
pub async fn slide(
    conn: &mut Conn,
    hash: &[u8; 32],
    session: Uuid,
    expires_at: Micros,
    at: Micros,
) -> Result<(), SqlError> {
    diesel::update(refresh_tokens::table.find(hash.as_slice()))
        .set(refresh_tokens::expires_at.eq(expires_at.to_datetime()))
        .execute(conn)
        .await?;
    touch(conn, session, at).await
}

/// Puts `successor` in the place of a refresh token, which must have none yet, and notes
/// that its session was used. Call it within a transaction.
///
/// # Errors
/// As [`insert`].
pub async fn replace(
    conn: &mut Conn,
    hash: &[u8; 32],
    successor: &[u8; 32],
    session: Uuid,
    expires_at: Micros,
    at: Micros,
) -> Result<(), SqlError> {
    diesel::update(refresh_tokens::table.find(hash.as_slice()))
        .set((
            refresh_tokens::replaced_by.eq(successor.as_slice()),
            refresh_tokens::replaced_at.eq(at.to_datetime()),
        ))
        .execute(conn)
        .await?;
    insert_token(conn, successor, session, expires_at, at).await?;
    touch(conn, session, at).await
}

/// Notes that a session was used.
///
/// # Errors
/// As [`insert`].
pub async fn touch(conn: &mut Conn, session: Uuid, at: Micros) -> Result<(), SqlError> {
    diesel::update(sessions::table.find(session))
        .set(sessions::last_used_at.eq(at.to_datetime()))
        .execute(conn)
        .await?;
    Ok(())
}

/// The sessions of `user` that stand, the last used first; at most 100.
///
/// # Errors
/// As [`insert`].
pub async fn of_user(conn: &mut Conn, user: UserId) -> Result<Vec<SignInRow>, SqlError> {
    let rows = sessions::table
        .filter(sessions::user_id.eq(user.0))
        .filter(sessions::revoked_at.is_null())
        .order((sessions::last_used_at.desc(), sessions::id))
        .limit(SESSIONS_LISTED)
        .select((
            sessions::id,
            sessions::client,
            sessions::created_at,
            sessions::last_used_at,
        ))
        .load::<(Uuid, Option<String>, DateTime<Utc>, DateTime<Utc>)>(conn)
        .await?;
    let sign_ins = rows
        .into_iter()
        .map(|(id, client, created_at, last_used_at)| SignInRow {
            id,
            client,
            created_at: created_at.into(),
            last_used_at: last_used_at.into(),
        });
    Ok(sign_ins.collect())
}

/// Ends a session of `user`. False: there is none of that name, or it had ended before.
///
/// # Errors
/// As [`insert`].
pub async fn revoke_own(conn: &mut Conn, user: UserId, id: Uuid, at: Micros) -> Result<bool, SqlError> {
    let changed = diesel::update(
        sessions::table
            .find(id)
            .filter(sessions::user_id.eq(user.0))
            .filter(sessions::revoked_at.is_null()),
    )
    .set(sessions::revoked_at.eq(at.to_datetime()))
    .execute(conn)
    .await?;
    Ok(changed == 1)
}

/// Ends every session of `user` and forgets their refresh tokens and what their clients
/// call themselves. Call it within a transaction.
///
/// # Errors
/// As [`insert`].
pub async fn end_all(conn: &mut Conn, user: UserId, at: Micros) -> Result<(), SqlError> {
    let of_user = sessions::table.filter(sessions::user_id.eq(user.0));
    diesel::delete(refresh_tokens::table)
        .filter(refresh_tokens::session_id.eq_any(of_user.select(sessions::id)))
        .execute(conn)
        .await?;
    diesel::update(of_user.filter(sessions::revoked_at.is_null()))
        .set(sessions::revoked_at.eq(at.to_datetime()))
        .execute(conn)
        .await?;
    diesel::update(of_user)
        .set(sessions::client.eq(None::<String>))
        .execute(conn)
        .await?;
    Ok(())
}

/// Ends a session. False: it had ended before, and its end stays where it was.
///
/// # Errors
/// As [`insert`].
pub async fn revoke(conn: &mut Conn, id: Uuid, at: Micros) -> Result<bool, SqlError> {
    let changed = diesel::update(sessions::table.find(id).filter(sessions::revoked_at.is_null()))
        .set(sessions::revoked_at.eq(at.to_datetime()))
        .execute(conn)
        .await?;
    Ok(changed == 1)
}

/// Of `ids` those that stand: known, not revoked, their user active. In no order.
///
/// # Errors
/// As [`insert`].
pub async fn standing(conn: &mut Conn, ids: &[Uuid]) -> Result<Vec<Uuid>, SqlError> {
    let mut standing = Vec::with_capacity(ids.len());
    for ids in ids.chunks(SESSIONS_PER_QUERY) {
        let found = sessions::table
            .inner_join(users::table)
            .filter(sessions::id.eq_any(ids))
            .filter(sessions::revoked_at.is_null())
            .filter(users::status.eq(UserStatus::Active.as_str()))
            .select(sessions::id)
            .load::<Uuid>(conn)
            .await?;
        standing.extend(found);
    }
    Ok(standing)
}

/// Forgets a user's refresh tokens that expired before `before`, then sessions that have
/// none left, and with that keeps the tables from growing with every sign-in.
///
/// # Errors
/// As [`insert`].
pub async fn forget_expired(conn: &mut Conn, user: UserId, before: Micros) -> Result<(), SqlError> {
    let of_user = sessions::table.filter(sessions::user_id.eq(user.0));
    diesel::delete(refresh_tokens::table)
        .filter(refresh_tokens::session_id.eq_any(of_user.select(sessions::id)))
        .filter(refresh_tokens::expires_at.lt(before.to_datetime()))
        .execute(conn)
        .await?;
    let with_token = refresh_tokens::table
        .filter(refresh_tokens::session_id.eq(sessions::id))
        .select(refresh_tokens::session_id);
    diesel::delete(of_user)
        .filter(diesel::dsl::not(diesel::dsl::exists(with_token)))
        .execute(conn)
        .await?;
    Ok(())
}
