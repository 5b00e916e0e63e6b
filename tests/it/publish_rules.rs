//! The same key is the same message; what cannot be told exactly is refused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use timingle::app::Overrides;
use uuid::Uuid;

use crate::harness::{
    Socket, TestApp, User,
    log::{Gate, Tricks},
};

fn key() -> String {
    Uuid::new_v4().to_string()
}

fn seq(reply: &Value) -> u64 {
    reply["publish"]["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("{reply}"))
}

fn is_duplicate(reply: &Value) -> bool {
    reply["publish"]["duplicate"] == true
}

fn code(reply: &Value) -> &str {
    reply["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("{reply}"))
}

/// Says `count` things, so that what was said before lies further back.
async fn chatter(socket: &mut Socket, room: i64, count: usize) {
    for number in 0..count {
        seq(&socket.publish(room, &format!("chatter {number}")).await);
    }
}

async fn with_small_tail(key_window: u64) -> TestApp {
    TestApp::with(|config| {
        config.room.tail_entries = 8;
        config.room.key_window = key_window;
        config.limits.publishes_per_s = 1_000;
        config.limits.publish_burst = 1_000;
    })
    .await
}

#[tokio::test]
async fn key_keeps_its_seq_over_a_restart() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = key();
    let first = socket.publish_as(room, &key, 1, "once").await;
    assert!(!is_duplicate(&first));

    let app = TestApp::start(app.stop().await, |_| {}, Overrides::default()).await;
    let ada = User::sign_in(app.address, "Ada", &ada.phone).await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let again = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(
        (seq(&again), is_duplicate(&again)),
        (seq(&first), true),
        "{again}"
    );
    assert_eq!(again["publish"]["at"], first["publish"]["at"]);
    let other = socket.publish_as(room, &key, 1, "other words").await;
    assert_eq!(code(&other), "KEY_CONFLICT");
    assert_eq!(socket.whole_record(room).await.texts(), ["once"]);
}

#[tokio::test]
async fn key_further_back_than_the_tail_is_found_in_the_log() {
    let app = with_small_tail(10_000).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = key();
    let first = socket.publish_as(room, &key, 1, "once").await;
    chatter(&mut socket, room, 600).await;
    let again = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(
        (seq(&again), is_duplicate(&again)),
        (seq(&first), true),
        "{again}"
    );
    let other = socket.publish_as(room, &key, 1, "other words").await;
    assert_eq!(code(&other), "KEY_CONFLICT");
    let new = socket
        .publish_as(room, &Uuid::new_v4().to_string(), 1, "new, after long")
        .await;
    assert_eq!((seq(&new), is_duplicate(&new)), (603, false), "{new}");
}

#[tokio::test]
async fn key_too_far_back_is_refused_and_nothing_is_said() {
    let app = with_small_tail(20).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = key();
    let first = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(seq(&first), 2);
    chatter(&mut socket, room, 19).await;
    // The head is 21: the last moment.
    let again = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!((seq(&again), is_duplicate(&again)), (2, true), "{again}");
    chatter(&mut socket, room, 1).await;
    let late = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(code(&late), "KEY_EXPIRED", "{late}");
    let unknown = socket
        .publish_as(room, &Uuid::new_v4().to_string(), 1, "never said")
        .await;
    assert_eq!(
        code(&unknown),
        "KEY_EXPIRED",
        "what cannot be looked for is not guessed"
    );
    let record = socket.whole_record(room).await;
    assert_eq!((record.seq, record.texts()[0].as_str()), (22, "once"));
    assert!(!record.texts().contains(&"never said".to_owned()));
}

#[tokio::test]
async fn position_ahead_of_the_head_is_refused_and_says_where_the_head_is() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    for after in [2, (1 << 53) - 1] {
        let reply = socket.publish_as(room, &key(), after, "from the future").await;
        assert_eq!(code(&reply), "POSITION_UNKNOWN", "{reply}");
        assert_eq!(reply["error"]["details"]["head_seq"], 1, "{reply}");
    }
    assert!(socket.copy(room).texts().is_empty());
}

#[tokio::test]
async fn one_key_from_many_sockets_at_once_is_one_message() {
    let app = with_small_tail(10_000).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut first = ada.connect().await;
    first.join(room).await;
    chatter(&mut first, room, 30).await;
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = ada.connect().await;
        socket.join(room).await;
        sockets.push(socket);
    }
    // From the tail on, and from so far back that each has to be looked for in the log.
    for (after, text) in [(31, "near"), (0, "far")] {
        let key = key();
        let mut ids: Vec<Vec<u64>> = vec![Vec::new(); sockets.len()];
        for _ in 0..10 {
            for (socket, ids) in sockets.iter_mut().zip(&mut ids) {
                let arguments = json!({ "room": room, "key": key, "after": after, "body": { "text": text } });
                ids.push(socket.post("publish", arguments).await);
            }
        }
        let mut seqs = Vec::new();
        for (socket, ids) in sockets.iter_mut().zip(ids) {
            let replies = replies(socket, ids.len()).await;
            seqs.extend(ids.iter().map(|id| seq(&replies[id])));
        }
        assert_eq!(seqs.len(), 50);
        assert!(
            seqs.iter().all(|seq| *seq == seqs[0]),
            "one key stands at {seqs:?}"
        );
        let record = first.whole_record(room).await;
        assert_eq!(record.texts().iter().filter(|said| *said == text).count(), 1);
    }
}

/// The next `count` replies, by id, in whatever order they come.
async fn replies(socket: &mut Socket, count: usize) -> BTreeMap<u64, Value> {
    let mut replies = BTreeMap::new();
    while replies.len() < count {
        let frame = socket.frame().await.unwrap();
        if frame.get("push").is_none() {
            let before = replies.insert(frame["id"].as_u64().unwrap(), frame.clone());
            assert_eq!(before, None, "answered twice: {frame}");
        }
    }
    replies
}

#[tokio::test]
async fn two_users_may_use_the_same_key() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    let key = key();
    let hers = at_ada.publish_as(room, &key, 2, "Ada's").await;
    let his = at_min.publish_as(room, &key, 2, "Min's").await;
    assert_eq!((seq(&hers), seq(&his)), (3, 4));
    assert!(!is_duplicate(&his));
    let again = at_min.publish_as(room, &key, 2, "Min's").await;
    assert_eq!((seq(&again), is_duplicate(&again)), (4, true));
}

#[tokio::test]
async fn replies_to_one_socket_come_in_the_order_of_their_seqs() {
    let app = with_small_tail(10_000).await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    chatter(&mut at_min, room, 20).await;
    let mut posted = Vec::new();
    for number in 0..60_u64 {
        // Some of them have to be looked for in the log first: that takes longer.
        let after = if number % 5 == 0 { 0 } else { 22 };
        let arguments = json!({
            "room": room, "key": key(), "after": after, "body": { "text": number.to_string() },
        });
        posted.push(at_ada.post("publish", arguments).await);
        if number % 10 == 0 {
            at_min.publish(room, "in between").await;
        }
    }
    let mut seqs: Vec<u64> = Vec::new();
    let mut answered = Vec::new();
    while seqs.len() < posted.len() {
        let frame = at_ada.frame().await.unwrap();
        if frame.get("push").is_none() {
            answered.push(frame["id"].as_u64().unwrap());
            seqs.push(seq(&frame));
        }
    }
    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
    answered.sort_unstable();
    assert_eq!(answered, posted);
    // What was told stands where it was told.
    let record = at_ada.whole_record(room).await;
    record.assert_whole();
    assert!(seqs.iter().all(|seq| record.entries[seq]["author"] == ada.id));
}

#[tokio::test]
async fn answer_to_a_message_that_one_cannot_see_is_refused() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    let said = seq(&at_ada.publish(room, "Ten?").await);
    let answer = |to: u64| json!({ "room": room, "key": key(), "after": 2, "body": { "text": "yes" }, "reply_to": to });
    let reply = at_min.ask("publish", answer(said)).await;
    assert_eq!(seq(&reply), said + 1);
    at_ada.read_to(room, said + 1).await;
    assert_eq!(at_ada.copy(room).entries[&(said + 1)]["reply_to"], said);
    for unknown in [said + 2, 1 << 40] {
        let reply = at_min.ask("publish", answer(unknown)).await;
        assert_eq!(code(&reply), "VALIDATION_ERROR", "{reply}");
    }
    // What was said while he was away is not his to answer.
    min.remove(&min, room).await;
    let hidden = seq(&at_ada.publish(room, "Between us").await);
    ada.bring(&min, room).await;
    at_min.push("removed").await;
    at_min.join(room).await;
    let reply = at_min.ask("publish", answer(hidden)).await;
    assert_eq!(code(&reply), "VALIDATION_ERROR", "{reply}");
    // The same key with the same words, but as an answer to something else, is another message.
    let mut arguments = answer(said);
    seq(&at_min.ask("publish", arguments.clone()).await);
    arguments["reply_to"] = json!(said + 1);
    assert_eq!(code(&at_min.ask("publish", arguments).await), "KEY_CONFLICT");
}

#[tokio::test]
async fn who_has_not_joined_or_takes_no_part_says_nothing() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let room = ada.create_event("Lesson").await;
    let (mut at_ada, mut at_eve) = (ada.connect().await, eve.connect().await);
    assert_eq!(
        code(&at_ada.publish_as(room, &key(), 0, "too early").await),
        "NOT_JOINED"
    );
    for unknown in [room, room + 1_000] {
        let reply = at_eve
            .ask("join", json!({ "rooms": [{ "room": unknown }] }))
            .await;
        assert_eq!(
            reply["join"]["rooms"][0]["error"]["code"], "EVENT_NOT_FOUND",
            "{reply}"
        );
        assert_eq!(
            code(&at_eve.publish_as(unknown, &key(), 0, "let me in").await),
            "NOT_JOINED"
        );
        let reply = at_eve.ask("history", json!({ "room": unknown })).await;
        assert_eq!(code(&reply), "EVENT_NOT_FOUND", "{reply}");
    }
    at_ada.join(room).await;
    seq(&at_ada.publish(room, "in time").await);
    at_ada.ask("leave", json!({ "rooms": [room] })).await;
    assert_eq!(
        code(&at_ada.publish_as(room, &key(), 0, "too late").await),
        "NOT_JOINED"
    );
    assert_eq!(at_ada.whole_record(room).await.texts(), ["in time"]);
}

#[tokio::test]
async fn key_that_cannot_be_looked_for_in_time_is_answered_in_time() {
    let tricks = Tricks::default();
    let app = TestApp::start(
        Arc::new(tempfile::tempdir().unwrap()),
        |config| {
            config.room.tail_entries = 8;
            config.room.publish_timeout = Duration::from_millis(300);
        },
        tricks.overrides(),
    )
    .await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    chatter(&mut socket, room, 12).await;
    let gate = Gate::closed();
    tricks.hold_reads(gate.clone());
    // The first is being looked for, the others wait for their turn.
    let mut asked = Vec::new();
    for _ in 0..3 {
        let arguments = json!({ "room": room, "key": key(), "after": 1, "body": { "text": "late" } });
        asked.push(socket.post("publish", arguments).await);
    }
    gate.reached().await;
    for id in asked {
        assert_eq!(code(&socket.reply(id).await), "UNAVAILABLE");
    }
    gate.open();
    assert!(seq(&socket.publish_as(room, &key(), 1, "found to be new").await) > 13);
}
