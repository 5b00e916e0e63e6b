//! Who is where, on both engines.

use std::time::Duration;

use timingle::{
    adapters::{
        memory::MemoryPresence,
        redis::{Redis, RedisPresence},
    },
    domain::{id::UserId, time::Micros},
    ports::{Presence, Seen},
};
use tokio::{runtime::Handle, task::JoinHandle};

use super::{keys, node, nodes, redis_cli, settings};
use crate::harness::{servers, until};

fn here(redis: Redis) -> (RedisPresence, JoinHandle<()>) {
    RedisPresence::new(redis, &Handle::current())
}

const ADA: UserId = UserId(1);
const MIN: UserId = UserId(2);

async fn what_this_node_was_told_is_known_at_once(presence: &dyn Presence) {
    assert_eq!(presence.of(&[]).await, []);
    assert_eq!(presence.of(&[MIN, ADA]).await, [Seen::default(); 2]);
    presence.came(ADA, Micros(4)).await;
    presence.went(ADA, Micros(5)).await;
    presence.came(ADA, Micros(6)).await;
    presence.went(ADA, Micros(7)).await;
    let gone = Seen {
        elsewhere: false,
        at: Some(Micros(7)),
    };
    assert_eq!(presence.of(&[MIN, ADA]).await, [Seen::default(), gone]);
}

async fn waits_for(presence: &RedisPresence, user: UserId, elsewhere: bool) -> Seen {
    until("what the other node said", || async {
        let seen = presence.of(&[user]).await;
        seen.into_iter().find(|seen| seen.elsewhere == elsewhere)
    })
    .await
}

#[tokio::test]
async fn memory_keeps_presence_as_the_port_says() {
    what_this_node_was_told_is_known_at_once(&MemoryPresence::new()).await;
}

#[tokio::test]
async fn redis_keeps_presence_as_the_port_says() {
    let [one, _] = nodes().await;
    what_this_node_was_told_is_known_at_once(&here(one).0).await;
}

#[tokio::test]
async fn a_node_tells_the_others_who_is_on_it() {
    let [one, two] = nodes().await;
    let ((one, _), (two, _)) = (here(one), here(two));
    one.came(ADA, Micros(5)).await;
    let seen = waits_for(&two, ADA, true).await;
    assert_eq!(seen.at, Some(Micros(5)));
    let own = one.of(&[ADA]).await;
    assert!(!own[0].elsewhere, "elsewhere is not here: {own:?}");
    // On both, then on the other one alone, then nowhere.
    two.came(ADA, Micros(6)).await;
    waits_for(&one, ADA, true).await;
    one.went(ADA, Micros(7)).await;
    waits_for(&two, ADA, false).await;
    assert!(one.of(&[ADA]).await[0].elsewhere);
    two.went(ADA, Micros(8)).await;
    let seen = until("the last going", || async {
        let seen = one.of(&[ADA]).await[0];
        (seen.at == Some(Micros(8))).then_some(seen)
    })
    .await;
    assert!(!seen.elsewhere, "{seen:?}");
}

#[tokio::test]
async fn more_users_than_go_into_one_question_are_answered_in_their_order() {
    let [one, two] = nodes().await;
    let ((one, _), (two, _)) = (here(one), here(two));
    for user in (1..=250).filter(|user| user % 3 == 0) {
        one.came(UserId(user), Micros(user)).await;
    }
    let users: Vec<UserId> = (1..=250).rev().map(UserId).collect();
    until("all of them", || async {
        let seen = two.of(&users).await;
        assert_eq!(seen.len(), users.len());
        let right = users.iter().zip(&seen).all(|(user, seen)| {
            let comes = user.0 % 3 == 0;
            *seen
                == Seen {
                    elsewhere: comes,
                    at: comes.then_some(Micros(user.0)),
                }
        });
        right.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_died_has_nobody_and_one_that_left_says_so() {
    let server = servers::redis().await;
    let settings = settings(server);
    let (watcher, _) = here(node(&settings));
    let (dies, its_life) = here(node(&settings));
    let (leaves, its_stay) = here(node(&settings));
    dies.came(ADA, Micros(1)).await;
    leaves.came(MIN, Micros(2)).await;
    waits_for(&watcher, ADA, true).await;
    waits_for(&watcher, MIN, true).await;
    its_stay.abort();
    leaves.leave().await;
    waits_for(&watcher, MIN, false).await;

    its_life.abort();
    let nodes: Vec<String> = keys(server, &settings.prefix).await;
    let nodes: Vec<&String> = nodes.iter().filter(|key| key.contains("node:")).collect();
    assert_eq!(nodes.len(), 2, "the watcher and the dead one: {nodes:?}");
    for key in &nodes {
        let life: i64 = redis_cli(server, &["PTTL", key]).await.trim().parse().unwrap();
        assert!((1..=15_000).contains(&life), "{life} ms");
        // Time flies.
        redis_cli(server, &["PEXPIRE", key, "1"]).await;
    }
    let seen = waits_for(&watcher, ADA, false).await;
    assert_eq!(seen.at, Some(Micros(1)), "when it was last seen there");
}

#[tokio::test]
async fn a_wiped_redis_is_told_again_who_is_here_and_not_who_went() {
    let server = servers::redis().await;
    let settings = settings(server);
    let ((one, _), (two, _)) = (here(node(&settings)), here(node(&settings)));
    one.came(ADA, Micros(1)).await;
    one.came(MIN, Micros(2)).await;
    waits_for(&two, ADA, true).await;
    waits_for(&two, MIN, true).await;
    one.went(MIN, Micros(3)).await;
    waits_for(&two, MIN, false).await;
    // All that this installation has; the server is not ours alone.
    for key in keys(server, &settings.prefix).await {
        redis_cli(server, &["DEL", &key]).await;
    }
    waits_for(&two, ADA, true).await;
    assert_eq!(two.of(&[MIN]).await, [Seen::default()]);
}

#[tokio::test]
async fn everything_in_redis_has_an_end() {
    let server = servers::redis().await;
    let settings = settings(server);
    let ((one, _), (two, _)) = (here(node(&settings)), here(node(&settings)));
    one.came(ADA, Micros(1)).await;
    waits_for(&two, ADA, true).await;
    let keys = keys(server, &settings.prefix).await;
    assert!(keys.len() >= 3, "two nodes and a user: {keys:?}");
    for key in keys {
        let life: i64 = redis_cli(server, &["TTL", &key]).await.trim().parse().unwrap();
        // -2: it ended meanwhile.
        assert_ne!(life, -1, "{key} stays for ever");
        assert!(
            life <= Duration::from_secs(7 * 24 * 3_600).as_secs().cast_signed(),
            "{key}"
        );
    }
}
