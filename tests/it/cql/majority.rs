//! A cluster of three that loses one server, and then its majority.

use std::time::Duration;

use reqwest::StatusCode;
use timingle::app::Overrides;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::harness::{
    Socket, User,
    cluster::{Places, Stage, readiness, until_ready},
    servers::Private,
    until,
};

/// How long a cluster on a busy machine may take to notice what happened to it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Says `text` under one key until it is said; its place, and how long that took.
async fn insist(socket: &mut Socket, room: i64, key: &str, after: u64, text: &str) -> (u64, Duration) {
    let begin = Instant::now();
    loop {
        let reply = socket.publish_as(room, key, after, text).await;
        if let Some(seq) = reply["publish"]["seq"].as_u64() {
            return (seq, begin.elapsed());
        }
        assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
        assert!(begin.elapsed() < PATIENCE, "{reply}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_may_go_and_without_a_majority_nothing_is_shown_that_is_not_written() {
    let cluster = Private::cassandra(3).await;
    let places = Places {
        cassandra: cluster.addresses(),
        ..Places::shared().await
    };
    let stage = Stage::on(places).await;
    let hasty = |config: &mut timingle::config::Config| config.room.publish_timeout = Duration::from_secs(3);
    let node = stage.node_with(hasty, Overrides::default()).await;
    let (ann, ben) = (
        User::register(node.address, "ann").await,
        User::register(node.address, "ben").await,
    );
    let room = ann.create_event("Majority").await;
    ann.bring(&ben, room).await;
    let (mut a, mut b) = (ann.connect().await, ben.connect().await);
    a.join(room).await;
    b.join(room).await;
    let start = a.copy(room).seq;
    let key = |number: u128| Uuid::from_u128(number).to_string();

    let (first, _) = insist(&mut a, room, &key(1), start, "of three").await;
    cluster.node(2).kill().await;
    let (second, took) = insist(&mut a, room, &key(2), start, "of two").await;
    eprintln!(
        "said after {:.2} s, one of three servers gone",
        took.as_secs_f32()
    );
    b.read_to(room, second).await;

    cluster.node(3).kill().await;
    let reply = a.publish_as(room, &key(3), start, "of one").await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    // What is there can be read, by those who come as well.
    let mut late = ben.connect().await;
    late.join(room).await;
    for socket in [&mut b, &mut late] {
        socket.heard(room).await;
        assert_eq!(
            socket.copy(room).texts(),
            ["of three", "of two"],
            "shown, not written"
        );
        assert_eq!(socket.copy(room).seq, second);
    }
    until("a node that misses its log", || async {
        let (status, missing) = readiness(node.address).await;
        (status == StatusCode::SERVICE_UNAVAILABLE && missing == ["room_log"]).then_some(())
    })
    .await;

    cluster.start().await;
    let (third, took) = insist(&mut a, room, &key(3), start, "of one").await;
    eprintln!("said after {:.2} s, three servers back", took.as_secs_f32());
    for socket in [&mut b, &mut late] {
        socket.read_to(room, third).await;
        socket.heard(room).await;
        assert_eq!(socket.copy(room).texts(), ["of three", "of two", "of one"]);
    }
    assert_eq!((second, third), (first + 1, first + 2));
    let (again, _) = insist(&mut a, room, &key(3), start, "of one").await;
    assert_eq!(again, third, "the same key, the same place");
    a.whole_record(room).await.assert_whole();
    until_ready(node.address).await;
}
