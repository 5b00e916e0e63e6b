//! Text that is no command, or one that cannot be done: the socket goes on.

use serde_json::{Value, json};

use super::{assert_serves, code, raw_socket};
use crate::harness::TestApp;

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
