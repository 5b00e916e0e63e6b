//! The feed: every event of one's own, joined or not.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Socket, TestApp,
    log::{Trick, Tricks},
};

/// The next push of the feed that tells this change of `event`, and fails on any other event.
async fn feed(socket: &mut Socket, event: i64, change: &str) -> Value {
    loop {
        let push = socket.push("feed").await;
        assert_eq!(push["event"]["id"], event, "{push}");
        if push["change"] == change {
            return push;
        }
    }
}

/// The changes among `pushes`, of any event.
fn changes(pushes: &[Value]) -> Vec<&str> {
    let feed = pushes.iter().filter(|push| push["push"] == "feed");
    feed.map(|push| push["change"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_change_is_told_to_who_takes_part_without_joining_and_to_nobody_else() {
    let app = TestApp::spawn().await;
    let (ada, min, eve) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Eve").await,
    );
    let (mut at_ada, mut at_min, mut at_eve) =
        (ada.connect().await, min.connect().await, eve.connect().await);
    let room = ada.create_event("Lesson").await;
    let created = feed(&mut at_ada, room, "created").await;
    assert_eq!(
        (&created["event"]["title"], &created["unread"]),
        (&json!("Lesson"), &json!(0))
    );
    assert_eq!(created["event"]["participants"], json!([]));
    assert_eq!(created["head"]["seq"], 1);

    ada.bring(&min, room).await;
    let invited = feed(&mut at_min, room, "invited").await;
    assert_eq!(invited["event"]["participants"][0]["id"], min.id, "{invited}");
    assert_eq!(
        (&invited["head"]["seq"], &invited["unread"]),
        (&json!(2), &json!(0))
    );
    let changed = feed(&mut at_ada, room, "changed").await;
    assert_eq!(changed["event"]["participants"][0]["name"], "Min", "{changed}");
    assert_eq!(changed["event"]["fact_no"], 2);

    // A third one talks; nobody of those above has joined.
    let mut talking = ada.connect().await;
    talking.join(room).await;
    let said = talking.publish(room, "hello").await["publish"]["seq"].clone();
    let entries = feed(&mut at_min, room, "entries").await;
    assert_eq!((&entries["head"]["seq"], &entries["unread"]), (&said, &json!(1)));
    let told = entries["event"].as_object().unwrap();
    let members: Vec<&str> = told.keys().map(String::as_str).collect();
    assert_eq!(members, ["fact_no", "id", "status", "title"], "{entries}");
    assert_eq!(
        feed(&mut at_ada, room, "entries").await["unread"],
        0,
        "of one's own words"
    );

    // Personal data of nobody is in it.
    for push in [&invited, &changed, &entries] {
        let text = push.to_string();
        for user in [&ada, &min] {
            assert!(!text.contains(&user.phone[1..]), "{text}");
        }
    }

    let (status, _) = min
        .call(Method::POST, &format!("/events/{room}/decline"), Some(json!({})))
        .await;
    assert!(status.is_success(), "{status}");
    let changed = feed(&mut at_ada, room, "changed").await;
    assert_eq!(
        changed["event"]["participants"][0]["answer"], "declined",
        "{changed}"
    );

    ada.remove(&min, room).await;
    let removed = feed(&mut at_min, room, "removed").await;
    let event = json!({ "id": room, "title": "Lesson", "status": "PROPOSED" });
    assert_eq!(
        removed,
        json!({ "push": "feed", "change": "removed", "event": event })
    );

    // Nothing after it.
    talking.publish(room, "without him").await;
    ada.cancel(room, "nobody comes").await;
    loop {
        let push = feed(&mut at_ada, room, "changed").await;
        if push["event"]["status"] == "CANCELED" {
            break;
        }
    }
    assert_eq!(changes(&at_min.heard(room).await), [""; 0]);
    at_eve.ask("leave", json!({ "rooms": [room] })).await;
    assert_eq!(changes(&at_eve.heard(room).await), [""; 0], "a stranger");
}

#[tokio::test]
async fn who_goes_is_told_and_who_comes_back_is_told_again() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    let mut at_min = min.connect().await;
    for _ in 0..2 {
        ada.bring(&min, room).await;
        feed(&mut at_min, room, "invited").await;
        min.remove(&min, room).await;
        feed(&mut at_min, room, "removed").await;
    }
}

#[tokio::test]
async fn two_hundred_messages_in_a_second_are_a_handful_of_pushes_and_the_last_tells_the_head() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    let started = Instant::now();
    let mut last = 0;
    for number in 0..200 {
        let reply = at_ada.publish(room, &number.to_string()).await;
        last = reply["publish"]["seq"].as_u64().unwrap();
    }
    let took = started.elapsed();
    let mut pushes: Vec<Value> = Vec::new();
    while pushes.last().is_none_or(|push| push["head"]["seq"] != last) {
        // The first ones may tell that he came in.
        pushes.push(at_min.push("feed").await);
    }
    assert_eq!(pushes.last().unwrap()["unread"], 200);
    let most = 2 + took.as_millis().div_ceil(500);
    assert!(
        pushes.len() as u128 <= most,
        "{} pushes in {took:?}",
        pushes.len()
    );
    let heads: Vec<u64> = pushes
        .iter()
        .map(|push| push["head"]["seq"].as_u64().unwrap())
        .collect();
    assert!(heads.is_sorted_by(|one, next| one < next), "{heads:?}");
}

#[tokio::test]
async fn room_that_fell_has_the_feeds_of_its_people_start_over() {
    let tricks = Tricks::default();
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let (ada, min, eve) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Eve").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min, mut at_eve) =
        (ada.connect().await, min.connect().await, eve.connect().await);
    at_ada.join(room).await;
    tricks.arm("fall", Trick::Panic);
    let reply = at_ada.publish(room, "fall").await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    assert_eq!(at_min.push("feed_reset").await, json!({ "push": "feed_reset" }));
    at_ada.push("feed_reset").await;
    let heard = at_eve.heard(room).await;
    assert!(
        !heard.iter().any(|push| push["push"] == "feed_reset"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn feed_is_in_the_language_of_the_socket_and_begins_behind_hello() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut socket = ada.connect().await;
    assert_eq!(socket.frame().await.unwrap()["push"], "hello");
    // A socket that has not said who it is hears nothing.
    let mut silent = Socket::open(ada.address, None).await.unwrap();
    let room = ada.create_event("Lesson").await;
    feed(&mut socket, room, "created").await;
    let id = silent.post("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(silent.frame().await.unwrap()["id"], id, "the reply comes first");
    ada.cancel(room, "rain").await;
    feed(&mut silent, room, "changed").await;
}

#[tokio::test]
async fn renewed_credential_brings_its_language_to_the_rooms_joined_before() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    let hello = socket.push("hello").await;
    let (now, then) = match hello["user"]["language"].as_str().unwrap() {
        "ko" => ("ko", "en"),
        other => (other, "ko"),
    };
    socket.join(room).await;
    let (status, answer) = ada
        .call(Method::PATCH, "/users/me", Some(json!({ "language": then })))
        .await;
    assert!(status.is_success(), "{status} {answer} {now}");
    let reply = socket.ask("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(reply["hello"]["user"]["language"], then, "{reply}");
    ada.bring(&min, room).await;
    let push = socket.push("entries").await;
    let text = push["entries"][0]["fact"]["text"].as_str().unwrap();
    assert_eq!(text.is_ascii(), then == "en", "{text}");
}

#[tokio::test]
async fn room_that_is_let_go_of_has_told_the_feeds_everything() {
    let app = TestApp::with(|config| config.room.idle_after = Duration::ZERO).await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut at_min = min.connect().await;
    let mut at_ada = ada.connect().await;
    for text in ["one", "two", "three"] {
        at_ada.join(room).await;
        let said = at_ada.publish(room, text).await["publish"]["seq"].clone();
        at_ada.ask("leave", json!({ "rooms": [room] })).await;
        while at_min.push("feed").await["head"]["seq"] != said {}
    }
}
