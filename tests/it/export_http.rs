//! Whoever takes part in an event, or did, can take its record home and have it verified,
//! and finds nothing in it that was not theirs to see.

use reqwest::Method;
use serde_json::Value;
use timingle::service::export::{Verified, verify};

use crate::{
    harness::{
        Socket, TestApp, User,
        log::{TipTrick, Tricks},
        user::Answer,
    },
    tamper::python_says,
};

async fn download(user: &User, event: i64) -> Answer {
    user.call_with(Method::GET, &format!("/events/{event}/export"), &[], None)
        .await
}

/// What both verifiers find in the export of `user`.
async fn verified(user: &User, event: i64) -> (Verified, Vec<Value>, String) {
    let answer = download(user, event).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let name = format!("attachment; filename=\"timingle-event-{event}.jsonl\"");
    assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
    let found = verify(answer.bytes.as_slice(), None, None).unwrap();
    assert_eq!(found.event.0, event);

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("record.jsonl"), &answer.bytes).unwrap();
    let (said, valid) = python_says(dir.path(), ["record.jsonl".to_owned()].into_iter());
    let expected = format!(
        "record.jsonl: ok, {} entries, {} without content, head {}",
        found.entries, found.erased, found.head.hash
    );
    assert_eq!((said, valid), (vec![expected], true));

    let text = String::from_utf8(answer.bytes).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, found.entries + 2);
    (found, lines, text)
}

async fn say(socket: &mut Socket, event: i64, text: &str) -> u64 {
    socket.publish(event, text).await["publish"]["seq"]
        .as_u64()
        .unwrap()
}

/// A server on which one may talk as fast as a test does.
async fn talkative() -> TestApp {
    TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await
}

#[tokio::test]
async fn export_of_who_takes_part_is_the_whole_record_and_always_the_same_bytes() {
    let app = talkative().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    let mut socket = ada.connect().await;
    socket.join(event).await;
    for n in 0..100 {
        say(&mut socket, event, &format!("{n} \"안녕\" \\ 🙂\n")).await;
    }
    ada.bring(&bob, event).await;
    let last = say(&mut socket, event, "the last").await;
    let (found, lines, text) = verified(&ada, event).await;
    assert_eq!((found.entries, found.erased, last), (103, 0, 103));
    assert_eq!(lines[1]["seq"], 1);
    // A late joiner sees all of it, and nothing in it says when or for whom it was made.
    assert_eq!(verified(&bob, event).await.2, text);
}

#[tokio::test]
async fn export_of_who_left_or_was_removed_ends_with_the_entry_that_says_so() {
    let app = TestApp::spawn().await;
    let (ada, bob, cleo) = (
        app.user("Ada").await,
        app.user("Bob").await,
        app.user("Cleo").await,
    );
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    ada.bring(&cleo, event).await;
    let mut socket = ada.connect().await;
    socket.join(event).await;
    say(&mut socket, event, "for both").await;
    bob.remove(&bob, event).await;
    say(&mut socket, event, "for cleo").await;
    ada.remove(&cleo, event).await;
    let last = say(&mut socket, event, "for nobody").await;

    let (of_bob, lines, text) = verified(&bob, event).await;
    assert_eq!((of_bob.entries, of_bob.erased), (last - 3, 0));
    assert!(text.contains("for both") && !text.contains("for cleo"));
    let farewell = lines[lines.len() - 2]["body"].as_str().unwrap();
    assert!(farewell.contains("participant_left"), "{farewell}");
    let (of_cleo, _, text) = verified(&cleo, event).await;
    assert_eq!((of_cleo.entries, of_cleo.erased), (last - 1, 0));
    assert!(text.contains("for cleo") && !text.contains("for nobody"));
    assert!(text.contains("participant_removed"));
}

#[tokio::test]
async fn what_lay_between_leaving_and_coming_back_has_no_content() {
    let app = talkative().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    let mut socket = ada.connect().await;
    socket.join(event).await;
    say(&mut socket, event, "before").await;
    bob.remove(&bob, event).await;
    let left = say(&mut socket, event, "secret 0").await - 1;
    for n in 1..40 {
        say(&mut socket, event, &format!("secret {n}")).await;
    }
    ada.bring(&bob, event).await;
    let last = say(&mut socket, event, "after").await;

    let (found, lines, text) = verified(&bob, event).await;
    assert_eq!((found.entries, found.erased, found.unexplained), (last, 40, 40));
    assert!(text.contains("before") && text.contains("after") && !text.contains("secret"));
    for line in &lines[1..lines.len() - 1] {
        let seq = line["seq"].as_u64().unwrap();
        let hidden = (left + 1..=left + 40).contains(&seq);
        assert_eq!(
            (line["body"].is_null(), line["salt"].is_null()),
            (hidden, hidden),
            "{line}"
        );
        assert_eq!(line["digest"].as_str().unwrap().len(), 64);
    }
    assert!(verified(&ada, event).await.2.contains("secret 39"));
    // Gone again, and the hidden part stays hidden.
    ada.remove(&bob, event).await;
    say(&mut socket, event, "secret too").await;
    let (found, _, text) = verified(&bob, event).await;
    assert_eq!((found.entries, found.erased), (last + 1, 40));
    assert!(text.contains("after") && !text.contains("secret"));
}

#[tokio::test]
async fn fact_whose_place_the_store_does_not_know_hides_what_follows_all_the_same() {
    let app = TestApp::with(|config| config.room.sweep = std::time::Duration::from_secs(3_600)).await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    let mut socket = ada.connect().await;
    socket.join(event).await;
    bob.remove(&bob, event).await;
    say(&mut socket, event, "secret").await;
    let forget = async || {
        let forget = format!(
            "update event_history set seq = null where event_id = {event} and kind = 'participant_left'"
        );
        assert_eq!(app.alter(&forget).await, 1);
    };
    // The room is live and has the fact, the store does not know where.
    forget().await;
    let (found, _, text) = verified(&bob, event).await;
    assert_eq!(found.entries, 3);
    assert!(!text.contains("secret"));
    // Nobody else is held up by it.
    forget().await;
    assert!(verified(&ada, event).await.2.contains("secret"));
}

#[tokio::test]
async fn strangers_get_no_export_and_learn_nothing() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let event = ada.create_event("Dinner").await;
    let (of_hers, of_none) = (download(&eve, event).await, download(&eve, 999_999).await);
    for refused in [&of_hers, &of_none] {
        assert_eq!(refused.status.as_u16(), 404);
        assert_eq!(refused.body["code"], "EVENT_NOT_FOUND");
        assert_eq!(refused.header("content-disposition"), None);
    }
    assert_eq!(of_hers.body["error"], of_none.body["error"]);
}

#[tokio::test]
async fn export_is_whole_while_others_write_and_an_error_while_the_log_is_away() {
    let tricks = Tricks::default();
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(
        dir,
        |config| {
            config.limits.publishes_per_s = 10_000;
            config.limits.publish_burst = 10_000;
        },
        tricks.overrides(),
    )
    .await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    let writer = async {
        let mut socket = bob.connect().await;
        socket.join(event).await;
        for n in 0..60 {
            say(&mut socket, event, &n.to_string()).await;
        }
    };
    let reader = async {
        let mut entries = Vec::new();
        for _ in 0..10 {
            entries.push(verified(&ada, event).await.0.entries);
        }
        entries
    };
    let ((), entries) = tokio::join!(writer, reader);
    assert!(entries.is_sorted(), "{entries:?}");

    tricks.arm_tip(TipTrick::Fail);
    let refused = download(&ada, event).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["code"]),
        (503, &"UNAVAILABLE".into())
    );
    verified(&ada, event).await;
}
