//! Signed-in sessions and the refresh tokens that belong to them.
//!
//! A refresh token is kept as its SHA-256: with 256 random bits in it there is nothing
//! to guess, and what stands here opens nothing.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::{
    Conn, SqlError,
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
    /// That session and its user.
    pub state: SessionState,
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
        ))
        .execute(conn)
        .await?;
    diesel::insert_into(refresh_tokens::table)
        .values((
            refresh_tokens::hash.eq(new.token_hash.as_slice()),
            refresh_tokens::session_id.eq(new.id),
            refresh_tokens::created_at.eq(at),
            refresh_tokens::expires_at.eq(new.token_expires_at.to_datetime()),
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
        .select((
            refresh_tokens::session_id,
            refresh_tokens::expires_at,
            sessions::revoked_at,
            UserRow::as_select(),
        ))
        .first::<(Uuid, DateTime<Utc>, Option<DateTime<Utc>>, UserRow)>(conn)
        .await
        .optional()?;
    row.map(|(session, expires_at, revoked_at, user)| {
        Ok(TokenState {
            session,
            expires_at: expires_at.into(),
            state: session_state(revoked_at, user)?,
        })
    })
    .transpose()
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
    diesel::update(sessions::table.find(session))
        .set(sessions::last_used_at.eq(at.to_datetime()))
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

/// Forgets a user's refresh tokens that expired before `before`, and with that keeps
/// the table from growing with every sign-in.
///
/// # Errors
/// As [`insert`].
pub async fn forget_expired(conn: &mut Conn, user: UserId, before: Micros) -> Result<(), SqlError> {
    let of_user = sessions::table
        .filter(sessions::user_id.eq(user.0))
        .select(sessions::id);
    diesel::delete(refresh_tokens::table)
        .filter(refresh_tokens::session_id.eq_any(of_user))
        .filter(refresh_tokens::expires_at.lt(before.to_datetime()))
        .execute(conn)
        .await?;
    Ok(())
}
