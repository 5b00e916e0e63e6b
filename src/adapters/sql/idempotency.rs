//! Rows of `idempotency_keys`: answers to creations, for who asks again.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::{Conn, SqlError, schema::idempotency_keys as keys};
use crate::domain::{id::UserId, time::Micros};

/// What was asked under a key, and what was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptAnswer {
    /// SHA-256 of what was asked.
    pub fingerprint: Vec<u8>,
    /// What was answered; null until the transaction that makes it has come to its end.
    pub answer: Value,
}

/// Takes the key for `user`, unless it is taken. Whether it was free.
///
/// Of two transactions that want the same key the second waits for the end of the first.
///
/// # Errors
/// The store failed, or there is no such user.
pub async fn claim(
    conn: &mut Conn,
    user: UserId,
    key: &str,
    fingerprint: [u8; 32],
    now: Micros,
) -> Result<bool, SqlError> {
    let taken = diesel::insert_into(keys::table)
        .values((
            keys::user_id.eq(user.0),
            keys::key.eq(key),
            keys::fingerprint.eq(fingerprint.to_vec()),
            keys::answer.eq(Value::Null),
            keys::created_at.eq(now.to_datetime()),
        ))
        .on_conflict((keys::user_id, keys::key))
        .do_nothing()
        .execute(conn)
        .await?;
    Ok(taken > 0)
}

/// Writes down what was answered to who holds the key.
///
/// # Errors
/// The store failed.
pub async fn keep(conn: &mut Conn, user: UserId, key: &str, answer: &Value) -> Result<(), SqlError> {
    diesel::update(keys::table.find((user.0, key)))
        .set(keys::answer.eq(answer))
        .execute(conn)
        .await?;
    Ok(())
}

/// What was asked and answered under the key, if it is taken.
///
/// # Errors
/// The store failed.
pub async fn find(conn: &mut Conn, user: UserId, key: &str) -> Result<Option<KeptAnswer>, SqlError> {
    let kept = keys::table
        .find((user.0, key))
        .select((keys::fingerprint, keys::answer))
        .first::<(Vec<u8>, Value)>(conn)
        .await
        .optional()?;
    Ok(kept.map(|(fingerprint, answer)| KeptAnswer { fingerprint, answer }))
}

/// Frees the key if it was taken before `before`.
///
/// # Errors
/// The store failed.
pub async fn free_if_older(conn: &mut Conn, user: UserId, key: &str, before: Micros) -> Result<(), SqlError> {
    diesel::delete(
        keys::table
            .find((user.0, key))
            .filter(keys::created_at.lt(before.to_datetime())),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Frees keys that were taken before `before`, the oldest first, at most `limit`. How many.
///
/// # Errors
/// The store failed.
pub async fn free_older(conn: &mut Conn, before: Micros, limit: i64) -> Result<usize, SqlError> {
    let old: Vec<(i64, String)> = keys::table
        .filter(keys::created_at.lt(before.to_datetime()))
        .order(keys::created_at)
        .limit(limit)
        .select((keys::user_id, keys::key))
        .load(conn)
        .await?;
    for (user, key) in &old {
        // Once more by age: the key may have been freed and taken anew in between.
        free_if_older(conn, UserId(*user), key, before).await?;
    }
    Ok(old.len())
}

/// Forgets every key of `user`, with what was answered.
///
/// # Errors
/// The store failed.
pub async fn forget_of(conn: &mut Conn, user: UserId) -> Result<(), SqlError> {
    diesel::delete(keys::table.filter(keys::user_id.eq(user.0)))
        .execute(conn)
        .await?;
    Ok(())
}
