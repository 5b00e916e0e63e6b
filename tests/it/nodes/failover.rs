//! Nodes that are killed, restarted one by one, frozen, and what their clients see of it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::talker::{Balancer, Talker, assert_kept};
use crate::harness::{
    Socket, User,
    cluster::{Stage, until_ready},
    process::Server,
    socket::Ended,
    until,
};

const ENV: [(&str, &str); 5] = [
    ("TIMINGLE__LIMITS__PUBLISHES_PER_S", "1000000"),
    ("TIMINGLE__LIMITS__PUBLISH_BURST", "1000000"),
    ("TIMINGLE__LIMITS__SOCKETS_PER_USER", "100"),
    ("TIMINGLE__SERVER__DRAIN_SPREAD", "500ms"),
    // In half a minute more is said than a key is looked for by default.
    ("TIMINGLE__ROOM__KEY_WINDOW", "1000000"),
];

/// How long a node is frozen.
const FROZEN: Duration = Duration::from_secs(30);

async fn start(stage: &Stage, count: usize) -> Vec<Server> {
    let starts = (0..count).map(|_| stage.process_with(&ENV));
    join_all(starts).await
}

fn talk(talkers: Vec<Talker>, balancer: &Arc<Balancer>) -> Vec<JoinHandle<Talker>> {
    let talk = |talker: Talker| tokio::spawn(talker.talk(Arc::clone(balancer)));
    talkers.into_iter().map(talk).collect()
}

/// Those who talk in one event, and the event.
async fn talkers(server: &Server, count: usize) -> (User, i64, Vec<Talker>) {
    let host = User::register(server.address, "host").await;
    let room = host.create_event("Nodes come and go").await;
    let code = host.invite(room).await;
    let mut talkers = Vec::new();
    for number in 0..count {
        let user = User::register(server.address, &format!("talker-{number}")).await;
        user.join_by(&code).await;
        talkers.push(Talker::new(user, room));
    }
    (host, room, talkers)
}

/// Returns once `more` publishes were acknowledged.
async fn acknowledged(balancer: &Balancer, more: usize) {
    let goal = balancer.acknowledged.load(Ordering::Relaxed) + more;
    until("acknowledgements", || async {
        (balancer.acknowledged.load(Ordering::Relaxed) >= goal).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_node_resume_on_another() {
    let stage = Stage::new().await;
    let mut servers = start(&stage, 2).await;
    let (host, room, talkers) = talkers(&servers[0], 4).await;
    let balancer = Balancer::of(&[servers[0].address, servers[1].address]);
    let tasks = talk(talkers, &balancer);
    acknowledged(&balancer, 100).await;
    let killed = servers.remove(0);
    balancer.remove(killed.address);
    killed.kill().await;
    acknowledged(&balancer, 100).await;
    balancer.over.store(true, Ordering::SeqCst);
    let talkers: Vec<Talker> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let cut = talkers.iter().filter(|talker| !talker.ends.is_empty()).count();
    assert!(cut > 0, "nobody was on the killed node");
    let mut reader = host.at(servers[0].address).connect().await;
    assert_kept(&reader.whole_record(room).await, &talkers, room);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_restarted_one_by_one_without_a_failed_publish() {
    let stage = Stage::new().await;
    let servers = start(&stage, 3).await;
    let (host, room, talkers) = talkers(&servers[0], 6).await;
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let balancer = Balancer::of(&addresses);
    let tasks = talk(talkers, &balancer);
    acknowledged(&balancer, 50).await;
    let mut fresh = Vec::new();
    for mut old in servers {
        // As a deployment does it: the new one first, then no new traffic to the old one, then its end.
        let new = stage.process_with(&ENV).await;
        balancer.add(new.address);
        balancer.remove(old.address);
        old.terminate();
        let status = old.wait().await;
        assert!(status.success(), "{status}: {}", old.log());
        fresh.push(new);
        acknowledged(&balancer, 50).await;
    }
    balancer.over.store(true, Ordering::SeqCst);
    let talkers: Vec<Talker> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let ends: Vec<&Ended> = talkers.iter().flat_map(|talker| &talker.ends).collect();
    assert!(!ends.is_empty());
    // Everybody was told to come back; nobody was cut off.
    assert!(
        ends.iter().all(|ended| **ended == Ended::Closed(4001)),
        "{ends:?}"
    );
    let mut reader = host.at(fresh[0].address).connect().await;
    assert_kept(&reader.whole_record(room).await, &talkers, room);
    let total = balancer.acknowledged.load(Ordering::Relaxed);
    eprintln!(
        "{total} messages, {} sockets told to come back, 0 failed",
        ends.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_was_frozen_for_half_a_minute_wakes_and_writes_in_order() {
    let stage = Stage::new().await;
    let servers = start(&stage, 2).await;
    let [frozen, awake] = &servers[..] else {
        unreachable!()
    };
    let (host, room, talkers) = talkers(awake, 2).await;
    let mut sleeper = Socket::open(frozen.address, Some(&host.token)).await.unwrap();
    sleeper.join(room).await;
    sleeper.publish(room, "good night").await;
    let after = sleeper.copy(room).seq;

    frozen.pause();
    // What comes while it sleeps lies there until it wakes.
    let keys: Vec<String> = (0..10).map(|_| Uuid::new_v4().to_string()).collect();
    let mut asked = Vec::new();
    for key in &keys {
        let body = json!({ "text": format!("said to a sleeping node: {key}") });
        let publish = json!({ "room": room, "key": key, "after": after, "body": body });
        asked.push(sleeper.post("publish", publish).await);
    }
    // The second half is said to the other node as well: whoever is first, it stands once.
    let mut elsewhere = Socket::open(awake.address, Some(&host.token)).await.unwrap();
    elsewhere.join(room).await;
    let mut told = Vec::new();
    for key in &keys[5..] {
        let text = format!("said to a sleeping node: {key}");
        told.push(elsewhere.publish_as(room, key, after, &text).await["publish"]["seq"].clone());
    }
    // The others go on.
    let balancer = Balancer::of(&[awake.address]);
    let tasks = talk(talkers, &balancer);
    let half = tokio::time::Instant::now() + FROZEN;
    acknowledged(&balancer, 200).await;
    tokio::time::sleep_until(half).await;
    frozen.resume();

    let mut replies = std::collections::BTreeMap::new();
    while replies.len() < asked.len() {
        let left: Vec<u64> = asked
            .iter()
            .filter(|id| !replies.contains_key(*id))
            .copied()
            .collect();
        let reply = sleeper.first_reply(&left).await;
        replies.insert(reply["id"].as_u64().unwrap(), reply);
    }
    let mut seqs = Vec::new();
    for reply in replies.values() {
        // It may have slept past the publish's own deadline: then the same key is asked for again.
        seqs.push(reply["publish"]["seq"].clone());
        assert!(
            reply["publish"]["seq"].is_u64() || reply["error"]["code"] == "UNAVAILABLE",
            "{reply}"
        );
    }
    for (key, seq) in keys.iter().zip(&mut seqs) {
        let text = format!("said to a sleeping node: {key}");
        let again = sleeper.publish_as(room, key, after, &text).await;
        let stands = again["publish"]["seq"].clone();
        assert!(
            stands.is_u64() && (seq.is_null() || *seq == stands),
            "{seq} {again}"
        );
        *seq = stands;
    }
    assert_eq!(seqs[5..], told, "two nodes, one key, two places");

    acknowledged(&balancer, 20).await;
    balancer.over.store(true, Ordering::SeqCst);
    let talkers: Vec<Talker> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let last = sleeper.publish(room, "good morning").await;
    let last = last["publish"]["seq"].as_u64().unwrap();
    sleeper.read_to(room, last).await;
    let record = host.at(awake.address).connect().await.whole_record(room).await;
    record.assert_whole();
    // Those who were on the frozen node were told everything, in order.
    sleeper.fill(room, 100).await;
    sleeper
        .copy(room)
        .assert_holds(&record.entries, "the frozen node's client");
    for talker in &talkers {
        assert!(talker.failures.is_empty() && talker.ends.is_empty());
        for (key, (seq, _)) in &talker.acknowledged {
            assert_eq!(record.entries[seq]["key"], key.to_string());
        }
    }
    let mut all: Vec<&str> = record
        .entries
        .values()
        .filter_map(|entry| entry["key"].as_str())
        .collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "a key stands twice");
    until_ready(frozen.address).await;
}
