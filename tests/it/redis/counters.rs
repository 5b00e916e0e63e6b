//! Counting, on both engines.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use timingle::{
    adapters::{memory::MemoryCounters, redis::RedisCounters},
    ports::{Counters, Left},
};

use super::{keys, node, nodes, redis_cli, settings};
use crate::harness::{servers, until};

const HOUR: Duration = Duration::from_secs(3_600);

async fn an_allowance_is_used_up_and_told(counters: &dyn Counters) {
    for left in (0..5).rev() {
        assert_eq!(counters.take("a", 5, HOUR).await, Ok(Left(left)));
    }
    let refused = counters.take("a", 5, HOUR).await.unwrap_err();
    let twelve_minutes = Duration::from_secs(720);
    assert!(refused.retry_after <= twelve_minutes, "{refused:?}");
    assert!(
        refused.retry_after + Duration::from_secs(30) > twelve_minutes,
        "{refused:?}"
    );
    // Another key, another limit, another window: other allowances.
    assert_eq!(counters.take("b", 5, HOUR).await, Ok(Left(4)));
    assert_eq!(counters.take("a", 6, HOUR).await, Ok(Left(5)));
    assert_eq!(counters.take("a", 5, HOUR * 2).await, Ok(Left(4)));
}

async fn it_refills_evenly(counters: &dyn Counters) {
    let window = Duration::from_millis(1_600);
    let begun = Instant::now();
    for _ in 0..4 {
        counters.take("a", 4, window).await.unwrap();
    }
    let refused = counters.take("a", 4, window).await;
    assert!(refused.is_err(), "{:?}", begun.elapsed());
    let left = until("an allowance", || async {
        counters.take("a", 4, window).await.ok()
    })
    .await;
    assert_eq!(left, Left(0), "one comes back, and not all");
    // Since the first was taken: the quarter of a window.
    assert!(
        begun.elapsed() >= Duration::from_millis(400),
        "{:?}",
        begun.elapsed()
    );
}

async fn nothing_is_allowed_at_zero_and_nothing_limited_in_no_time(counters: &dyn Counters) {
    assert_eq!(counters.take("a", 0, HOUR).await.unwrap_err().retry_after, HOUR);
    for _ in 0..3 {
        assert_eq!(counters.take("a", 1, Duration::ZERO).await, Ok(Left(1)));
    }
}

async fn of_two_hundred_at_once_as_many_succeed_as_are_allowed(nodes: [Arc<dyn Counters>; 2]) {
    let takes: Vec<_> = (0..200)
        .map(|take| {
            let counters = Arc::clone(&nodes[take % 2]);
            tokio::spawn(async move { counters.take("a", 20, HOUR).await.is_ok() })
        })
        .collect();
    let mut successes = 0;
    for take in takes {
        successes += usize::from(take.await.unwrap());
    }
    assert_eq!(successes, 20);
}

#[tokio::test]
async fn memory_counts_as_the_port_says() {
    an_allowance_is_used_up_and_told(&MemoryCounters::new()).await;
    it_refills_evenly(&MemoryCounters::new()).await;
    nothing_is_allowed_at_zero_and_nothing_limited_in_no_time(&MemoryCounters::new()).await;
    let one = Arc::new(MemoryCounters::new());
    of_two_hundred_at_once_as_many_succeed_as_are_allowed([one.clone(), one]).await;
}

#[tokio::test]
async fn redis_counts_as_the_port_says() {
    let counters = async || RedisCounters::new(nodes().await.into_iter().next().unwrap());
    an_allowance_is_used_up_and_told(&counters().await).await;
    it_refills_evenly(&counters().await).await;
    nothing_is_allowed_at_zero_and_nothing_limited_in_no_time(&counters().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_one_allowance() {
    let nodes = nodes()
        .await
        .map(|node| Arc::new(RedisCounters::new(node)) as Arc<dyn Counters>);
    of_two_hundred_at_once_as_many_succeed_as_are_allowed(nodes).await;
}

#[tokio::test]
async fn counts_leave_redis_by_themselves() {
    let server = servers::redis().await;
    let settings = settings(server);
    let counters = RedisCounters::new(node(&settings));
    counters.take("long", 60, HOUR).await.unwrap();
    counters
        .take("short", 2, Duration::from_millis(200))
        .await
        .unwrap();
    let counted = |keys: Vec<String>| keys.iter().filter(|key| key.contains("rate:")).count();
    until("the end of a count", || async {
        (counted(keys(server, &settings.prefix).await) == 1).then_some(())
    })
    .await;
    let key = format!("{}rate:3600000000:60:long", settings.prefix);
    let life: i64 = redis_cli(server, &["PTTL", &key]).await.trim().parse().unwrap();
    assert!(
        (1..=60_000).contains(&life),
        "one of sixty an hour is back in a minute, not {life} ms"
    );
}

#[tokio::test]
async fn a_clock_of_redis_that_was_set_back_blocks_nobody_for_longer_than_a_window() {
    let server = servers::redis().await;
    let settings = settings(server);
    let counters = RedisCounters::new(node(&settings));
    // As if it had been taken by a clock that was a year ahead.
    let key = format!("{}rate:400000:2:a", settings.prefix);
    let ahead = clock(server).await + 365 * 24 * 3_600 * 1_000_000;
    redis_cli(server, &["SET", &key, &ahead.to_string(), "PX", "60000"]).await;
    let window = Duration::from_millis(400);
    let refused = counters.take("a", 2, window).await.unwrap_err();
    assert!(refused.retry_after <= window, "{refused:?}");
}

async fn clock(server: std::net::SocketAddr) -> i64 {
    let time = redis_cli(server, &["TIME"]).await;
    let [seconds, micros]: [i64; 2] = time
        .lines()
        .map(|line| line.parse().unwrap())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    seconds * 1_000_000 + micros
}
