//! Every limit is where the configuration puts it, and says so clearly when it is met.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use timingle::app::Overrides;
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{
    Raw, Socket, TestApp, User,
    api::Sends as _,
    log::{Gate, TipTrick, Tricks},
    raw::{self, opcode},
    socket::Ended,
    until,
};

fn code(frame: &Value) -> &str {
    frame["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("not an error: {frame}"))
}

/// Somebody with an event, joined on a socket.
async fn joined(app: &TestApp) -> (User, i64, Socket) {
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    (ada, room, socket)
}

/// What a new socket of `user` is told of the limits.
async fn told(user: &User) -> Value {
    user.connect().await.push("hello").await["limits"].clone()
}

// ---- what is said

#[tokio::test]
async fn message_has_up_to_8000_characters_and_is_not_blank() {
    let app = TestApp::spawn().await;
    let (_, room, mut socket) = joined(&app).await;
    for text in ["x".to_owned(), "가".repeat(8_000), "🗓".repeat(8_000)] {
        let said = socket.publish(room, &text).await;
        assert!(said["publish"]["seq"].is_u64(), "{said}");
    }
    let refused = socket.publish(room, &"x".repeat(8_001)).await;
    assert_eq!(code(&refused), "BODY_TOO_LONG");
    assert_eq!(refused["error"]["details"]["max_chars"], 8_000, "{refused}");
    assert_eq!(refused["error"]["temporary"], false);
    for blank in ["", " ", "\n\t \u{3000}"] {
        assert_eq!(
            code(&socket.publish(room, blank).await),
            "VALIDATION_ERROR",
            "{blank:?}"
        );
    }
    assert_eq!(
        socket.copy(room).seq,
        4,
        "a refused message has a place in the log"
    );
}

#[tokio::test]
async fn body_limit_is_configured_by_body_chars_and_told_in_hello() {
    let app = TestApp::with(|config| config.limits.body_chars = 5).await;
    let (ada, room, mut socket) = joined(&app).await;
    assert_eq!(told(&ada).await["body_chars"], 5);
    assert!(socket.publish(room, "다섯글자예").await["publish"].is_object());
    assert_eq!(code(&socket.publish(room, "여섯글자예요").await), "BODY_TOO_LONG");
}

#[tokio::test]
async fn publishes_past_the_burst_are_told_when_and_pass_then_on_any_socket_of_the_user() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 2;
        config.limits.publish_burst = 6;
    })
    .await;
    let (ada, room, mut first) = joined(&app).await;
    let mut second = ada.connect().await;
    second.join(room).await;
    let started = Instant::now();
    let (mut passed, mut wait) = (0, None);
    for n in 0..20 {
        let socket = if n % 2 == 0 { &mut first } else { &mut second };
        let reply = socket.publish(room, "on and on").await;
        if reply.get("error").is_some() {
            assert_eq!(code(&reply), "RATE_LIMIT_EXCEEDED");
            assert_eq!(reply["error"]["temporary"], true);
            wait = reply["error"]["retry_after_ms"].as_u64();
            break;
        }
        passed += 1;
    }
    let refilled = started.elapsed().as_secs() * 2 + 1;
    assert!((6..=6 + refilled).contains(&passed), "{passed} passed");
    let wait = wait.expect("nothing was refused, or without a time");
    assert!((1..=500).contains(&wait), "{wait} ms");
    // Another user is not held up.
    let min = app.user("민지").await;
    ada.bring(&min, room).await;
    let mut other = min.connect().await;
    other.join(room).await;
    assert!(other.publish(room, "me too").await["publish"].is_object());
    // The time that was told is enough, on the other socket too.
    tokio::time::sleep(Duration::from_millis(wait)).await;
    assert!(second.publish(room, "later").await["publish"].is_object());
}

#[tokio::test]
async fn default_is_20_publishes_a_second_with_a_burst_of_40() {
    let app = TestApp::spawn().await;
    let (ada, room, mut socket) = joined(&app).await;
    assert_eq!(told(&ada).await["publishes_per_s"], 20);
    let started = Instant::now();
    let key = || uuid::Uuid::new_v4().to_string();
    let mut ids = Vec::new();
    for _ in 0..100 {
        let arguments = json!({ "room": room, "key": key(), "after": 1, "body": { "text": "now" } });
        ids.push(socket.post("publish", arguments).await);
    }
    // Refusals overtake what waits for the log.
    let mut passed = 0;
    for _ in &ids {
        let reply = loop {
            let frame = socket.frame().await.unwrap();
            if frame.get("push").is_none() {
                break frame;
            }
        };
        if reply.get("error").is_none() {
            passed += 1;
        } else {
            assert_eq!(code(&reply), "RATE_LIMIT_EXCEEDED");
        }
    }
    let refilled = started.elapsed().as_secs() * 20 + 20;
    assert!((40..=40 + refilled).contains(&passed), "{passed} passed");
}

// ---- frames

#[tokio::test]
async fn frame_has_up_to_64_kib() {
    let app = TestApp::spawn().await;
    let (_, room, mut socket) = joined(&app).await;
    let padded = |bytes: usize| {
        let frame = format!(r#"{{"id":900,"history":{{"room":{room}}},"pad":""}}"#);
        frame.replace(r#""""#, &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    assert_eq!(padded(65_536).len(), 65_536);
    socket.text(&padded(65_536)).await;
    assert!(socket.reply(900).await["history"].is_object());
    socket.text(&padded(65_537)).await;
    assert_eq!(socket.end().await, Ended::Closed(1009));
}

#[tokio::test]
async fn fragments_together_have_no_more_than_one_frame_and_the_key_is_frame_bytes() {
    let app = TestApp::with(|config| config.limits.frame_bytes = 5_000).await;
    let ada = app.user("Ada").await;
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let mut socket = Raw::open(app.address, None, &[&authorization]).await;
    assert_eq!(socket.json().await.unwrap()["limits"]["frame_bytes"], 5_000);
    socket
        .write(&raw::frame(false, opcode::TEXT, &[b' '; 2_500]))
        .await;
    socket
        .write(&raw::frame(true, opcode::CONTINUATION, &[b' '; 2_500]))
        .await;
    assert_eq!(code(&socket.reply(0).await), "BAD_REQUEST");
    socket
        .write(&raw::frame(false, opcode::TEXT, &[b' '; 2_500]))
        .await;
    socket
        .write(&raw::frame(true, opcode::CONTINUATION, &[b' '; 2_501]))
        .await;
    assert_eq!(socket.end().await, Ended::Closed(1009));
}

#[tokio::test]
async fn frame_that_announces_a_tebibyte_is_refused_before_it_is_there() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let mut socket = Raw::open(app.address, None, &[&authorization]).await;
    socket.write(&raw::header(true, opcode::TEXT, 1 << 40)).await;
    let part = vec![b'x'; 65_536];
    let mut sent = 0;
    // As long as the server keeps taking it, it keeps holding it.
    while sent < 64 << 20 && socket.try_write(&part).await {
        sent += part.len();
        let closed = tokio::time::timeout(Duration::from_millis(1), socket.end()).await;
        if let Ok(ended) = closed {
            assert_eq!(ended, Ended::Closed(1009));
            return;
        }
    }
    panic!("the server took {sent} bytes of one frame");
}

// ---- sockets

#[tokio::test]
async fn ninth_socket_of_a_user_is_refused_with_429_and_no_upgrade() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(ada.connect().await);
    }
    match Socket::open(app.address, Some(&ada.token)).await {
        Err(Error::Http(answer)) => {
            assert_eq!(answer.status(), 429);
            let body: Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
            assert_eq!(body["code"], "TOO_MANY_SOCKETS");
        }
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
    // Others have their own, and one that goes makes room.
    app.user("민지").await.connect().await;
    drop(open.pop());
    until("room for another socket", || async {
        Socket::open(app.address, Some(&ada.token)).await.ok()
    })
    .await;
}

#[tokio::test]
async fn socket_too_many_that_authenticates_by_its_first_frame_is_told_and_closed_with_4503() {
    let app = TestApp::with(|config| config.limits.sockets_per_user = 1).await;
    let ada = app.user("Ada").await;
    let mut first = ada.connect().await;
    let mut second = Socket::open(app.address, None).await.unwrap();
    let refused = second.ask("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(code(&refused), "TOO_MANY_SOCKETS");
    assert_eq!(second.end().await, Ended::Closed(4503));
    // To renew on the one that is there takes no second place.
    assert!(first.ask("auth", json!({ "access_token": ada.token })).await["hello"].is_object());
}

#[tokio::test]
async fn socket_without_credential_is_closed_with_4500_after_auth_timeout() {
    let app = TestApp::with(|config| config.limits.auth_timeout = Duration::from_millis(700)).await;
    let ada = app.user("Ada").await;
    let mut in_time = Socket::open(app.address, None).await.unwrap();
    assert!(in_time.ask("auth", json!({ "access_token": ada.token })).await["hello"].is_object());
    let started = Instant::now();
    let mut socket = Socket::open(app.address, None).await.unwrap();
    let early = socket.ask("history", json!({ "room": 1 })).await;
    assert_eq!(code(&early), "AUTH_TOKEN_MISSING");
    assert_eq!(socket.end().await, Ended::Closed(4500));
    let lived = started.elapsed();
    assert!((700..5_000).contains(&lived.as_millis()), "{lived:?}");
    assert!(in_time.ask("auth", json!({ "access_token": ada.token })).await["hello"].is_object());
}

#[tokio::test]
async fn socket_without_credential_is_closed_with_4500_after_auth_bytes_however_they_come() {
    let app = TestApp::with(|config| {
        config.limits.auth_bytes = 1_500;
        config.limits.auth_timeout = Duration::from_secs(3_600);
    })
    .await;
    let mut texts = Socket::open(app.address, None).await.unwrap();
    let frame = json!({ "id": 1, "auth": { "access_token": "x".repeat(700) } }).to_string();
    texts.text(&frame).await;
    assert_eq!(code(&texts.frame().await.unwrap()), "AUTH_TOKEN_INVALID");
    texts.text(&frame).await;
    texts.text(&frame).await;
    assert_eq!(texts.end().await, Ended::Closed(4500));

    let part = [b'x'; 120];
    let floods: [(&str, Vec<u8>); 4] = [
        (
            "pings",
            (0..15)
                .flat_map(|_| raw::frame(true, opcode::PING, &part))
                .collect(),
        ),
        (
            "fragments",
            (0..15)
                .flat_map(|n| {
                    let kind = if n == 0 {
                        opcode::TEXT
                    } else {
                        opcode::CONTINUATION
                    };
                    raw::frame(false, kind, &part)
                })
                .collect(),
        ),
        ("one frame", raw::frame(true, opcode::TEXT, &[b'x'; 1_600])),
        (
            "a frame that does not end",
            raw::frame(true, opcode::TEXT, &[b'x'; 5_000])[..4_000].to_vec(),
        ),
    ];
    for (what, bytes) in floods {
        let mut socket = Raw::open(app.address, None, &[]).await;
        socket.write(&bytes).await;
        assert_eq!(socket.end().await, Ended::Closed(4500), "{what}");
    }
}

#[tokio::test]
async fn socket_may_join_so_many_rooms_and_another_after_it_left_one() {
    let app = TestApp::with(|config| config.limits.rooms_per_socket = 2).await;
    let (ada, first, mut socket) = joined(&app).await;
    assert_eq!(told(&ada).await["rooms"], 2);
    let second = ada.create_event("Second").await;
    let third = ada.create_event("Third").await;
    socket.join(second).await;
    let refused = socket.ask("join", json!({ "rooms": [{ "room": third }] })).await;
    assert_eq!(code(&refused), "VALIDATION_ERROR");
    assert_eq!(refused["error"]["details"]["limit"], 2);
    socket.join(first).await;
    assert!(socket.ask("leave", json!({ "rooms": [first] })).await["leave"].is_object());
    socket.join(third).await;
    let many: Vec<Value> = (1..=101).map(|room| json!({ "room": room })).collect();
    assert_eq!(
        code(&socket.ask("join", json!({ "rooms": many })).await),
        "VALIDATION_ERROR"
    );
}

#[tokio::test]
async fn commands_behind_one_that_waits_are_limited_by_commands_in_flight() {
    let (tricks, gate) = (Tricks::default(), Gate::closed());
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(
        dir,
        |config| config.limits.commands_in_flight = 4,
        tricks.overrides(),
    )
    .await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let dir = app.stop().await;

    // A server whose rooms are not live yet: the join waits for the log's end.
    let app = TestApp::start(
        dir,
        |config| config.limits.commands_in_flight = 4,
        tricks.overrides(),
    )
    .await;
    let ada = User::sign_in(app.address, "Ada", &ada.phone).await;
    let mut socket = ada.connect().await;
    tricks.arm_tip(TipTrick::Hold(gate.clone()));
    let join = socket.post("join", json!({ "rooms": [{ "room": room }] })).await;
    gate.reached().await;
    let mut ids = vec![];
    for _ in 0..6 {
        ids.push(socket.post("history", json!({ "room": room })).await);
    }
    for id in &ids[4..] {
        let refused = socket.reply(*id).await;
        assert_eq!(code(&refused), "RATE_LIMIT_EXCEEDED");
        assert!(refused["error"]["retry_after_ms"].is_u64());
    }
    gate.open();
    assert!(socket.reply(join).await["join"].is_object());
    for id in &ids[..4] {
        assert!(socket.reply(*id).await["history"].is_object());
    }
}

// ---- what is told

#[tokio::test]
async fn history_page_has_100_entries_at_most_50_by_itself_and_the_key_is_history_page() {
    let app = TestApp::with(|config| config.limits.publish_burst = 1_000).await;
    let (ada, room, mut socket) = joined(&app).await;
    for n in 0..120 {
        socket.publish(room, &n.to_string()).await;
    }
    let count = |reply: &Value| {
        (
            reply["history"]["entries"].as_array().unwrap().len(),
            reply["history"]["complete"].clone(),
        )
    };
    let page = socket
        .ask("history", json!({ "room": room, "limit": 1_000 }))
        .await;
    assert_eq!(count(&page), (100, json!(false)));
    let page = socket.ask("history", json!({ "room": room })).await;
    assert_eq!(count(&page), (50, json!(false)));
    let page = socket.ask("history", json!({ "room": room, "limit": 0 })).await;
    assert_eq!(code(&page), "VALIDATION_ERROR");

    let app = TestApp::start(
        app.stop().await,
        |config| config.limits.history_page = 7,
        Overrides::default(),
    )
    .await;
    let ada = User::sign_in(app.address, "Ada", &ada.phone).await;
    let mut socket = ada.connect().await;
    let page = socket.ask("history", json!({ "room": room, "limit": 100 })).await;
    assert_eq!(count(&page), (7, json!(false)));
    assert_eq!(socket.whole_record(room).await.entries.len(), 121);
}

#[tokio::test]
async fn answer_is_cut_at_answer_bytes_and_says_so() {
    let app = TestApp::with(|config| {
        config.limits.answer_bytes = 4_096;
        config.limits.publish_burst = 1_000;
    })
    .await;
    let (ada, room, mut socket) = joined(&app).await;
    for _ in 0..20 {
        socket.publish(room, &"x".repeat(500)).await;
    }
    let page = socket.ask("history", json!({ "room": room })).await;
    assert_eq!(page["history"]["complete"], false);
    assert!(page.to_string().len() < 5_000, "{}", page.to_string().len());
    let mut late = ada.connect().await;
    let joined = late.join(room).await;
    assert_eq!(joined["complete"], false);
    assert!(
        joined["entries"].to_string().len() <= 4_096 + 100,
        "{}",
        joined["entries"].to_string().len()
    );
    assert_eq!(late.whole_record(room).await.entries, socket.copy(room).entries);
}

#[tokio::test]
async fn outbox_past_outbox_bytes_closes_its_socket_with_4002_long_before_it_stalls() {
    let app = TestApp::with(|config| {
        config.limits.outbox_bytes = 300_000;
        config.limits.outbox_stall = Duration::from_secs(3_600);
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, room, mut writer) = joined(&app).await;
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let mut reader = Raw::open(app.address, Some(1), &[&authorization]).await;
    reader
        .text(&json!({ "id": 1, "join": { "rooms": [{ "room": room }] } }).to_string())
        .await;
    reader.reply(1).await;
    let long = "가".repeat(8_000);
    // More than the outbox and whatever the kernel holds between the two (at most a few MiB).
    for _ in 0..600 {
        assert!(writer.publish(room, &long).await["publish"].is_object());
    }
    assert_eq!(reader.end().await, Ended::Closed(4002));
    // It harmed only itself.
    assert_eq!(writer.copy(room).seq, 601);
}

#[tokio::test]
async fn socket_that_takes_nothing_for_outbox_stall_is_dropped_though_its_outbox_has_room() {
    let stall = Duration::from_secs(1);
    let app = TestApp::with(|config| {
        config.limits.outbox_stall = stall;
        config.limits.outbox_bytes = 64 << 20;
        config.limits.sockets_per_user = 2;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, room, mut writer) = joined(&app).await;
    for _ in 0..20 {
        writer.publish(room, &"가".repeat(8_000)).await;
    }
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let mut deaf = Raw::open(app.address, Some(1), &[&authorization]).await;
    let began = Instant::now();
    // More answers than the kernel holds between the two.
    for id in 1..200 {
        deaf.text(&json!({ "id": id, "history": { "room": room } }).to_string())
            .await;
    }
    until("the deaf one's place", || async {
        Socket::open(app.address, Some(&ada.token)).await.ok()
    })
    .await;
    let lived = began.elapsed();
    assert!(
        lived >= stall && lived < stall + Duration::from_secs(9),
        "{lived:?}"
    );
    assert!(writer.publish(room, "on it goes").await["publish"].is_object());
}

// ---- over HTTP

#[tokio::test]
async fn event_has_so_many_participants() {
    let app = TestApp::with(|config| config.limits.participants = 3).await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let link = ada.invite(event).await;
    for name in ["민지", "Bea"] {
        app.user(name).await.join_by(&link).await;
    }
    let late = app.user("Late").await;
    let (status, body) = late
        .call(Method::POST, &format!("/invite/{link}/join"), None)
        .await;
    assert_eq!(
        (status, body["code"].as_str()),
        (StatusCode::CONFLICT, Some("EVENT_FULL")),
        "{body}"
    );
}

#[tokio::test]
async fn sign_ins_of_an_address_are_limited_and_told_when() {
    let app = TestApp::with(|config| config.limits.sign_ins_per_address = 3).await;
    for name in ["a", "b", "c"] {
        app.user(name).await;
    }
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1/auth/register", app.address))
        .json(&json!({ "phone": "01099990000", "name": "d" }))
        .sent()
        .await
        .unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(
        answer.json::<Value>().await.unwrap()["code"],
        "RATE_LIMIT_EXCEEDED"
    );
}

#[tokio::test]
async fn pages_asked_for_all_at_once_do_not_make_their_reader_slow() {
    let app = TestApp::with(|config| config.limits.publish_burst = 100).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Long talk").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let long = "가".repeat(8_000);
    for _ in 0..12 {
        assert!(socket.publish(room, &long).await["publish"].is_object());
    }
    // A quarter of a megabyte each, of which the outbox holds four.
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(socket.post("history", json!({ "room": room })).await);
    }
    for id in asked {
        let reply = socket.reply(id).await;
        assert_eq!(reply["history"]["complete"], false, "{}", reply["error"]);
    }
}
