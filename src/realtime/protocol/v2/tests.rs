use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Command, Window, decode, encode};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Kind},
        fact::{Change, Fact},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    error::{Coded as _, ErrorCode},
    i18n::Language,
};

fn code(text: &str) -> (Option<u64>, ErrorCode) {
    let decoded = decode(text);
    (decoded.id, decoded.command.unwrap_err().code())
}

#[test]
fn commands_are_read() {
    let decoded = decode(
        r#"{"id":7,"publish":{"room":3,"key":"8f14e45f-ceea-4a7a-9d0e-6f3f0d6e7b11","after":4,"body":{"text":"네"},"new":1},"later":{}}"#,
    );
    assert_eq!(decoded.id, Some(7));
    let Ok(Command::Publish(publish)) = decoded.command else {
        panic!("not a publish")
    };
    assert_eq!(
        (
            publish.room,
            publish.after,
            publish.body.text.as_str(),
            publish.reply_to
        ),
        (EventId(3), 4, "네", None)
    );
    let Ok(Command::History(history)) = decode(r#"{"id":1,"history":{"room":3,"before":10}}"#).command else {
        panic!("not a history")
    };
    assert_eq!(history.window, Window::Before(10));
}

#[test]
fn what_is_not_a_command_says_why() {
    let bad = ErrorCode::BadRequest;
    assert_eq!(code("nonsense"), (None, bad));
    assert_eq!(code("[1]"), (None, bad));
    assert_eq!(code(r#"{"id":1}"#), (Some(1), bad));
    assert_eq!(code(r#"{"id":1,"dance":{}}"#), (Some(1), bad));
    assert_eq!(code(r#"{"id":0,"leave":{"rooms":[1]}}"#), (None, bad));
    assert_eq!(code(r#"{"id":1e400,"leave":{"rooms":[1]}}"#), (None, bad));
    assert_eq!(
        code(r#"{"id":9007199254740992,"leave":{"rooms":[1]}}"#),
        (None, bad)
    );
    assert_eq!(code(r#"{"leave":{"rooms":[1]}}"#), (None, bad));
    assert_eq!(code(r#"{"id":1,"leave":{"rooms":["1"]}}"#), (Some(1), bad));
    assert_eq!(
        code(r#"{"id":1,"leave":{"rooms":[1]},"history":{"room":1}}"#),
        (Some(1), bad)
    );
    assert_eq!(
        code(r#"{"id":1,"leave":{"rooms":[]}}"#),
        (Some(1), ErrorCode::ValidationError)
    );
    assert_eq!(
        code(r#"{"id":1,"history":{"room":1,"before":1,"after":1}}"#),
        (Some(1), ErrorCode::ValidationError)
    );
    assert_eq!(
        code(&format!(
            r#"{{"id":1,"join":{}{}}}"#,
            "[".repeat(20_000),
            "]".repeat(20_000)
        )),
        (Some(1), bad)
    );
}

#[test]
fn fact_names_people_and_carries_its_text() {
    let fact = Fact {
        id: uuid::Uuid::from_u128(1),
        no: 1,
        actor: Some(UserId(5)),
        at: Micros(0),
        change: Change::ParticipantJoined { user: UserId(5) },
    };
    let mut tip = Tip::empty(RoomId(uuid::Uuid::nil()));
    let entry = tip.seal(fact.draft(), Micros(1), [0; 16]);
    let name_of = |_| Some("민지".to_owned());
    let style = encode::EntryStyle {
        language: Language::Ko,
        name_of: &name_of,
    };
    let shown: Value = serde_json::from_str(encode::entry(&entry, &style).get()).unwrap();
    assert_eq!(shown["fact"]["user"], json!({ "id": 5, "name": "민지" }));
    assert_eq!(shown["fact"]["type"], "participant_joined");
    assert!(!shown["fact"]["text"].as_str().unwrap().is_empty());
    assert!(shown.get("body").is_none());
}

#[test]
fn message_body_travels_as_it_was_stored() {
    let mut tip = Tip::empty(RoomId(uuid::Uuid::nil()));
    let entry = tip.seal(
        Draft {
            author: Some(UserId(5)),
            kind: Kind::Message,
            key: uuid::Uuid::nil(),
            reply_to: Some(3),
            target: None,
            body: bytes::Bytes::from_static(b"{\"text\":\"\\u0001 a\"}"),
        },
        Micros(1),
        [0; 16],
    );
    let style = encode::EntryStyle {
        language: Language::En,
        name_of: &|_| None,
    };
    assert_eq!(
        encode::entry(&entry, &style).get(),
        "{\"seq\":1,\"at\":\"1970-01-01T00:00:00.000001Z\",\"author\":5,\"kind\":\"message\",\
         \"body\":{\"text\":\"\\u0001 a\"},\"reply_to\":3,\"key\":\"00000000-0000-0000-0000-000000000000\"}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decoder_never_panics_on_any_text(text in any::<String>()) {
        decode(&text);
    }

    #[test]
    fn decoder_never_panics_on_near_misses(
        name in prop::sample::select(vec!["auth", "join", "leave", "publish", "history", "x"]),
        members in prop::collection::btree_map(
            prop::sample::select(vec!["room", "rooms", "key", "after", "before", "body", "text", "since", "limit", "access_token", "reply_to"]),
            prop::sample::select(vec!["1", "-1", "0", "1.5", "1e99", "null", "true", "\"\"", "[]", "[1]", "{}", "{\"text\":\"a\"}", "[{\"room\":1}]",
                "\"8f14e45f-ceea-4a7a-9d0e-6f3f0d6e7b11\"", "9007199254740993", "{\"seq\":1,\"hash\":\"zz\"}"]),
            0..8),
        id in prop::sample::select(vec!["1", "0", "-3", "null", "\"7\"", "18446744073709551616"]),
        cut in any::<prop::sample::Index>(),
    ) {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{\"id\":{id},\"{name}\":{{{}}}}}", members.join(","));
        let decoded = decode(&text);
        if id != "1" {
            prop_assert!(decoded.command.is_err());
        }
        decode(&text[..cut.index(text.len())]);
    }
}
