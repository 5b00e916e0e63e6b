//! Whatever a client sends harms at most its own socket, and that only where it breaks the protocol.

use std::sync::Arc;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use timingle::app::Overrides;

use crate::harness::{
    Raw, Socket, TestApp, User,
    log::Tricks,
    raw::{self, Answer, frame, header, opcode, upgrade},
    socket::Ended,
};

fn code(frame: &Value) -> &str {
    frame["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("not an error: {frame}"))
}

/// A raw socket of `user`, past its hello.
async fn raw_socket(user: &User) -> Raw {
    let mut socket = Raw::open(
        user.address,
        None,
        &[&format!("Authorization: Bearer {}", user.token)],
    )
    .await;
    assert_eq!(socket.json().await.unwrap()["push"], "hello");
    socket
}

/// Fails unless the socket still serves.
async fn assert_serves(socket: &mut Raw, room: i64) {
    socket
        .text(&json!({ "id": 4_242, "history": { "room": room } }).to_string())
        .await;
    loop {
        let frame = socket.json().await.expect("the socket did not survive");
        if frame["id"] == 4_242 {
            assert!(frame["history"].is_object(), "{frame}");
            return;
        }
    }
}

// ---- text that is no command: the socket survives

#[tokio::test]
async fn text_that_is_no_command_is_answered_and_the_socket_goes_on() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = raw_socket(&ada).await;
    let deep_list = format!(
        r#"{{"id":9,"join":{}{}}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    let deep_object = format!("{}1{}", r#"{"id":9,"a":"#.repeat(5_000), "}".repeat(5_000));
    let many = format!(r#"{{"id":9,{}"x":1}}"#, r#""y":1,"#.repeat(5_000));
    // What is sent, the error, and the id it is told under.
    let cases = [
        ("", "BAD_REQUEST", None),
        (" ", "BAD_REQUEST", None),
        ("null", "BAD_REQUEST", None),
        ("7", "BAD_REQUEST", None),
        ("[]", "BAD_REQUEST", None),
        (r#""auth""#, "BAD_REQUEST", None),
        ("{", "BAD_REQUEST", None),
        (r#"{"id":9,"history":{"room":1}} {}"#, "BAD_REQUEST", None),
        ("{}", "BAD_REQUEST", None),
        (r#"{"history":{"room":1}}"#, "BAD_REQUEST", None),
        (r#"{"id":0,"history":{"room":1}}"#, "BAD_REQUEST", None),
        (r#"{"id":-1,"history":{"room":1}}"#, "BAD_REQUEST", None),
        (r#"{"id":1.5,"history":{"room":1}}"#, "BAD_REQUEST", None),
        (r#"{"id":"9","history":{"room":1}}"#, "BAD_REQUEST", None),
        (
            r#"{"id":9007199254740992,"history":{"room":1}}"#,
            "BAD_REQUEST",
            None,
        ),
        (r#"{"id":1e400,"history":{"room":1}}"#, "BAD_REQUEST", None),
        (
            r#"{"id":99999999999999999999999999999999,"leave":{}}"#,
            "BAD_REQUEST",
            None,
        ),
        (r#"{"id":9}"#, "BAD_REQUEST", Some(9)),
        (r#"{"id":9,"subscribe":{"room":1}}"#, "BAD_REQUEST", Some(9)),
        (r#"{"id":9,"Join":{"rooms":[]}}"#, "BAD_REQUEST", Some(9)),
        (
            r#"{"id":9,"leave":{"rooms":[1]},"history":{"room":1}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (r#"{"id":9,"join":null}"#, "BAD_REQUEST", Some(9)),
        (r#"{"id":9,"join":{}}"#, "BAD_REQUEST", Some(9)),
        (r#"{"id":9,"join":{"rooms":7}}"#, "BAD_REQUEST", Some(9)),
        (r#"{"id":9,"join":{"rooms":[]}}"#, "VALIDATION_ERROR", Some(9)),
        (r#"{"id":9,"join":{"rooms":["1"]}}"#, "BAD_REQUEST", Some(9)),
        (
            r#"{"id":9,"join":{"rooms":[{"room":"1"}]}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (
            r#"{"id":9,"join":{"rooms":[{"room":1,"since":{"seq":1}}]}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (
            r#"{"id":9,"join":{"rooms":[{"room":1,"since":{"seq":1,"hash":"zz"}}]}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (
            r#"{"id":9,"join":{"rooms":[{"room":-5}]}}"#,
            "VALIDATION_ERROR",
            Some(9),
        ),
        (r#"{"id":9,"history":{"room":0}}"#, "VALIDATION_ERROR", Some(9)),
        (
            r#"{"id":9,"history":{"room":9007199254740992}}"#,
            "VALIDATION_ERROR",
            Some(9),
        ),
        (r#"{"id":9,"history":{"room":1e999}}"#, "BAD_REQUEST", Some(9)),
        (
            r#"{"id":9,"history":{"room":1,"limit":-1}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (
            r#"{"id":9,"history":{"room":1,"limit":0}}"#,
            "VALIDATION_ERROR",
            Some(9),
        ),
        (
            r#"{"id":9,"history":{"room":1,"before":2,"after":1}}"#,
            "VALIDATION_ERROR",
            Some(9),
        ),
        (
            r#"{"id":9,"publish":{"room":1,"key":"no","after":0,"body":{"text":"x"}}}"#,
            "BAD_REQUEST",
            Some(9),
        ),
        (
            r#"{"id":9,"auth":{"access_token":"nonsense"}}"#,
            "AUTH_TOKEN_INVALID",
            Some(9),
        ),
        (r#"{"id":9,"auth":{"access_token":7}}"#, "BAD_REQUEST", Some(9)),
        (&deep_list, "BAD_REQUEST", Some(9)),
        (&deep_object, "BAD_REQUEST", Some(9)),
        (&many, "BAD_REQUEST", Some(9)),
    ];
    for (text, expected, id) in cases {
        socket.text(text).await;
        let answer = socket
            .json()
            .await
            .unwrap_or_else(|ended| panic!("{ended:?} after {text:.100}"));
        let shown = &text[..text.len().min(100)];
        assert_eq!(code(&answer), expected, "{shown}: {answer}");
        assert_eq!(answer["id"].as_u64(), id, "{shown}: {answer}");
        assert!(
            !answer["error"]["message"].as_str().unwrap().is_empty(),
            "{shown}: {answer}"
        );
    }
    assert_serves(&mut socket, room).await;
}

#[tokio::test]
async fn publish_with_wrong_members_is_refused_and_the_socket_goes_on() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = uuid::Uuid::new_v4().to_string();
    let good = json!({ "room": room, "key": key, "after": 1, "body": { "text": "x" } });
    let with = |member: &str, value: Value| {
        let mut arguments = good.clone();
        arguments[member] = value;
        arguments
    };
    let cases = [
        (with("room", json!("1")), "BAD_REQUEST"),
        (with("room", json!(room + 1_000)), "NOT_JOINED"),
        (with("key", json!(7)), "BAD_REQUEST"),
        (with("key", Value::Null), "BAD_REQUEST"),
        (with("after", json!(-1)), "BAD_REQUEST"),
        (with("after", json!("1")), "BAD_REQUEST"),
        (with("after", json!(2)), "POSITION_UNKNOWN"),
        (with("after", json!(1_u64 << 53)), "VALIDATION_ERROR"),
        (with("body", json!("x")), "BAD_REQUEST"),
        (with("body", json!({})), "BAD_REQUEST"),
        (with("body", json!({ "text": 7 })), "BAD_REQUEST"),
        (with("body", json!({ "text": "" })), "VALIDATION_ERROR"),
        (with("reply_to", json!(0)), "VALIDATION_ERROR"),
        (with("reply_to", json!(2)), "VALIDATION_ERROR"),
        (with("reply_to", json!("1")), "BAD_REQUEST"),
    ];
    for (arguments, expected) in cases {
        let refused = socket.ask("publish", arguments.clone()).await;
        assert_eq!(code(&refused), expected, "{arguments}: {refused}");
    }
    // A lone surrogate is no text; a member that nobody knows is nobody's business.
    socket
        .text(&format!(
            r#"{{"id":70,"publish":{{"room":{room},"key":"{key}","after":1,"body":{{"text":"\ud800"}}}}}}"#
        ))
        .await;
    assert_eq!(code(&socket.reply(70).await), "BAD_REQUEST");
    let said = socket.ask("publish", with("colour", json!("blue"))).await;
    assert_eq!(said["publish"]["seq"], 2);
}

#[tokio::test]
async fn rooms_that_are_unknown_or_of_others_look_the_same_and_the_join_of_the_rest_succeeds() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let (hers, own) = (ada.create_event("Hers").await, eve.create_event("Own").await);
    let mut socket = eve.connect().await;
    let reply = socket
        .ask(
            "join",
            json!({ "rooms": [{ "room": hers }, { "room": own }, { "room": 999_999 }] }),
        )
        .await;
    let rooms = reply["join"]["rooms"].as_array().unwrap();
    assert_eq!(
        (rooms[0]["room"].as_i64(), rooms[1]["room"].as_i64()),
        (Some(hers), Some(own))
    );
    assert_eq!(rooms[0]["error"]["code"], "EVENT_NOT_FOUND");
    assert!(rooms[1].get("error").is_none(), "{reply}");
    assert_eq!(rooms[0]["error"], rooms[2]["error"], "the two can be told apart");
    for room in [hers, 999_999] {
        assert_eq!(
            code(&socket.ask("history", json!({ "room": room })).await),
            "EVENT_NOT_FOUND"
        );
        assert_eq!(code(&socket.publish(room, "let me in").await), "NOT_JOINED");
    }
    assert!(socket.publish(own, "mine").await["publish"].is_object());
    assert_eq!(
        ada.connect().await.whole_record(hers).await.texts(),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn key_that_is_further_back_than_the_window_is_expired() {
    let app = TestApp::with(|config| {
        config.room.key_window = 20;
        config.room.tail_entries = 5;
        config.limits.publish_burst = 1_000;
    })
    .await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = uuid::Uuid::new_v4().to_string();
    let first = socket.publish_as(room, &key, 1, "once").await;
    for n in 0..19 {
        socket.publish(room, &n.to_string()).await;
    }
    // Head 21: right at the window's edge the log itself is asked.
    let again = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(
        (
            again["publish"]["seq"].clone(),
            again["publish"]["duplicate"].clone()
        ),
        (first["publish"]["seq"].clone(), json!(true))
    );
    assert_eq!(
        code(&socket.publish_as(room, &key, 1, "twice").await),
        "KEY_CONFLICT"
    );
    socket.publish(room, "one more").await;
    assert_eq!(
        code(&socket.publish_as(room, &key, 1, "once").await),
        "KEY_EXPIRED"
    );
    assert_eq!(socket.copy(room).seq, 22);
}

// ---- frames

#[tokio::test]
async fn broken_frames_close_with_their_code() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let first = frame(false, opcode::TEXT, b"{");
    let cases: [(&str, Vec<u8>, u16); 15] = [
        (
            "text that is not UTF-8",
            frame(true, opcode::TEXT, b"{\"id\":\"\xff\xfe\"}"),
            1007,
        ),
        (
            "fragments that are not UTF-8 together",
            [
                frame(false, opcode::TEXT, b"{\xf0\x9f"),
                frame(true, opcode::CONTINUATION, b"}"),
            ]
            .concat(),
            1007,
        ),
        ("binary", frame(true, opcode::BINARY, b"{}"), 4501),
        ("binary fragment", frame(false, opcode::BINARY, b"{}"), 4501),
        (
            "continuation of nothing",
            frame(true, opcode::CONTINUATION, b"{}"),
            4501,
        ),
        (
            "text inside a fragmented text",
            [first.clone(), frame(true, opcode::TEXT, b"{}")].concat(),
            4501,
        ),
        (
            "new fragment inside a fragmented text",
            [first.clone(), first].concat(),
            4501,
        ),
        ("unmasked", vec![0x81, 2, b'{', b'}'], 4501),
        (
            "reserved bits",
            [vec![0xc1], frame(true, opcode::TEXT, b"{}")[1..].to_vec()].concat(),
            4501,
        ),
        ("unknown opcode", frame(true, 3, b""), 4501),
        ("unknown control opcode", frame(true, 11, b""), 4501),
        ("ping over 125 bytes", frame(true, opcode::PING, &[0; 126]), 4501),
        ("ping in fragments", frame(false, opcode::PING, b"x"), 4501),
        (
            "close with half a code",
            frame(true, opcode::CLOSE, b"\x03"),
            4501,
        ),
        (
            "length with its highest bit set",
            header(true, opcode::TEXT, u64::MAX),
            1009,
        ),
    ];
    for (what, bytes, expected) in cases {
        let mut socket = raw_socket(&ada).await;
        socket.write(&bytes).await;
        assert_eq!(socket.end().await, Ended::Closed(expected), "{what}");
    }
}

#[tokio::test]
async fn fragments_are_put_together_with_a_ping_in_between_answered() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = raw_socket(&ada).await;
    let command = json!({ "id": 5, "history": { "room": room, "limit": 1 }, "note": "가나다" }).to_string();
    // Byte by byte: also inside a character.
    let bytes = command.as_bytes();
    for (n, byte) in bytes.iter().enumerate() {
        let kind = if n == 0 {
            opcode::TEXT
        } else {
            opcode::CONTINUATION
        };
        socket.write(&frame(n + 1 == bytes.len(), kind, &[*byte])).await;
        if n == bytes.len() / 2 {
            socket.write(&frame(true, opcode::PING, b"still there?")).await;
        }
    }
    assert_eq!(
        socket.next().await.unwrap(),
        (opcode::PONG, b"still there?".to_vec())
    );
    assert!(socket.reply(5).await["history"].is_object());
    // Empty fragments are allowed as well.
    socket.write(&frame(false, opcode::TEXT, b"")).await;
    socket.write(&frame(false, opcode::CONTINUATION, bytes)).await;
    socket.write(&frame(true, opcode::CONTINUATION, b"")).await;
    assert!(socket.reply(5).await["history"].is_object());
    // And frames that arrive a byte at a time.
    for byte in frame(true, opcode::TEXT, bytes) {
        socket.write(&[byte]).await;
    }
    assert!(socket.reply(5).await["history"].is_object());
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_a_close_with_a_close() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut socket = raw_socket(&ada).await;
    for payload in [&b""[..], b"x", &[7; 125]] {
        socket.write(&frame(true, opcode::PING, payload)).await;
        assert_eq!(socket.next().await.unwrap(), (opcode::PONG, payload.to_vec()));
    }
    // An unasked pong is heard and not answered.
    socket.write(&frame(true, opcode::PONG, b"hello")).await;
    socket.write(&frame(true, opcode::CLOSE, &[0x03, 0xe9])).await;
    assert_eq!(socket.end().await, Ended::Closed(1000));
}

#[tokio::test]
async fn connection_that_breaks_off_in_a_frame_leaves_nothing_behind() {
    let app = TestApp::with(|config| config.limits.sockets_per_user = 1).await;
    let ada = app.user("Ada").await;
    let mut socket = raw_socket(&ada).await;
    socket
        .write(&frame(true, opcode::TEXT, &[b'x'; 5_000])[..2_000])
        .await;
    drop(socket);
    crate::harness::until("the socket's place", || async {
        Socket::open(app.address, Some(&ada.token)).await.ok()
    })
    .await;
}

// ---- handshakes

async fn ask(app: &TestApp, head: &str) -> (Answer, Raw) {
    let mut raw = Raw::connect(app.address, None).await;
    raw.write(head.as_bytes()).await;
    (raw.answer().await, raw)
}

const V2: &str = "Sec-WebSocket-Protocol: timingle.v2";

#[tokio::test]
async fn upgrade_that_is_refused_is_answered_with_the_one_error_body() {
    let app =
        TestApp::with(|config| config.server.allowed_origins = vec!["https://timingle.app".into()]).await;
    let ada = app.user("Ada").await;
    let token = &ada.token;
    let bearer = format!("Authorization: Bearer {token}");
    let (in_query, in_cookie) = (
        format!("/api/v1/ws?access_token={token}&token={token}"),
        format!("Cookie: access_token={token}"),
    );
    let no_version = upgrade("/api/v1/ws", &[V2]).replace("Sec-WebSocket-Version: 13\r\n", "");
    let old_version = upgrade("/api/v1/ws", &[V2]).replace("Version: 13", "Version: 8");
    let no_key = upgrade("/api/v1/ws", &[V2]).replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let bad_key = upgrade("/api/v1/ws", &[V2]).replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=");
    let post = upgrade("/api/v1/ws", &[V2]).replace("GET ", "POST ");
    let cases = [
        ("no subprotocol", upgrade("/api/v1/ws", &[]), 400, "BAD_REQUEST"),
        (
            "another subprotocol",
            upgrade("/api/v1/ws", &["Sec-WebSocket-Protocol: timingle.v3, chat"]),
            400,
            "BAD_REQUEST",
        ),
        (
            "another site's page",
            upgrade("/api/v1/ws", &[V2, "Origin: https://evil.example"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a page without a site",
            upgrade("/api/v1/ws", &[V2, "Origin: null"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a site that only begins alike",
            upgrade("/api/v1/ws", &[V2, "Origin: https://timingle.app.evil.example"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a wrong path",
            upgrade("/api/v1/wss", &[V2, &bearer]),
            404,
            "NOT_FOUND",
        ),
        (
            "a path of the API",
            upgrade("/api/v1/events", &[V2, &bearer]),
            404,
            "NOT_FOUND",
        ),
        (
            "a bad token",
            upgrade("/api/v1/ws", &[V2, "Authorization: Bearer nonsense"]),
            401,
            "AUTH_TOKEN_INVALID",
        ),
        (
            "another scheme",
            upgrade("/api/v1/ws", &[V2, "Authorization: Basic QTpC"]),
            401,
            "AUTH_TOKEN_MISSING",
        ),
        ("no version", no_version, 400, "BAD_REQUEST"),
        ("an old version", old_version, 400, "BAD_REQUEST"),
        ("no key", no_key, 400, "BAD_REQUEST"),
        ("a bad key", bad_key, 400, "BAD_REQUEST"),
        ("another method", post, 400, "BAD_REQUEST"),
    ];
    for (what, head, status, expected) in cases {
        let (answer, _) = ask(&app, &head).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(expected)),
            "{what}: {answer:?}"
        );
        assert!(answer.json()["error"].is_string(), "{what}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
    }

    // A token in the URL or in a cookie is no credential: the socket opens for somebody unknown.
    for head in [
        upgrade(&in_query, &[V2]),
        upgrade("/api/v1/ws", &[V2, &in_cookie]),
    ] {
        let (answer, mut socket) = ask(&app, &head).await;
        assert_eq!(answer.status, 101);
        socket.text(r#"{"id":1,"history":{"room":1}}"#).await;
        assert_eq!(code(&socket.json().await.unwrap()), "AUTH_TOKEN_MISSING");
    }
    // The own host, the listed site, several offers: fine, and the subprotocol is echoed.
    for line in [
        "Origin: http://localhost",
        "Origin: https://timingle.app",
        "Sec-WebSocket-Protocol: chat, timingle.v2",
    ] {
        let (answer, _) = ask(&app, &upgrade("/api/v1/ws", &[V2, line])).await;
        assert_eq!(answer.status, 101, "{line}");
        assert_eq!(answer.headers["sec-websocket-protocol"], "timingle.v2");
        assert_eq!(
            answer.headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
    // Without an upgrade it is a path like any other.
    let (answer, _) = ask(&app, "GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (404, Some("NOT_FOUND"))
    );
}

#[tokio::test]
async fn frames_sent_right_behind_the_upgrade_are_not_lost() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut raw = Raw::connect(app.address, None).await;
    let auth = json!({ "id": 1, "auth": { "access_token": ada.token } }).to_string();
    let head = upgrade("/api/v1/ws", &[V2]);
    raw.write(&[head.as_bytes(), &frame(true, opcode::TEXT, auth.as_bytes())].concat())
        .await;
    assert_eq!(raw.answer().await.status, 101);
    assert!(raw.reply(1).await["hello"].is_object());
}

// ---- noise

/// Something that may look like a frame.
fn noise(rng: &mut StdRng, room: i64) -> Vec<u8> {
    let words = [
        "id", "join", "publish", "history", "leave", "auth", "rooms", "room", "key", "after", "body", "text",
    ];
    let word = |rng: &mut StdRng| words[rng.random_range(0..words.len())];
    let payload: Vec<u8> = match rng.random_range(0..5) {
        0 => (0..rng.random_range(0..300)).map(|_| rng.random()).collect(),
        1 => {
            let key = uuid::Uuid::from_u128(rng.random_range(0..500));
            let after = rng.random_range(0..5);
            let mut command = json!({ "id": rng.random_range(1..9), "publish":
                { "room": room, "key": key, "after": after, "body": { "text": word(rng) } } })
            .to_string()
            .into_bytes();
            // Whole, or with a byte changed.
            if rng.random() {
                let place = rng.random_range(0..command.len());
                command[place] = rng.random();
            }
            command
        }
        2 => json!({ "id": rng.random_range(-2..9), word(rng): { word(rng): rng.random::<i32>(), "room": room } })
            .to_string()
            .into_bytes(),
        3 => {
            let rooms = json!([{ "room": room, "limit": rng.random_range(0..500) }, { "room": rng.random::<u32>() }]);
            json!({ "id": 3, word(rng): { "rooms": rooms, "room": room } }).to_string().into_bytes()
        }
        _ => word(rng).repeat(rng.random_range(0..50)).into_bytes(),
    };
    match rng.random_range(0..80) {
        0 => payload,
        1 => header(
            rng.random(),
            rng.random_range(0..16),
            rng.random_range(0..200_000),
        ),
        2 => [&[rng.random(), rng.random()], &payload[..]].concat(),
        3..6 => frame(
            rng.random(),
            [0, 1, 1, 2, 8, 9, 10][rng.random_range(0..7)],
            &payload,
        ),
        _ => raw::frame(true, opcode::TEXT, &payload),
    }
}

#[tokio::test]
async fn thousands_of_random_frames_leave_the_server_serving_and_the_record_whole() {
    let seed: u64 = std::env::var("TIMINGLE_SEED")
        .ok()
        .map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("TIMINGLE_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let change = |config: &mut timingle::config::Config| {
        config.limits.publishes_per_s = 100_000;
        config.limits.publish_burst = 100_000;
        config.limits.sockets_per_user = 1_000;
    };
    let tricks = Tricks::default();
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), change, tricks.overrides()).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut witness = ada.connect().await;
    witness.join(room).await;
    let starts = tricks.tips_asked();
    let (mut frames, mut sockets) = (0, 0);
    while frames < 4_000 {
        sockets += 1;
        let mut socket = raw_socket(&ada).await;
        socket
            .text(&json!({ "id": 9, "join": { "rooms": [{ "room": room }] } }).to_string())
            .await;
        for _ in 0..200 {
            frames += 1;
            let bytes = noise(&mut rng, room);
            if !socket.try_write(&bytes).await {
                break;
            }
            // The socket is read now and then, and left when it was closed.
            if rng.random_range(0..8) == 0
                && let Ok(ended) =
                    tokio::time::timeout(std::time::Duration::from_millis(2), socket.end()).await
            {
                assert_ne!(ended, Ended::Closed(1011), "our fault, says the server");
                break;
            }
        }
    }
    println!("{frames} frames on {sockets} sockets");
    let said = witness.publish(room, "still here").await;
    assert!(said["publish"].is_object(), "{said}");
    assert_eq!(tricks.tips_asked(), starts, "a room fell and was built again");
    witness.copy(room).assert_whole();
    let copy = witness.copy(room).clone();
    assert!(
        copy.texts().len() > 50,
        "hardly anything of the noise was a message: {:?}",
        copy.texts()
    );
    assert_eq!(witness.whole_record(room).await.entries, copy.entries);

    // What it left on disk opens again, and is the same.
    let app = TestApp::start(app.stop().await, |_| {}, Overrides::default()).await;
    let ada = User::sign_in(app.address, "Ada", &ada.phone).await;
    assert_eq!(ada.connect().await.whole_record(room).await.entries, copy.entries);
}
