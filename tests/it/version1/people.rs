//! Who may, whether it was said, and how a socket ends.

use std::time::Duration;

use reqwest::Method;

use super::client::{Chat, Dio, Opening, texts};
use crate::harness::{
    TestApp, User,
    log::{Gate, Trick, Tricks},
    socket::Ended,
};

async fn refusal(user: &User, event: i64) -> (u16, serde_json::Value) {
    let path = format!("/api/v1/ws?event_id={event}");
    let headers = vec![("sec-websocket-protocol", format!("chat, bearer.{}", user.token))];
    Chat::refusal(user.address, Opening { path: &path, headers }).await
}

#[tokio::test]
async fn who_is_put_out_hears_the_farewell_and_nothing_after_and_may_not_come_back() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let (mut at_ada, mut at_min) = (Chat::open(&ada, event).await, Chat::open(&min, event).await);
    at_min.say("hello").await;
    assert_eq!(at_ada.words().await.message, "hello");
    ada.remove(&min, event).await;
    at_ada.say("secret").await;
    assert_eq!(at_ada.words().await.message, "secret");
    let (heard, ended) = at_min.rest().await;
    assert_eq!(ended, Ended::Closed(4504));
    assert_eq!(
        heard.len(),
        2,
        "the own words and the farewell: {:?}",
        texts(&heard)
    );
    assert_eq!(
        (heard[0].message.as_str(), heard[1].message_type.as_str()),
        ("hello", "system")
    );

    let (status, body) = refusal(&min, event).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("FORBIDDEN")));
    // The record up to the farewell stays readable.
    let page = Dio::of(&min).messages(event, "").await;
    assert_eq!(page[0].message, heard[1].message);
    assert!(!texts(&page).contains(&"secret"));
}

#[tokio::test]
async fn stranger_cannot_tell_an_event_of_others_from_none() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let event = ada.create_event("Lesson").await;
    let _live = Chat::open(&ada, event).await;
    let idle = ada.create_event("Idle").await;
    let none = refusal(&eve, 999_999).await;
    assert_eq!((none.0, none.1["code"].as_str()), (404, Some("EVENT_NOT_FOUND")));
    for event in [event, idle] {
        assert_eq!(refusal(&eve, event).await, none);
    }
    let dio = Dio::of(&eve);
    let mut answers = Vec::new();
    for event in [event, idle, 999_999] {
        let path = format!("/api/v1/events/{event}/messages?limit=50");
        let mut answer = dio.ask(Method::GET, &path, None).await;
        answer.body.as_object_mut().unwrap().remove("request_id");
        answers.push((answer.status.as_u16(), answer.body));
    }
    assert_eq!(answers[0].0, 404);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn message_that_is_refused_is_told_to_its_sender_alone_and_stands_in_no_record() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 1;
        config.limits.publish_burst = 2;
    })
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let (mut at_ada, mut at_min) = (Chat::open(&ada, event).await, Chat::open(&min, event).await);
    for text in ["one", "two", "three"] {
        at_ada.say(text).await;
    }
    let mut heard = Vec::new();
    for _ in 0..3 {
        heard.push(at_ada.next().await.unwrap());
    }
    let notes: Vec<_> = heard
        .iter()
        .filter(|message| message.message_type == "system")
        .collect();
    assert_eq!(notes.len(), 1, "{heard:?}");
    assert_eq!((notes[0].event_id, notes[0].sender_id), (event, 0));
    at_min.say("four").await;
    let told: Vec<String> = [at_min.next().await, at_min.next().await, at_min.next().await]
        .map(|message| message.unwrap().message)
        .into();
    assert_eq!(told, ["one", "two", "four"]);
    let page = Dio::of(&ada).messages(event, "?limit=3").await;
    assert_eq!(texts(&page), ["four", "two", "one"]);
}

#[tokio::test]
async fn message_that_the_log_does_not_confirm_is_tried_again_with_its_key_and_then_said_to_be_unsure() {
    let tricks = Tricks::default();
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(
        dir,
        |config| config.room.publish_timeout = Duration::from_secs(2),
        tricks.overrides(),
    )
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let (mut at_ada, mut at_min) = (Chat::open(&ada, event).await, Chat::open(&min, event).await);

    // The room falls after it has written: the session tries again, and nobody hears it twice.
    tricks.arm("written twice?", Trick::PanicWritten);
    tricks.arm("fallen once", Trick::Panic);
    for text in ["written twice?", "fallen once", "after it"] {
        at_ada.say(text).await;
    }
    for chat in [&mut at_ada, &mut at_min] {
        let heard = [chat.words().await, chat.words().await, chat.words().await];
        assert_eq!(texts(&heard), ["written twice?", "fallen once", "after it"]);
    }

    let gate = Gate::closed();
    tricks.arm("held up", Trick::Hold(gate.clone()));
    at_ada.say("held up").await;
    let note = at_ada.next().await.unwrap();
    assert_eq!((note.message_type.as_str(), note.sender_id), ("system", 0));
    gate.open();
    assert_eq!(at_ada.words().await.message, "held up");
    at_min.say("the end").await;
    let heard = [at_min.next().await.unwrap(), at_min.next().await.unwrap()];
    assert_eq!(texts(&heard), ["held up", "the end"], "the note was Ada's alone");
    let page = Dio::of(&ada).messages(event, "?limit=5").await;
    assert_eq!(
        texts(&page),
        ["the end", "held up", "after it", "fallen once", "written twice?"]
    );
}

#[tokio::test]
async fn signing_out_ends_the_socket() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let mut chat = Chat::open(&ada, event).await;
    Dio::of(&ada)
        .done(Method::POST, "/api/v1/auth/logout", None, 200)
        .await;
    assert_eq!(chat.rest().await.1, Ended::Closed(4502));
}
