//! The socket's description against itself and the code; the harness holds every frame of
//! the other tests against it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use timingle::error::ErrorCode;

use crate::harness::{
    Raw, Socket, TestApp,
    frames::{self, From, Wire, matching, messages},
    log::{Trick, Tricks},
    raw::upgrade,
    soon,
};

fn walk(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            members.values().for_each(|member| walk(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = frames::document();
    let api: Value = serde_json::from_str(timingle::http::openapi::text()).unwrap();
    let mut count = 0;
    walk(&document, &mut |members| {
        let Some(target) = members.get("$ref").and_then(Value::as_str) else {
            return;
        };
        count += 1;
        let found = match target.split_once('#').unwrap() {
            ("", pointer) => document.pointer(pointer),
            ("./openapi.json", pointer) => api.pointer(pointer),
            (file, _) => panic!("{file}"),
        };
        assert!(found.is_some(), "{target} leads nowhere");
    });
    assert!(
        count > 100,
        "only {count} references were found: is the search broken?"
    );
}

#[test]
fn every_part_is_used_and_every_message_is_of_an_operation() {
    let document = frames::document();
    assert_eq!(document["asyncapi"], "3.0.0");
    let mut used = BTreeSet::new();
    walk(&document, &mut |members| {
        used.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
    });
    for kind in ["messages", "schemas"] {
        for name in document["components"][kind].as_object().unwrap().keys() {
            let pointer = format!("#/components/{kind}/{name}");
            assert!(used.contains(&pointer), "nothing refers to {pointer}");
        }
    }
    let described: BTreeSet<&str> = messages().iter().map(|message| message.name.as_str()).collect();
    let kept: BTreeSet<&str> = document["components"]["messages"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(described, kept);
}

#[test]
fn every_message_has_a_shape_of_its_own() {
    for message in messages() {
        assert!(!message.examples.is_empty(), "{} has no example", message.name);
        for example in &message.examples {
            assert_eq!(
                matching(message.wire, message.from, example),
                [message.name.as_str()],
                "{example}"
            );
            let mut more = example.clone();
            more["unknown"] = json!(1);
            let is_known = !matching(message.wire, message.from, &more).is_empty();
            assert_eq!(
                is_known,
                message.from == From::Client,
                "{}: an unknown member",
                message.name
            );
        }
    }
}

#[test]
fn a_frame_that_is_not_described_is_noticed() {
    let complaint = |frame: Value| {
        let checked = std::panic::catch_unwind(|| frames::check(Wire::V2, From::Server, &frame));
        checked
            .err()
            .map(|fallen| fallen.downcast_ref::<String>().cloned().unwrap_or_default())
    };
    let head = json!({ "seq": 1, "hash": "ab".repeat(32) });
    assert_eq!(
        complaint(json!({ "push": "head", "room": 1, "head": head })),
        None
    );
    for (what, frame) in [
        ("push", json!({ "push": "other", "room": 1 })),
        (
            "/head/hash",
            json!({ "push": "head", "room": 1, "head": { "seq": 1, "hash": "AB".repeat(32) } }),
        ),
        (
            "'more'",
            json!({ "push": "head", "room": 1, "head": head, "more": true }),
        ),
        (
            "/error/code",
            json!({ "id": 1, "error": { "code": "NEW", "message": "m", "temporary": false } }),
        ),
    ] {
        let complaint = complaint(frame).unwrap_or_else(|| panic!("{what} is not noticed"));
        assert!(complaint.contains(what), "{what}: {complaint}");
    }
}

#[test]
fn every_close_code_and_every_error_code_is_told() {
    let document = frames::document();
    let about =
        ["version2", "version1"].map(|name| document["channels"][name]["description"].as_str().unwrap());
    let about = about.concat();
    // `protocol_document.rs` holds this table against the code.
    let rows = include_str!("../../docs/protocol.md").lines();
    let codes: Vec<&str> = rows
        .filter_map(|row| row.strip_prefix("| ")?.split(" |").next())
        .filter(|cell| cell.len() == 4 && cell.parse::<u16>().is_ok())
        .collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        assert!(about.contains(code), "{code} is not told");
    }
    let api: Value = serde_json::from_str(timingle::http::openapi::text()).unwrap();
    let told: BTreeSet<&str> = api["components"]["schemas"]["ErrorCode"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|code| code.as_str().unwrap())
        .collect();
    assert_eq!(told, ErrorCode::ALL.map(ErrorCode::as_str).into());
}

/// A command for a socket of version 1, and which message of the description it is.
async fn send_version_1(raw: &mut Raw, frame: Value) -> &'static str {
    raw.text(&frame.to_string()).await;
    frames::check(Wire::V1, From::Client, &frame)
}

/// Reads on until `socket` has met the message `name`.
async fn meet(socket: &mut Socket, name: &str) {
    soon(name, async {
        while !socket.seen.contains(name) {
            socket.frame_whenever().await.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn every_message_that_is_described_is_met() {
    let tricks = Tricks::default();
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let quick = |config: &mut timingle::config::Config| config.session.heartbeat = Duration::from_millis(400);
    let app = TestApp::start(dir, quick, tricks.overrides()).await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let event = ada.create_event("Lesson").await;

    // With the credential in a frame, and one that says nothing; then in the header.
    let mut at_ada = Socket::open(app.address, None).await.unwrap();
    let refused = at_ada.ask("auth", json!({ "access_token": "none" })).await;
    assert_eq!(refused["error"]["code"], "AUTH_TOKEN_INVALID", "{refused}");
    at_ada.ask("auth", json!({ "access_token": ada.token })).await;
    at_ada.join(event).await;
    ada.bring(&min, event).await;
    let mut at_min = min.connect().await;
    at_min.join(event).await;
    meet(&mut at_ada, "presencePush").await;
    meet(&mut at_ada, "feedPush").await;
    at_ada.publish(event, "words").await;
    meet(&mut at_min, "entriesPush").await;
    at_min.ask("history", json!({ "room": event })).await;
    at_min.ask("presence", json!({ "room": event })).await;
    at_min.ask("read", json!({ "room": event, "seq": 3 })).await;
    meet(&mut at_ada, "readPush").await;
    at_min.post("typing", json!({ "room": event })).await;
    meet(&mut at_ada, "typingPush").await;
    meet(&mut at_ada, "headPush").await;

    // Version 1, in the same room.
    let mut seen = BTreeSet::new();
    let mut raw = Raw::connect(app.address, None).await;
    let credential = format!("Authorization: Bearer {}", min.token);
    raw.write(upgrade(&format!("/api/v1/ws?event_id={event}"), &[&credential]).as_bytes())
        .await;
    assert_eq!(raw.answer().await.status, 101);
    seen.insert(send_version_1(&mut raw, json!({ "type": "typing" })).await);
    seen.insert(send_version_1(&mut raw, json!({ "type": "message", "message": "words" })).await);
    ada.cancel(event, "rain").await;
    while !["said", "note"].iter().all(|name| seen.contains(name)) {
        let frame = raw.json().await.unwrap();
        seen.insert(frames::check(Wire::V1, From::Server, &frame));
    }

    // A room that falls, a participant who goes, a server that stops.
    tricks.arm("fall", Trick::Panic);
    at_ada.publish(event, "fall").await;
    meet(&mut at_ada, "feedResetPush").await;
    at_ada.ask("leave", json!({ "rooms": [event] })).await;
    min.remove(&min, event).await;
    meet(&mut at_min, "removedPush").await;
    let stopping = tokio::spawn(app.stop());
    meet(&mut at_ada, "shutdownPush").await;
    stopping.await.unwrap();

    seen.extend(&at_ada.seen);
    seen.extend(&at_min.seen);
    let described: BTreeSet<&str> = messages().iter().map(|message| message.name.as_str()).collect();
    assert_eq!(
        described.difference(&seen).collect::<Vec<_>>(),
        [] as [&&str; 0],
        "never met"
    );
}
