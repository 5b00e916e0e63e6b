use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Incoming, chat_message, decode};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        fact::{Change, Fact},
        id::{EventId, RoomId, UserId},
        time::Micros,
    },
    i18n::Language,
    realtime::protocol::v2::EntryStyle,
};

const EVENT: EventId = EventId(42);

fn entry(kind: Kind, author: Option<i64>, body: &Value) -> Entry {
    let draft = Draft {
        author: author.map(UserId),
        kind,
        key: Uuid::from_u128(7),
        reply_to: Some(3),
        target: None,
        body: Bytes::from(body.to_string()),
    };
    Tip::empty(RoomId(Uuid::nil())).seal(draft, Micros(1_790_000_000_000_001), [0; 16])
}

fn shown(entry: &Entry, language: Language) -> Option<Value> {
    let style = EntryStyle {
        language,
        name_of: &|user| (user == UserId(5)).then(|| "민지".to_owned()),
    };
    chat_message(EVENT, entry, &style).map(|message| serde_json::from_str(message.get()).unwrap())
}

#[test]
fn message_is_flat_and_holds_no_null() {
    let said = entry(
        Kind::Message,
        Some(5),
        &json!({ "text": "몇 시에 \"볼까요\"?\n" }),
    );
    assert_eq!(
        shown(&said, Language::Ko).unwrap(),
        json!({
            "message_id": "00000000-002a-8000-8000-000000000001",
            "event_id": 42,
            "sender_id": 5,
            "sender_name": "민지",
            "message": "몇 시에 \"볼까요\"?\n",
            "message_type": "text",
            "reply_to": "00000000-002a-8000-8000-000000000003",
            "is_deleted": false,
            "created_at": "2026-09-21T14:13:20.000001Z",
        })
    );
}

#[test]
fn erased_message_keeps_its_place_without_its_words() {
    let mut said = entry(Kind::Message, Some(6), &json!({ "text": "a secret" }));
    said.content = None;
    let shown = shown(&said, Language::En).unwrap();
    assert_eq!(
        (&shown["message"], &shown["is_deleted"]),
        (&json!(""), &json!(true))
    );
    assert_eq!(shown["sender_name"], "someone", "a name is never missing");
}

#[test]
fn fact_is_a_note_in_the_readers_language() {
    let fact = Fact {
        id: Uuid::from_u128(9),
        no: 1,
        actor: Some(UserId(5)),
        at: Micros(0),
        change: Change::Canceled { reason: None },
    };
    let noted = |fact: &Fact| Tip::empty(RoomId(Uuid::nil())).seal(fact.draft(), Micros(1), [0; 16]);
    let shown_in = |language| shown(&noted(&fact), language).unwrap();
    assert_eq!(
        shown_in(Language::En)["message"],
        "민지 canceled the appointment."
    );
    assert_ne!(
        shown_in(Language::Ko)["message"],
        shown_in(Language::En)["message"]
    );
    assert_eq!(
        (
            &shown_in(Language::Ko)["message_type"],
            &shown_in(Language::Ko)["sender_id"]
        ),
        (&json!("system"), &json!(5))
    );
    let by_itself = Fact { actor: None, ..fact };
    let shown = shown(&noted(&by_itself), Language::En).unwrap();
    assert_eq!(
        (&shown["sender_id"], &shown["sender_name"]),
        (&json!(0), &json!("timingle"))
    );
}

#[test]
fn kinds_that_version_1_does_not_know_are_not_shown() {
    for kind in [Kind::Edit, Kind::Erase, Kind::React, Kind::Ack] {
        assert_eq!(shown(&entry(kind, Some(5), &json!({})), Language::Ko), None);
    }
}

#[test]
fn only_words_and_typing_are_taken() {
    let said = |text: &str| {
        Some(Incoming::Message {
            text: text.into(),
            reply_to: None,
        })
    };
    assert_eq!(
        decode(r#"{"type":"message","message":" hi  ","event_id":7}"#),
        said("hi")
    );
    assert_eq!(
        decode(r#"{"type":"message","message":"x","reply_to":null}"#),
        said("x")
    );
    assert_eq!(
        decode(r#"{"type":"message","message":"x","reply_to":"what"}"#),
        said("x")
    );
    assert_eq!(decode(r#"{"type":"typing"}"#), Some(Incoming::Typing));
    let answer = r#"{"type":"message","message":"x","reply_to":"00000000-002a-8000-8000-000000000003"}"#;
    let Some(Incoming::Message {
        reply_to: Some(id), ..
    }) = decode(answer)
    else {
        panic!("{answer}");
    };
    assert_eq!((id.event, id.seq), (EVENT, 3));
    for junk in [
        r#"{"type":"system","message":"forged"}"#,
        r#"{"type":"image","message":"x"}"#,
        r#"{"message":"x"}"#,
        r#"{"type":"message"}"#,
        r#"{"type":"message","message":"  \n"}"#,
        r#"{"type":"message","message":5}"#,
        r#"{"type":["message"],"message":"x"}"#,
        r#"{"type":"message","message":"x"}{"#,
        "[]",
        "\"message\"",
        "null",
        "{",
        "",
    ] {
        assert_eq!(decode(junk), None, "{junk}");
    }
}
