//! One-time codes on their way, for all nodes.

use async_trait::async_trait;
use bb8_redis::redis::{cmd, pipe};
use secrecy::SecretString;
use uuid::Uuid;

use super::{
    seal::{Seal, SealError},
    server::Redis,
};
use crate::{
    domain::time::{Clock, Micros},
    ports::{CodeCheck, CodesUnavailable, OneTimeCodes, PendingCode},
};

const CHECK: &str = include_str!("scripts/check.lua");

/// One-time codes shared by all nodes. A Redis that lost them makes them [`CodeCheck::Gone`].
///
/// Whoever reads Redis learns neither code nor number; whoever writes there cannot have a code
/// prove another number.
pub struct RedisCodes {
    redis: Redis,
    seal: Seal,
    clock: Clock,
}

impl RedisCodes {
    /// Codes on `redis`. `secret` is the same on all nodes; `clock` says how long a code has to
    /// be kept.
    ///
    /// # Errors
    /// The cryptography library refuses its work.
    pub fn new(redis: Redis, secret: &SecretString, clock: Clock) -> Result<Self, SealError> {
        Ok(Self {
            redis,
            seal: Seal::new(secret)?,
            clock,
        })
    }

    fn key(&self, id: Uuid) -> String {
        self.redis.key(format_args!("code:{id}"))
    }
}

#[async_trait]
impl OneTimeCodes for RedisCodes {
    async fn put(&self, id: Uuid, code: PendingCode) -> Result<(), CodesUnavailable> {
        let key = self.key(id);
        let number = self.seal.close(id, &code.phone).map_err(unavailable)?;
        let life_ms = code.expires_at.0.saturating_sub(self.clock.now().0) / 1_000;
        let mut all = pipe();
        all.atomic().del(&key).ignore();
        if life_ms > 0 {
            all.hset_multiple(
                &key,
                &[
                    ("hash", &code.hash[..]),
                    ("number", &number),
                    ("expires", code.expires_at.0.to_string().as_bytes()),
                    ("tries", code.tries_left.to_string().as_bytes()),
                ],
            )
            .ignore();
            all.pexpire(&key, life_ms).ignore();
        }
        self.redis.ask_all(&all).await.map_err(unavailable)
    }

    async fn check(&self, id: Uuid, hash: [u8; 32], now: Micros) -> Result<CodeCheck, CodesUnavailable> {
        let mut check = cmd("EVAL");
        check
            .arg(CHECK)
            .arg(1)
            .arg(self.key(id))
            .arg(&hash[..])
            .arg(now.0);
        let (what, more) = self
            .redis
            .ask_once::<(String, Vec<u8>)>(&check)
            .await
            .map_err(unavailable)?;
        Ok(match (what.as_str(), more) {
            ("right", number) => self.seal.open(id, number).map_or_else(
                || {
                    tracing::warn!("the number of a one-time code cannot be read: another secret sealed it");
                    CodeCheck::Gone
                },
                CodeCheck::Right,
            ),
            ("wrong", left) => CodeCheck::Wrong {
                tries_left: std::str::from_utf8(&left)
                    .ok()
                    .and_then(|left| left.parse().ok())
                    .unwrap_or(0),
            },
            _ => CodeCheck::Gone,
        })
    }
}

fn unavailable(why: impl std::error::Error + Send + Sync + 'static) -> CodesUnavailable {
    CodesUnavailable(Box::new(why))
}
