//! A creation that is asked for twice happens once.
//!
//! A client gives its request a key. The transaction that creates also takes the key and
//! keeps what is answered, so that there is never the one without the other; who asks
//! again under the key is answered the same.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::problems::Problems;
use crate::{
    adapters::sql::{Conn, Sql, SqlError, idempotency as keys, users},
    domain::{
        id::UserId,
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
    i18n::{Language, name_or_unknown},
};

/// The longest key in bytes.
const MAX_KEY_BYTES: usize = 200;

/// Keys that are forgotten in one transaction.
const BATCH: i64 = 500;

/// How often old keys are looked for.
const TIDY: Duration = Duration::from_secs(60);

/// A client's key for one request of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    key: String,
    fingerprint: [u8; 32],
    life: Duration,
}

impl IdempotencyKey {
    /// The key `key`, which counts for `life`, of a request with this method, path and body.
    ///
    /// # Errors
    /// The key has not 1-200 visible ASCII characters.
    pub fn new(key: &str, method: &str, path: &str, body: &[u8], life: Duration) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) || !is_visible {
            problems.note(
                "/Idempotency-Key",
                format!("1-{MAX_KEY_BYTES} visible ASCII characters"),
            );
        }
        let mut sha = Sha256::new();
        // No method or path holds a line feed.
        for line in [method, path] {
            sha.update(line);
            sha.update(b"\n");
        }
        sha.update(body);
        problems.or(Self {
            key: key.to_owned(),
            fingerprint: sha.finalize().into(),
            life,
        })
    }
}

/// What a creation is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The thing made, as JSON.
    pub body: Value,
    /// Whether an earlier request made it.
    pub is_repeat: bool,
}

/// The key was used for another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key was used for another request")]
pub struct KeyReused;

impl Coded for KeyReused {
    fn code(&self) -> ErrorCode {
        ErrorCode::IdempotencyKeyReused
    }

    fn details(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// Takes the key in the transaction that is about to create; `Some` is what an earlier
/// request with this key was answered, and then there is nothing to create.
///
/// # Errors
/// [`KeyReused`], or the store failed: the caller rolls back.
pub(super) async fn begin<E: From<KeyReused> + From<SqlError>>(
    conn: &mut Conn,
    user: UserId,
    key: Option<&IdempotencyKey>,
    now: Micros,
) -> Result<Option<Answer>, E> {
    let Some(IdempotencyKey {
        key,
        fingerprint,
        life,
    }) = key
    else {
        return Ok(None);
    };
    keys::free_if_older(conn, user, key, before(now, *life)).await?;
    if keys::claim(conn, user, key, *fingerprint, now).await? {
        return Ok(None);
    }
    match keys::find(conn, user, key).await? {
        Some(kept) if kept.fingerprint == fingerprint => Ok(Some(Answer {
            body: with_names(conn, user, kept.answer).await?,
            is_repeat: true,
        })),
        Some(_) => Err(KeyReused.into()),
        None => Err(SqlError::corrupt("an idempotency key is taken and is not there").into()),
    }
}

/// Keeps what was created, in the same transaction as [`begin`], and answers it.
///
/// # Errors
/// The store failed: the caller rolls back, and the key is free again.
pub(super) async fn finish(
    conn: &mut Conn,
    user: UserId,
    key: Option<&IdempotencyKey>,
    made: &impl serde::Serialize,
) -> Result<Answer, SqlError> {
    let body = serde_json::to_value(made).map_err(SqlError::corrupt)?;
    if let Some(key) = key {
        let mut kept = body.clone();
        // Names are joined when something is shown: so they change, and go with an account.
        visit_people(&mut kept, &mut |_, name| name.clear());
        keys::keep(conn, user, &key.key, &kept).await?;
    }
    Ok(Answer {
        body,
        is_repeat: false,
    })
}

/// A kept answer with the names that people have now, for `reader`.
async fn with_names(conn: &mut Conn, reader: UserId, mut answer: Value) -> Result<Value, SqlError> {
    let mut people = Vec::new();
    visit_people(&mut answer, &mut |id, _| people.push(id));
    if people.is_empty() {
        return Ok(answer);
    }
    let names = users::names(conn, &people).await?;
    let language = users::by_id(conn, reader).await?;
    let language = language.and_then(|user| Language::from_tag(&user.language));
    let unknown = name_or_unknown(language.unwrap_or_default(), None);
    visit_people(&mut answer, &mut |id, name| {
        names.get(&id).unwrap_or(&unknown).clone_into(name);
    });
    Ok(answer)
}

/// Every person in an answer: an object with a number and a name.
fn visit_people(answer: &mut Value, visit: &mut impl FnMut(UserId, &mut String)) {
    match answer {
        Value::Object(members) => {
            let id = members.get("id").and_then(Value::as_i64);
            if let (Some(id), Some(Value::String(name))) = (id, members.get_mut("name")) {
                visit(UserId(id), name);
            }
            members
                .values_mut()
                .for_each(|member| visit_people(member, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| visit_people(item, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn before(now: Micros, life: Duration) -> Micros {
    Micros(
        now.0
            .saturating_sub(i64::try_from(life.as_micros()).unwrap_or(i64::MAX)),
    )
}

/// Forgets, for ever, the keys that are older than `life`.
pub async fn forget_old_keys(sql: Sql, clock: Clock, life: Duration) {
    let mut away = false;
    loop {
        tokio::time::sleep(TIDY).await;
        match forget(&sql, before(clock.now(), life)).await {
            Ok(()) => away = false,
            Err(error) if !away => {
                away = true;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "old idempotency keys cannot be forgotten");
            }
            Err(_) => {}
        }
    }
}

/// Forgets the keys from before `before`, batch by batch, so that others can write in between.
async fn forget(sql: &Sql, before: Micros) -> Result<(), SqlError> {
    loop {
        let freed = sql
            .write(async |conn| Ok::<_, SqlError>(keys::free_older(conn, before, BATCH).await?))
            .await?;
        if i64::try_from(freed).unwrap_or(i64::MAX) < BATCH {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}
