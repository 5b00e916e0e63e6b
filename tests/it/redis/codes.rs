//! One-time codes, on both engines.

use std::{sync::Arc, time::Duration};

use timingle::{
    adapters::{
        memory::MemoryCodes,
        redis::{Redis, RedisCodes},
    },
    domain::{
        phone::Phone,
        time::{Clock, Micros},
    },
    ports::{CodeCheck, OneTimeCodes, PendingCode},
};
use uuid::Uuid;

use super::{keys, node, nodes, redis_cli, settings};
use crate::harness::{servers, until};

const RIGHT: [u8; 32] = [1; 32];
const WRONG: [u8; 32] = [2; 32];
const NUMBER: &str = "+821012345678";
/// 2030-01-01.
const NOW: Micros = Micros(1_893_456_000_000_000);

fn in_so_many_ms(ms: u64) -> Micros {
    NOW.plus(Duration::from_millis(ms))
}

fn code(expires_at: Micros) -> PendingCode {
    PendingCode {
        phone: Phone::from_stored(NUMBER.to_owned()),
        hash: RIGHT,
        expires_at,
        tries_left: 3,
    }
}

fn clock() -> Clock {
    Clock::from_fn(|| NOW)
}

fn on(redis: Redis) -> RedisCodes {
    let secret = "only-for-tests-0123456789-0123456789".into();
    RedisCodes::new(redis, &secret, clock()).unwrap()
}

async fn a_code_counts_once_and_until_it_expires(codes: &dyn OneTimeCodes) {
    let right = CodeCheck::Right(Phone::from_stored(NUMBER.to_owned()));
    let [once, late] = [Uuid::new_v4(), Uuid::new_v4()];
    codes.put(once, code(in_so_many_ms(60_000))).await.unwrap();
    codes.put(late, code(in_so_many_ms(60_000))).await.unwrap();
    let check = async |id, now| codes.check(id, RIGHT, now).await.unwrap();
    assert_eq!(check(once, in_so_many_ms(59_999)).await, right);
    assert_eq!(check(once, in_so_many_ms(59_999)).await, CodeCheck::Gone);
    assert_eq!(check(late, in_so_many_ms(60_000)).await, CodeCheck::Gone);
    assert_eq!(check(Uuid::new_v4(), NOW).await, CodeCheck::Gone);
    // One that is over already is not kept, whatever stood there before.
    codes.put(late, code(in_so_many_ms(60_000))).await.unwrap();
    codes.put(late, code(NOW)).await.unwrap();
    assert_eq!(check(late, NOW).await, CodeCheck::Gone);
}

async fn wrong_tries_void_a_code(codes: &dyn OneTimeCodes) {
    let id = Uuid::new_v4();
    codes.put(id, code(in_so_many_ms(60_000))).await.unwrap();
    for tries_left in [2, 1, 0] {
        assert_eq!(
            codes.check(id, WRONG, NOW).await.unwrap(),
            CodeCheck::Wrong { tries_left }
        );
    }
    assert_eq!(codes.check(id, RIGHT, NOW).await.unwrap(), CodeCheck::Gone);
}

async fn of_parallel_right_tries_one_wins(nodes: [Arc<dyn OneTimeCodes>; 2]) {
    let id = Uuid::new_v4();
    nodes[0].put(id, code(in_so_many_ms(60_000))).await.unwrap();
    assert_eq!(outcomes(&nodes, id, RIGHT).await, (1, 49, 0));
}

async fn parallel_wrong_tries_are_as_many_as_allowed(nodes: [Arc<dyn OneTimeCodes>; 2]) {
    let id = Uuid::new_v4();
    nodes[0].put(id, code(in_so_many_ms(60_000))).await.unwrap();
    assert_eq!(outcomes(&nodes, id, WRONG).await, (0, 47, 3));
}

/// How many of fifty tries at once are right, too late, wrong.
async fn outcomes(nodes: &[Arc<dyn OneTimeCodes>; 2], id: Uuid, hash: [u8; 32]) -> (usize, usize, usize) {
    let tries: Vec<_> = (0..50)
        .map(|attempt| {
            let codes = Arc::clone(&nodes[attempt % 2]);
            tokio::spawn(async move { codes.check(id, hash, NOW).await.unwrap() })
        })
        .collect();
    let mut outcomes = (0, 0, 0);
    for attempt in tries {
        match attempt.await.unwrap() {
            CodeCheck::Right(_) => outcomes.0 += 1,
            CodeCheck::Gone => outcomes.1 += 1,
            CodeCheck::Wrong { .. } => outcomes.2 += 1,
        }
    }
    outcomes
}

#[tokio::test]
async fn memory_keeps_codes_as_the_port_says() {
    let codes = MemoryCodes::new(clock());
    a_code_counts_once_and_until_it_expires(&codes).await;
    wrong_tries_void_a_code(&codes).await;
    let one: Arc<dyn OneTimeCodes> = Arc::new(codes);
    of_parallel_right_tries_one_wins([one.clone(), one.clone()]).await;
    parallel_wrong_tries_are_as_many_as_allowed([one.clone(), one]).await;
}

#[tokio::test]
async fn redis_keeps_codes_as_the_port_says() {
    let [codes, _] = nodes().await.map(on);
    a_code_counts_once_and_until_it_expires(&codes).await;
    wrong_tries_void_a_code(&codes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_race_for_a_code_let_it_count_once() {
    let nodes = nodes()
        .await
        .map(|node| Arc::new(on(node)) as Arc<dyn OneTimeCodes>);
    of_parallel_right_tries_one_wins(nodes.clone()).await;
    parallel_wrong_tries_are_as_many_as_allowed(nodes).await;
}

#[tokio::test]
async fn who_reads_redis_learns_no_number_and_who_writes_there_can_forge_none() {
    let server = servers::redis().await;
    let settings = settings(server);
    let codes = on(node(&settings));
    let [mine, theirs] = [Uuid::new_v4(), Uuid::new_v4()];
    codes.put(mine, code(in_so_many_ms(60_000))).await.unwrap();
    codes.put(theirs, code(in_so_many_ms(60_000))).await.unwrap();
    let key = |id| format!("{}code:{id}", settings.prefix);
    let kept = redis_cli(server, &["HGETALL", &key(mine)]).await;
    for piece in [NUMBER, "1012345678", "12345678"] {
        assert!(!kept.contains(piece), "{kept}");
    }
    let script = "redis.call('HSET', KEYS[1], 'number', redis.call('HGET', KEYS[2], 'number'))";
    redis_cli(server, &["EVAL", script, "2", &key(mine), &key(theirs)]).await;
    assert_eq!(codes.check(mine, RIGHT, NOW).await.unwrap(), CodeCheck::Gone);
    // A node with another secret is not of this installation.
    let stranger = RedisCodes::new(
        node(&settings),
        &"another-secret-0123456789-0123456789".into(),
        clock(),
    );
    assert_eq!(
        stranger.unwrap().check(theirs, RIGHT, NOW).await.unwrap(),
        CodeCheck::Gone
    );
}

#[tokio::test]
async fn codes_leave_redis_by_themselves() {
    let server = servers::redis().await;
    let settings = settings(server);
    let codes = on(node(&settings));
    codes.put(Uuid::new_v4(), code(in_so_many_ms(300))).await.unwrap();
    until("the end of a code", || async {
        let keys = keys(server, &settings.prefix).await;
        (!keys.iter().any(|key| key.contains("code:"))).then_some(())
    })
    .await;
}
