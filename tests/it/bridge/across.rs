//! What happens on one node is told on the others, within a second.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::{joined, says, three};
use crate::harness::{Socket, User, cluster::Stage};

/// Within what everything is told as long as nothing fails.
const SOON: Duration = Duration::from_secs(1);

/// The next push of the feed that tells this change of `event`.
async fn feed(socket: &mut Socket, event: i64, change: &str) -> Value {
    loop {
        let push = socket.push("feed").await;
        if push["event"]["id"] == event && push["change"] == change {
            return push;
        }
    }
}

/// What the feed tells of `event`, and where its record ends then: each push up to the one that
/// tells this `change` with the head at `seq` or later.
async fn feed_to(socket: &mut Socket, event: i64, change: &str, seq: u64) -> Vec<(String, u64)> {
    let mut told = Vec::new();
    loop {
        let push = socket.push("feed").await;
        if push["event"]["id"] != event {
            continue;
        }
        let head = push["head"]["seq"].as_u64().unwrap_or(u64::MAX);
        let what = push["change"].as_str().unwrap();
        told.push((what.to_owned(), head));
        if what == change && head >= seq {
            return told;
        }
    }
}

async fn presence(socket: &mut Socket, user: &User, online: bool) {
    loop {
        let push = socket.push("presence").await;
        if push["user"] == user.id && push["online"] == online {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_marks_and_presence_cross_nodes() {
    let stage = Stage::new().await;
    let nodes = three(&stage).await;
    let (ada, min) = (nodes[0].user("Ada").await, nodes[0].user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut of_ada = joined(&nodes, &ada, room).await;
    says(&mut of_ada, room, "hello").await;

    // Min comes to the second node; the first and the third hear of it.
    let begun = Instant::now();
    let mut at_min = min.at(nodes[1].address).connect().await;
    for socket in &mut of_ada {
        presence(socket, &min, true).await;
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    at_min.join(room).await;
    let seq = at_min.publish(room, "here I am").await["publish"]["seq"]
        .as_u64()
        .unwrap();
    for socket in &mut of_ada {
        socket.read_to(room, seq).await;
    }

    let begun = Instant::now();
    at_min
        .text(&json!({ "typing": { "room": room } }).to_string())
        .await;
    for socket in &mut of_ada {
        let push = socket.push("typing").await;
        assert_eq!((&push["room"], &push["user"]), (&json!(room), &json!(min.id)));
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());

    // Ada reads on the third node: Min is told, and so are Ada's other devices, but not that socket.
    let mut elsewhere = ada.at(nodes[1].address).connect().await;
    elsewhere.push("hello").await;
    let begun = Instant::now();
    let reply = of_ada[2].ask("read", json!({ "room": room, "seq": seq })).await;
    assert_eq!(reply["read"]["seq"], seq, "{reply}");
    let push = at_min.push("read").await;
    assert_eq!((&push["user"], &push["seq"]), (&json!(ada.id), &json!(seq)));
    assert!(push.get("unread").is_none(), "{push}");
    for socket in [&mut of_ada[0], &mut elsewhere] {
        let push = socket.push("read").await;
        assert_eq!(
            (&push["user"], &push["unread"]),
            (&json!(ada.id), &json!(0)),
            "{push}"
        );
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let heard = of_ada[2].heard(room).await;
    assert!(!heard.iter().any(|push| push["push"] == "read"), "{heard:?}");

    at_min.close().await;
    let begun = Instant::now();
    for socket in &mut of_ada {
        presence(socket, &min, false).await;
    }
    // Somebody who comes back in time has not gone.
    assert!(
        begun.elapsed() < Duration::from_secs(5) + SOON,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feed_is_told_on_every_node_and_on_none_twice() {
    let stage = Stage::new().await;
    let nodes = three(&stage).await;
    let (ada, min) = (nodes[0].user("Ada").await, nodes[0].user("Min").await);
    let mut feeds = Vec::new();
    for node in &nodes {
        let mut socket = min.at(node.address).connect().await;
        socket.push("hello").await;
        feeds.push(socket);
    }
    // The nodes know of each other's interest once Min has heard of something on all of them.
    let first = ada.create_event("Before").await;
    ada.bring(&min, first).await;
    for socket in &mut feeds {
        let mut pushes = Vec::new();
        while !pushes.contains(&"feed_reset".to_owned()) && told_of(&pushes, "feed") == 0 {
            let frame = socket.frame().await.unwrap();
            pushes.push(frame["push"].as_str().unwrap_or_default().to_owned());
        }
    }

    let begun = Instant::now();
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    for socket in &mut feeds {
        let push = feed(socket, room, "invited").await;
        assert_eq!(push["event"]["participants"][0]["name"], "Min", "{push}");
    }
    assert!(begun.elapsed() < 2 * SOON, "{:?}", begun.elapsed());

    // The room is live on the third node too; one device of Min hears it by itself there.
    feeds[2].join(room).await;
    let mut talking = ada.at(nodes[1].address).connect().await;
    talking.join(room).await;
    let mut last = 0;
    for text in ["one", "two", "three"] {
        last = talking.publish(room, text).await["publish"]["seq"]
            .as_u64()
            .unwrap();
    }
    for socket in &mut feeds {
        let mut told = feed_to(socket, room, "entries", last).await;
        let count = told.len();
        told.dedup();
        assert_eq!(told.len(), count, "told twice: {told:?}");
        assert_eq!(told.last(), Some(&("entries".to_owned(), last)));
    }
    ada.remove(&min, room).await;
    for socket in &mut feeds {
        let told = feed_to(socket, room, "removed", 0).await;
        assert_eq!(told.len(), 1, "{told:?}");
    }
    // Whatever else was told came before the answer to this.
    for socket in &mut feeds {
        let heard = socket.heard(first).await;
        let again = heard
            .iter()
            .find(|push| push["push"] == "feed" && push["event"]["id"] == room);
        assert_eq!(again, None, "told again, or after the end");
    }
}

fn told_of(pushes: &[String], name: &str) -> usize {
    pushes.iter().filter(|push| *push == name).count()
}

/// As whom the fact at `seq` shows the one whom it concerns.
async fn name_of(socket: &mut Socket, room: i64, seq: u64) -> String {
    let window = json!({ "room": room, "after": seq - 1, "limit": 1 });
    let reply = socket.ask("history", window).await;
    let name = &reply["history"]["entries"][0]["fact"]["user"]["name"];
    name.as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_in_has_a_name_and_who_goes_hears_nothing_more_on_every_node() {
    let stage = Stage::new().await;
    let nodes = three(&stage).await;
    let (ada, min) = (nodes[0].user("Ada").await, nodes[0].user("Min").await);
    let room = ada.create_event("Lesson").await;
    let mut of_ada = joined(&nodes, &ada, room).await;
    says(&mut of_ada, room, "hello").await;

    // Through the first node: the others learn of Min from its log, and the name first.
    let came = of_ada[0].copy(room).seq + 1;
    ada.bring(&min, room).await;
    for socket in &mut of_ada {
        loop {
            let push = socket.push("entries").await;
            let entries = push["entries"].as_array().unwrap();
            if let Some(fact) = entries
                .iter()
                .find(|entry| entry["fact"]["type"] == "participant_joined")
            {
                assert_eq!(fact["fact"]["user"]["name"], "Min", "{fact}");
                break;
            }
        }
    }
    let mut of_min = joined(&nodes, &min, room).await;
    says(&mut of_min, room, "me too").await;

    // A new name is soon the one that is shown everywhere.
    let (status, answer) = min
        .call(Method::PATCH, "/users/me", Some(json!({ "name": "Minseo" })))
        .await;
    assert_eq!(status, 200, "{answer}");
    let begun = Instant::now();
    for socket in &mut of_ada {
        while name_of(socket, room, came).await != "Minseo" {
            assert!(begun.elapsed() < SOON, "still the old name");
        }
    }

    ada.remove(&min, room).await;
    let begun = Instant::now();
    for socket in &mut of_min {
        while !socket.copy(room).removed {
            socket.frame().await.unwrap();
        }
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let mut rest = of_min;
    let reply = rest[2].publish(room, "still here?").await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
    // The harness fails on any push of a room after `removed`.
    for text in ["among us", "at last"] {
        for socket in &mut of_ada {
            socket.publish(room, text).await;
        }
    }
    for socket in &mut rest {
        socket.ask("presence", json!({ "room": room })).await;
    }
}
