//! The socket: what goes in, what comes out, and nothing else.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Chat, Dio, Opening, texts};
use crate::harness::{Raw, TestApp, User, raw, socket::Ended};

fn bearer(user: &User) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {}", user.token))]
}

#[tokio::test]
async fn eighty_messages_from_four_sockets_at_once_come_each_in_a_frame_of_its_own() {
    let app = TestApp::spawn().await;
    let host = app.user("Ada").await;
    let event = host.create_event("Lesson").await;
    let mut people = vec![host.clone()];
    for name in ["Bo", "Cy", "Di"] {
        let guest = app.user(name).await;
        host.bring(&guest, event).await;
        people.push(guest);
    }
    let chats = join_all(people.iter().map(|user| Chat::open(user, event))).await;
    let talks = people.iter().zip(chats).map(async |(user, mut chat)| {
        for n in 0..20 {
            chat.say(&format!("{} {n}", user.name)).await;
        }
        let mut heard = Vec::new();
        for _ in 0..80 {
            heard.push(chat.words().await);
        }
        heard
    });
    let heard = join_all(talks).await;
    for messages in &heard {
        assert_eq!(messages, &heard[0], "everybody hears the same in one order");
    }
    let ids: BTreeSet<&str> = heard[0]
        .iter()
        .map(|message| message.message_id.as_str())
        .collect();
    assert_eq!(ids.len(), 80);
    for user in &people {
        let said: Vec<&str> = heard[0]
            .iter()
            .filter(|message| message.sender_id == user.id && message.sender_name == user.name)
            .map(|message| message.message.as_str())
            .collect();
        let expected: Vec<String> = (0..20).map(|n| format!("{} {n}", user.name)).collect();
        assert_eq!(said, expected, "nobody's words overtake each other");
    }
    // What was told live is, value by value, what the history says afterwards.
    let page = Dio::of(&people[1]).messages(event, "?limit=80").await;
    assert!(page.iter().rev().eq(heard[0].iter()));
}

#[tokio::test]
async fn only_words_become_messages_and_whatever_else_is_sent_leaves_the_socket_open() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let (mut at_ada, mut at_min) = (Chat::open(&ada, event).await, Chat::open(&min, event).await);
    for frame in [
        r#"{"type":"typing"}"#,
        r#"{"type":"typing","message":"typing is no message"}"#,
        r#"{"type":"system","message":"forged"}"#,
        r#"{"type":"message","message":"   "}"#,
        r#"{"type":"message","message":null}"#,
        r#"{"type":"message","message_type":"system"}"#,
        r#"{"type":"call","message":"unknown"}"#,
        r#"{"message":"without a type"}"#,
        r#"{"id":1,"history":{"room":1}}"#,
        "{\"type\":\"message\",",
        "[]",
        "",
    ] {
        at_ada.text(frame).await;
    }
    at_ada
        .frame(Message::binary(
            br#"{"type":"message","message":"binary"}"#.to_vec(),
        ))
        .await;
    // The type of a message is the server's to say.
    at_ada
        .text(r#"{"type":"message","message":" real ","message_type":"system","sender_id":1}"#)
        .await;
    for chat in [&mut at_ada, &mut at_min] {
        let first = chat.next().await.unwrap();
        assert_eq!(
            (
                first.message.as_str(),
                first.message_type.as_str(),
                first.sender_id
            ),
            ("real", "text", ada.id),
            "the sender hears it like everybody"
        );
    }
    assert_eq!(
        Dio::of(&min).messages(event, "").await.len(),
        3,
        "two facts and one message"
    );
}

#[tokio::test]
async fn fragments_of_a_binary_message_are_ignored_and_those_of_a_text_are_one_message() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let mut raw = Raw::connect(app.address, None).await;
    let path = format!("/api/v1/ws?event_id={event}");
    let credential = format!("Sec-WebSocket-Protocol: chat, bearer.{}", ada.token);
    raw.write(raw::upgrade(&path, &[&credential]).as_bytes()).await;
    let answer = raw.answer().await;
    assert_eq!(
        (answer.status, answer.headers["sec-websocket-protocol"].as_str()),
        (101, "chat")
    );
    let said = br#"{"type":"message","message":"whole"}"#;
    for (fin, opcode, part) in [
        (false, raw::opcode::BINARY, &said[..9]),
        (false, raw::opcode::CONTINUATION, &said[9..12]),
        (true, raw::opcode::CONTINUATION, &said[12..]),
        (false, raw::opcode::TEXT, &said[..9]),
        (true, raw::opcode::CONTINUATION, &said[9..]),
    ] {
        raw.write(&raw::frame(fin, opcode, part)).await;
    }
    let message = raw.json().await.unwrap();
    assert_eq!(message["message"], "whole");
    assert_eq!(
        Dio::of(&ada).messages(event, "").await.len(),
        2,
        "the fact and one message"
    );
}

#[tokio::test]
async fn answer_to_a_message_names_it_and_one_to_anything_else_is_a_message_without_it() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let (event, other) = (ada.create_event("Lesson").await, ada.create_event("Other").await);
    let mut elsewhere = Chat::open(&ada, other).await;
    elsewhere.say("elsewhere").await;
    let elsewhere = elsewhere.words().await.message_id;
    let mut chat = Chat::open(&ada, event).await;
    chat.say("When?").await;
    let asked = chat.words().await.message_id;
    let beyond = asked.replace("000000000002", "0000000000ff");
    for (id, answers) in [
        (asked.as_str(), Some(asked.clone())),
        (elsewhere.as_str(), None),
        (beyond.as_str(), None),
        ("6fa459ea-ee8a-4ca4-894e-db77e160355e", None),
        ("nonsense", None),
    ] {
        let frame = json!({ "type": "message", "message": id, "reply_to": id });
        chat.text(&frame.to_string()).await;
        let message = chat.next().await.unwrap();
        assert_eq!((message.message.as_str(), message.reply_to), (id, answers));
    }
}

#[tokio::test]
async fn credential_comes_in_a_header_or_as_a_subprotocol_and_never_in_the_url() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let (path, token) = (format!("/api/v1/ws?event_id={event}"), &ada.token);
    let short = format!("/ws?x=1&event_id={event}");
    let protocol = |value: String| ("sec-websocket-protocol", value);
    let authorization = ("authorization", format!("Bearer {token}"));
    let opens = [
        (&path, vec![authorization.clone()], None),
        (
            &path,
            vec![authorization.clone(), protocol("chat".into())],
            Some("chat"),
        ),
        (
            &path,
            vec![protocol(format!("chat, bearer.{token}"))],
            Some("chat"),
        ),
        (
            &path,
            vec![protocol("chat".into()), protocol(format!("bearer.{token}"))],
            Some("chat"),
        ),
        (&path, vec![authorization.clone(), protocol("other".into())], None),
        (&short, vec![authorization.clone()], None),
    ];
    for (path, headers, echoed) in opens {
        let raw_lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let lines: Vec<&str> = raw_lines.iter().map(String::as_str).collect();
        let mut raw = Raw::connect(app.address, None).await;
        raw.write(raw::upgrade(path, &lines).as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 101, "{lines:?}: {answer:?}");
        let echo = answer.headers.get("sec-websocket-protocol");
        assert_eq!(echo.map(String::as_str), echoed, "{lines:?}");
        // Only the room greets, and it has nothing to say.
        raw.text(r#"{"type":"message","message":"hi"}"#).await;
        assert_eq!(raw.json().await.unwrap()["message"], "hi");
    }

    let in_url = format!("{path}&token={token}&access_token={token}");
    let no_event = "/api/v1/ws".to_owned();
    let bad_event = "/api/v1/ws?event_id=one".to_owned();
    let zero = "/api/v1/ws?event_id=0".to_owned();
    let refused = [
        (&path, vec![], 401, "AUTH_TOKEN_MISSING"),
        (&path, vec![protocol("chat".into())], 401, "AUTH_TOKEN_MISSING"),
        (&in_url, vec![protocol("chat".into())], 401, "AUTH_TOKEN_MISSING"),
        (
            &path,
            vec![protocol("chat, bearer.x.y".into())],
            401,
            "AUTH_TOKEN_INVALID",
        ),
        (
            &path,
            vec![("authorization", format!("Basic {token}"))],
            401,
            "AUTH_TOKEN_MISSING",
        ),
        (&no_event, vec![authorization.clone()], 400, "BAD_REQUEST"),
        (&bad_event, vec![authorization.clone()], 400, "BAD_REQUEST"),
        (&zero, vec![authorization.clone()], 400, "BAD_REQUEST"),
    ];
    for (path, headers, status, code) in refused {
        let (answered, body) = Chat::refusal(app.address, Opening { path, headers }).await;
        assert_eq!(
            (answered, body["code"].as_str()),
            (status, Some(code)),
            "{path}: {body}"
        );
        assert!(body["error"].is_string());
    }
    // A page of another site is refused, whatever it brings.
    let headers = vec![authorization, ("origin", "https://evil.example".into())];
    let (status, _) = Chat::refusal(app.address, Opening { path: &path, headers }).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn user_has_sixty_four_sockets_of_version_1_beside_those_of_version_2() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let mut version_2 = Vec::new();
    for _ in 0..8 {
        version_2.push(ada.connect().await);
    }
    let mut chats = Vec::new();
    for _ in 0..64 {
        chats.push(Chat::open(&ada, event).await);
    }
    let path = format!("/api/v1/ws?event_id={event}");
    let (status, body) = Chat::refusal(
        app.address,
        Opening {
            path: &path,
            headers: bearer(&ada),
        },
    )
    .await;
    assert_eq!((status, body["code"].as_str()), (429, Some("TOO_MANY_SOCKETS")));
    let mut mins = Chat::open(&min, event).await;
    mins.say("everyone").await;
    for chat in &mut chats {
        assert_eq!(chat.words().await.message, "everyone");
    }
    assert_eq!(mins.words().await.message, "everyone");
    chats.pop().unwrap().close().await;
    Chat::open(&ada, event).await;
}

#[tokio::test]
async fn what_was_said_right_before_the_socket_closed_is_published() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let mut mins = Chat::open(&min, event).await;
    let mut chat = Chat::open(&ada, event).await;
    let said: Vec<String> = (0..20).map(|number| format!("bye {number}")).collect();
    for text in &said {
        chat.say(text).await;
    }
    chat.close().await;
    for text in said {
        assert_eq!(mins.words().await.message, text);
    }
}

#[tokio::test]
async fn language_of_notes_is_asked_for_as_over_http_or_the_users_own() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let path = format!("/api/v1/ws?event_id={event}");
    // Who registered in English reads English unless another language is asked for.
    let mut korean = bearer(&ada);
    korean.push(("accept-language", "fr, ko;q=0.5".into()));
    let opening = Opening {
        path: &path,
        headers: korean,
    };
    let (mut in_korean, _) = Chat::ask(app.address, opening).await.unwrap();
    let mut in_english = Chat::open(&ada, event).await;
    ada.cancel(event, "snow").await;
    let (english, korean) = (in_english.note().await, in_korean.note().await);
    assert_eq!(english.message, "Ada canceled the appointment. Reason: snow");
    assert!(
        korean.message.contains("취소") && korean.message.contains("snow"),
        "{korean:?}"
    );
    assert_eq!(
        (english.message_id, english.created_at, english.sender_id),
        (korean.message_id, korean.created_at, ada.id)
    );
    // So is the reason why there is no socket.
    let nowhere = Opening {
        path: "/api/v1/ws?event_id=999999",
        headers: bearer(&ada),
    };
    let (status, body) = Chat::refusal(app.address, nowhere).await;
    assert_eq!((status, body["code"].as_str()), (404, Some("EVENT_NOT_FOUND")));
    assert!(body["error"].as_str().unwrap().is_ascii(), "{body}");
}

#[tokio::test]
async fn frame_that_is_too_big_ends_the_socket_and_one_that_only_says_too_much_does_not() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let mut chat = Chat::open(&ada, event).await;
    chat.say(&"x".repeat(8_001)).await;
    let note = chat.next().await.unwrap();
    assert_eq!((note.message_type.as_str(), note.sender_id), ("system", 0));
    assert!(
        note.message.contains("8000") || note.message.contains("8,000"),
        "{note:?}"
    );
    chat.say(&"가".repeat(8_000)).await;
    assert_eq!(chat.words().await.message.chars().count(), 8_000);
    chat.say(&"x".repeat(70_000)).await;
    assert_eq!(chat.rest().await.1, Ended::Closed(1009));
    let page = Dio::of(&ada).messages(event, "").await;
    assert_eq!(page.len(), 2, "{:?}", texts(&page));
}

#[tokio::test]
async fn beside_version_2_in_one_room_nothing_of_its_wire_reaches_version_1() {
    let app = TestApp::with(|config| config.session.heartbeat = Duration::from_millis(600)).await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let (mut chat, mut version_2) = (Chat::open(&ada, event).await, min.connect().await);
    version_2.join(event).await;
    chat.text(r#"{"type":"typing"}"#).await;
    let typing = version_2.push("typing").await;
    assert_eq!(typing["user"], ada.id);
    // All that the other wire tells of people and of itself.
    version_2.post("typing", json!({ "room": event })).await;
    version_2.ask("read", json!({ "room": event, "seq": 2 })).await;
    let said = version_2.publish(event, "from version 2").await;
    chat.say("from version 1").await;
    version_2
        .read_to(event, said["publish"]["seq"].as_u64().unwrap() + 1)
        .await;
    version_2.push("head").await;
    version_2.close().await;
    let mut again = min.connect().await;
    again.join(event).await;
    again.publish(event, "the end").await;
    let heard = [chat.next().await, chat.next().await, chat.next().await].map(Result::unwrap);
    assert_eq!(texts(&heard), ["from version 2", "from version 1", "the end"]);
    let entries = &again.whole_record(event).await;
    assert_eq!(entries.texts(), ["from version 2", "from version 1", "the end"]);
}
