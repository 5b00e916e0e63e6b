//! Counts what happens on all nodes together, to limit how often it may.

use std::time::Duration;

use async_trait::async_trait;
use bb8_redis::redis::cmd;

use super::server::Redis;
use crate::{
    adapters::memory::MemoryCounters,
    metrics,
    ports::{Counters, Left, RateLimited},
};

const TAKE: &str = include_str!("scripts/take.lua");

/// Counts shared by all nodes. An allowance refills evenly, by the clock of the Redis server:
/// setting that one back blocks nobody for longer than a window.
///
/// While Redis does not answer the node counts by itself, anew.
pub struct RedisCounters {
    redis: Redis,
    alone: MemoryCounters,
}

impl RedisCounters {
    /// Counts on `redis`.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            alone: MemoryCounters::new(),
        }
    }
}

#[async_trait]
impl Counters for RedisCounters {
    async fn take(&self, key: &str, limit: u32, window: Duration) -> Result<Left, RateLimited> {
        let each = window.as_micros() / u128::from(limit.max(1));
        // Nothing is allowed, nothing is limited, or a window longer than numbers of a script
        // are exact for (285 years).
        if limit == 0 || each == 0 || window.as_micros() >= 1 << 53 {
            return self.alone.take(key, limit, window).await;
        }
        let key_there = self
            .redis
            .key(format_args!("rate:{}:{limit}:{key}", window.as_micros()));
        let mut take = cmd("EVAL");
        take.arg(TAKE).arg(1).arg(key_there).arg(limit);
        take.arg(u64::try_from(each).unwrap_or(u64::MAX));
        match self.redis.ask::<(bool, u64)>(&take).await {
            Ok((true, left)) => Ok(Left(u32::try_from(left).unwrap_or(limit).min(limit))),
            Ok((false, wait)) => Err(RateLimited {
                retry_after: Duration::from_micros(wait).min(window),
            }),
            Err(_) => {
                metrics::counted_alone();
                self.alone.take(key, limit, window).await
            }
        }
    }
}
