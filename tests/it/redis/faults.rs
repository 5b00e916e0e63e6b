//! What the adapters do while Redis is away, stalled, full, or a read-only copy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use timingle::{
    adapters::redis::{RedisCodes, RedisCounters, RedisPresence},
    domain::{
        id::UserId,
        phone::Phone,
        time::{Clock, Micros},
    },
    ports::{CodeCheck, Counters as _, Left, OneTimeCodes as _, PendingCode, Presence as _},
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{node, redis_cli, settings};
use crate::harness::{
    proxy::{Proxy, Way},
    servers::{self, Engine, Private},
    until,
};

const HOUR: Duration = Duration::from_secs(3_600);
const HASH: [u8; 32] = [7; 32];

fn codes(redis: timingle::adapters::redis::Redis) -> RedisCodes {
    let secret = "only-for-tests-0123456789-0123456789".into();
    RedisCodes::new(redis, &secret, Clock::from_fn(|| Micros(0))).unwrap()
}

fn code() -> PendingCode {
    PendingCode {
        phone: Phone::from_stored("+821012345678".to_owned()),
        hash: HASH,
        expires_at: Micros(60_000_000),
        tries_left: 3,
    }
}

/// Until a count stands in Redis: a node that counts by itself takes nothing from there.
async fn until_shared(one: &RedisCounters, two: &RedisCounters) {
    until("shared counters", || async {
        let key = Uuid::new_v4().to_string();
        one.take(&key, 100, HOUR).await.unwrap();
        let left = two.take(&key, 100, HOUR).await.unwrap();
        (left == Left(98)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stalls_costs_one_deadline_and_then_nothing() {
    let proxy = Proxy::to(servers::redis().await).await;
    let mut settings = settings(proxy.address());
    settings.timeout = Duration::from_millis(250);
    let redis = node(&settings);
    let counters = Arc::new(RedisCounters::new(redis.clone()));
    let codes = codes(redis.clone());
    until("an answer", || async { redis.answers().await.then_some(()) }).await;
    counters.take("a", 3, HOUR).await.unwrap();

    proxy.stall();
    let begun = Instant::now();
    let takes: Vec<_> = (0..500)
        .map(|_| {
            let counters = Arc::clone(&counters);
            tokio::spawn(async move { counters.take("a", 3, HOUR).await.is_ok() })
        })
        .collect();
    let mut allowed = 0;
    for take in takes {
        allowed += usize::from(take.await.unwrap());
    }
    for _ in 0..500 {
        assert!(counters.take("a", 3, HOUR).await.is_err());
    }
    let elapsed = begun.elapsed();
    assert_eq!(allowed, 3, "the node's own count decides, anew");
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?} for 1,000 counts");
    eprintln!("1,000 counts with a stalled Redis: {elapsed:?}");
    let refused = codes.put(Uuid::new_v4(), code()).await;
    assert!(refused.is_err());
    assert!(!redis.answers().await);

    proxy.heal();
    until_shared(&counters, &RedisCounters::new(node(&settings))).await;
    assert!(
        counters.take("a", 3, HOUR).await.is_ok(),
        "what Redis counted before is one of three"
    );
}

#[tokio::test]
async fn a_try_on_a_dead_connection_uses_no_code_up() {
    let proxy = Proxy::to(servers::redis().await).await;
    let mut settings = settings(proxy.address());
    settings.timeout = Duration::from_millis(500);
    let redis = node(&settings);
    let codes = codes(redis.clone());
    let id = Uuid::new_v4();
    until("a kept code", || async { codes.put(id, code()).await.ok() }).await;
    proxy.stall_one_way(Way::Answers);
    assert!(codes.check(id, HASH, Micros(1)).await.is_err());
    proxy.drop_connections();
    proxy.heal();
    // It was asked for a sign of life first, and that is where it ended: the code still counts.
    let check = || async { codes.check(id, HASH, Micros(1)).await.ok() };
    let first = until("an answer", check).await;
    assert_eq!(
        first,
        CodeCheck::Right(Phone::from_stored("+821012345678".to_owned()))
    );
    assert_eq!(check().await, Some(CodeCheck::Gone));
}

#[tokio::test]
async fn connections_that_broke_unnoticed_refuse_nobody() {
    let proxy = Proxy::to(servers::redis().await).await;
    let settings = settings(proxy.address());
    let redis = node(&settings);
    let (counters, codes) = (RedisCounters::new(redis.clone()), codes(redis));
    for round in 0..5 {
        let id = Uuid::new_v4();
        codes.put(id, code()).await.unwrap();
        assert_eq!(counters.take("a", 100, HOUR).await, Ok(Left(99 - 2 * round)));
        proxy.drop_connections();
        assert_eq!(counters.take("a", 100, HOUR).await, Ok(Left(98 - 2 * round)));
        proxy.drop_connections();
        let right = CodeCheck::Right(Phone::from_stored("+821012345678".to_owned()));
        assert_eq!(codes.check(id, HASH, Micros(1)).await.unwrap(), right);
    }
}

#[tokio::test]
async fn a_server_killed_and_back_is_used_again_by_itself() {
    let server = Private::redis().await;
    let mut settings = settings(server.address());
    settings.timeout = Duration::from_millis(500);
    let (one, two) = (node(&settings), node(&settings));
    let (counters, others) = (RedisCounters::new(one.clone()), RedisCounters::new(two.clone()));
    let codes = codes(one.clone());
    let (here, _task) = RedisPresence::new(one.clone(), &Handle::current());
    let (there, _task) = RedisPresence::new(two, &Handle::current());
    let lost = Uuid::new_v4();
    codes.put(lost, code()).await.unwrap();
    here.came(UserId(1), Micros(1)).await;
    here.came(UserId(2), Micros(1)).await;
    let is_there = async |user| there.of(&[user]).await.first().map(|seen| seen.elsewhere);
    until("presence", || async {
        (is_there(UserId(2)).await == Some(true)).then_some(())
    })
    .await;

    server.kill().await;
    assert!(codes.put(Uuid::new_v4(), code()).await.is_err());
    assert_eq!(counters.take("a", 3, HOUR).await, Ok(Left(2)));
    assert_eq!(there.of(&[UserId(1)]).await, [], "nothing is known");
    here.went(UserId(2), Micros(2)).await;

    server.start().await;
    until_shared(&counters, &others).await;
    assert_eq!(codes.check(lost, HASH, Micros(1)).await.unwrap(), CodeCheck::Gone);
    until("who is here", || async {
        (is_there(UserId(1)).await == Some(true)).then_some(())
    })
    .await;
    assert_eq!(
        is_there(UserId(2)).await,
        Some(false),
        "went while Redis was away"
    );
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_found_when_it_comes() {
    let server = Private::down(Engine::Redis, 1).await;
    let mut settings = settings(server.address());
    settings.timeout = Duration::from_millis(500);
    let redis = node(&settings);
    let counters = RedisCounters::new(redis.clone());
    assert!(!redis.answers().await);
    assert_eq!(counters.take("a", 3, HOUR).await, Ok(Left(2)));
    server.start().await;
    until_shared(&counters, &RedisCounters::new(node(&settings))).await;
    assert!(redis.answers().await);
}

#[tokio::test]
async fn a_server_that_answers_and_takes_nothing_is_as_good_as_away() {
    let server = Private::redis().await;
    let settings = settings(server.address());
    let redis = node(&settings);
    let (counters, codes) = (RedisCounters::new(redis.clone()), codes(redis.clone()));
    until("an answer", || async { redis.answers().await.then_some(()) }).await;
    // A copy of a server that cannot be reached: it reads, and does not write.
    redis_cli(server.address(), &["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(counters.take("a", 3, HOUR).await, Ok(Left(2)));
    assert_eq!(counters.take("a", 3, HOUR).await, Ok(Left(1)));
    assert!(codes.put(Uuid::new_v4(), code()).await.is_err());
    assert!(!redis.answers().await);
    redis_cli(server.address(), &["REPLICAOF", "NO", "ONE"]).await;
    // No room.
    redis_cli(server.address(), &["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(counters.take("a", 3, HOUR).await, Ok(Left(0)));
    assert!(codes.put(Uuid::new_v4(), code()).await.is_err());
    redis_cli(server.address(), &["CONFIG", "SET", "maxmemory", "0"]).await;
    until_shared(&counters, &RedisCounters::new(node(&settings))).await;
}
