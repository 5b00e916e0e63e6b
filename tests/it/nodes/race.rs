//! Two nodes append to one room as fast as they can.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::json;
use timingle::app::Overrides;
use uuid::Uuid;

use crate::harness::{Socket, User, cluster::Stage};

/// Sockets that publish at the same time.
const WRITERS: usize = 8;

/// Messages of each on their way at a time.
const IN_FLIGHT: usize = 8;

/// How long each measurement lasts.
const TIME: Duration = Duration::from_secs(5);

/// Publishes for `time`; how many were acknowledged, and the longest that one took.
async fn write(mut socket: Socket, room: i64, time: Duration) -> (usize, Duration) {
    let end = Instant::now() + time;
    let mut on_their_way = std::collections::HashMap::new();
    let (mut acknowledged, mut longest) = (0, Duration::ZERO);
    loop {
        while Instant::now() < end && on_their_way.len() < IN_FLIGHT {
            let key = Uuid::new_v4();
            let publish = json!({
                "room": room, "key": key, "after": socket.copy(room).seq, "body": { "text": format!("{key}") },
            });
            on_their_way.insert(socket.post("publish", publish).await, Instant::now());
        }
        if on_their_way.is_empty() {
            return (acknowledged, longest);
        }
        let frame = socket.frame().await.unwrap();
        if frame.get("push").is_some() {
            continue;
        }
        let sent = frame["id"].as_u64().and_then(|id| on_their_way.remove(&id));
        if let Some(sent) = sent {
            assert!(frame["publish"]["seq"].is_u64(), "{frame}");
            acknowledged += 1;
            longest = longest.max(sent.elapsed());
        }
    }
}

/// Appends of this process so far that came to `result`; other tests in it append as well.
fn appends(result: &str) -> u64 {
    let wanted = format!("timingle_appends_total{{result=\"{result}\"}} ");
    let figures = timingle::metrics::render();
    let figure = figures.lines().find_map(|line| line.strip_prefix(&*wanted));
    figure.map_or(0, |figure| figure.parse().unwrap())
}

/// What each of `nodes` acknowledges in one room of its own when all are written to at the same time, and the
/// longest that a message took.
async fn measure(host: &User, nodes: &[SocketAddr]) -> (Vec<usize>, Duration) {
    let room = host.create_event("A race").await;
    let mut tasks = Vec::new();
    for number in 0..WRITERS {
        let node = number % nodes.len();
        let mut socket = Socket::open(nodes[node], Some(&host.token)).await.unwrap();
        socket.join(room).await;
        tasks.push((node, tokio::spawn(write(socket, room, TIME))));
    }
    let (mut acknowledged, mut longest) = (vec![0; nodes.len()], Duration::ZERO);
    for (node, task) in tasks {
        let (count, time) = task.await.unwrap();
        acknowledged[node] += count;
        longest = longest.max(time);
    }
    let mut reader = host.connect().await;
    let record = reader.whole_record(room).await;
    record.assert_whole();
    assert_eq!(record.texts().len(), acknowledged.iter().sum::<usize>());
    (acknowledged, longest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_race_on_one_room_both_make_progress() {
    let stage = Stage::new().await;
    let haste = |config: &mut timingle::config::Config| {
        config.limits.publishes_per_s = 1_000_000;
        config.limits.publish_burst = 1_000_000;
        config.limits.sockets_per_user = 100;
    };
    let nodes = [
        stage.node_with(haste, Overrides::default()).await,
        stage.node_with(haste, Overrides::default()).await,
    ];
    let [first, second] = nodes.each_ref().map(|node| node.address);
    let host = nodes[0].user("host").await;
    let (alone, alone_longest) = measure(&host, &[first]).await;
    let before = [appends("appended"), appends("conflict")];
    let (both, both_longest) = measure(&host, &[first, second]).await;
    let [appended, lost] = [appends("appended") - before[0], appends("conflict") - before[1]];
    let (alone, total): (usize, usize) = (alone[0], both.iter().sum());
    eprintln!(
        "one node: {alone} messages in {TIME:?}, the longest {alone_longest:?}; \
         two nodes racing: {both:?}, the longest {both_longest:?}; \
         ratio {:.2}; {appended} appends, {lost} races lost",
        f64::from(u32::try_from(total).unwrap()) / f64::from(u32::try_from(alone).unwrap())
    );
    for count in &both {
        assert!(count * 10 >= total, "one node starves the other: {both:?}");
    }
    assert!(lost > 0, "there was no race");
    assert!(
        total * 10 >= alone,
        "two nodes hinder each other: {both:?}, one alone {alone}"
    );
}
