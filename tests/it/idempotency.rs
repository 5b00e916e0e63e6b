//! A creation that is asked for twice happens once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use timingle::{
    app::Overrides,
    domain::time::{Clock, Micros},
};

use crate::harness::{TestApp, User, user::Answer};

fn dinner() -> Value {
    json!({ "title": "Dinner", "start_time": "2031-05-01T10:00:00Z", "end_time": "2031-05-01T12:00:00Z" })
}

async fn post(user: &User, path: &str, key: &str, body: &Value) -> Answer {
    user.call_with(
        Method::POST,
        path,
        &[("idempotency-key", key)],
        Some(body.clone()),
    )
    .await
}

async fn events_of(user: &User) -> usize {
    let (_, list) = user.call(Method::GET, "/events", None).await;
    list.as_array().unwrap().len()
}

/// A server whose clock stands until it is turned.
async fn with_clock(dir: Arc<tempfile::TempDir>, now: &Arc<AtomicI64>) -> TestApp {
    let now = Arc::clone(now);
    let overrides = Overrides {
        clock: Clock::from_fn(move || Micros(now.load(Ordering::SeqCst))),
        ..Overrides::default()
    };
    let day = Duration::from_secs(24 * 3_600);
    TestApp::start(
        dir,
        |config| {
            config.events.idempotency_life = day;
            config.auth.v1_access_expiry = 30 * day;
        },
        overrides,
    )
    .await
}

#[tokio::test]
async fn repeated_creation_is_answered_the_same_and_makes_nothing() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let first = post(&ada, "/events", "k-1", &dinner()).await;
    assert_eq!(
        (first.status.as_u16(), first.header("idempotency-replayed")),
        (201, None)
    );
    let again = post(&ada, "/events", "k-1", &dinner()).await;
    assert_eq!(again.status.as_u16(), 201, "{}", again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(events_of(&ada).await, 1);

    // What was answered then, although the event has changed since.
    let id = first.body["id"].as_i64().unwrap();
    ada.cancel(id, "rain").await;
    let later = post(&ada, "/events", "k-1", &dinner()).await;
    assert_eq!((later.status.as_u16(), &later.body), (201, &first.body));

    // Another key, no key, and another person's key of that name make events of their own.
    for (user, key) in [(&ada, "k-2"), (&app.user("Bob").await, "k-1")] {
        let other = post(user, "/events", key, &dinner()).await;
        assert_eq!(other.header("idempotency-replayed"), None);
        assert_ne!(other.body["id"], first.body["id"]);
    }
    ada.create_event("Dinner").await;
    assert_eq!(events_of(&ada).await, 3);
}

#[tokio::test]
async fn key_of_another_request_is_refused() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let first = post(&ada, "/events", "key", &dinner()).await;
    let id = first.body["id"].as_i64().unwrap();
    let mut other = dinner();
    other["title"] = "Lunch".into();
    for (path, body) in [
        ("/events".to_owned(), &other),
        (format!("/events/{id}/invite-link"), &dinner()),
        (format!("/events/{id}/invite-link"), &json!({})),
    ] {
        let refused = post(&ada, &path, "key", body).await;
        assert_eq!(refused.status.as_u16(), 422, "{path}: {}", refused.body);
        assert_eq!(refused.body["code"], "IDEMPOTENCY_KEY_REUSED", "{path}");
    }
    assert_eq!(events_of(&ada).await, 1);
}

#[tokio::test]
async fn key_out_of_form_is_refused_and_makes_nothing() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let longest = "k".repeat(200);
    for key in ["", "two words", &"k".repeat(201)] {
        let refused = post(&ada, "/events", key, &dinner()).await;
        assert_eq!(refused.status.as_u16(), 422, "{key:?}: {}", refused.body);
        assert_eq!(refused.body["code"], "VALIDATION_ERROR", "{key:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], "/Idempotency-Key");
    }
    let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let refused = ada
        .call_with(Method::POST, "/events", &twice, Some(dinner()))
        .await;
    assert_eq!(refused.status.as_u16(), 422, "{}", refused.body);
    assert_eq!(events_of(&ada).await, 0);
    assert_eq!(
        post(&ada, "/events", &longest, &dinner()).await.status.as_u16(),
        201
    );
}

#[tokio::test]
async fn refused_creation_leaves_the_key_free() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut bad = dinner();
    bad["end_time"] = "2031-05-01T09:00:00Z".into();
    assert_eq!(post(&ada, "/events", "key", &bad).await.status.as_u16(), 422);
    bad = dinner();
    bad["participant_ids"] = json!([999_999]);
    assert_eq!(post(&ada, "/events", "key", &bad).await.status.as_u16(), 422);
    assert_eq!(post(&ada, "/events", "key", &dinner()).await.status.as_u16(), 201);
}

#[tokio::test]
async fn twenty_at_once_with_one_key_make_one_event() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let body = dinner();
    let answers = futures_util::future::join_all((0..20).map(|_| post(&ada, "/events", "one", &body))).await;
    let replayed = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_some())
        .count();
    assert_eq!(replayed, 19);
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.body), (201, &answers[0].body));
    }
    assert_eq!(events_of(&ada).await, 1);
}

#[tokio::test]
async fn links_and_participants_are_made_once_too() {
    let app = TestApp::spawn().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let shared = ada.create_event("Shared").await;
    ada.bring(&bob, shared).await;
    let event = ada.create_event("Next").await;

    let path = format!("/events/{event}/invite-link");
    let first = post(&ada, &path, "link", &json!({ "max_uses": 3 })).await;
    let again = post(&ada, &path, "link", &json!({ "max_uses": 3 })).await;
    assert_eq!(
        (first.status.as_u16(), again.status.as_u16()),
        (200, 200),
        "{}",
        first.body
    );
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let (_, links) = ada.call(Method::GET, &format!("{path}s"), None).await;
    assert_eq!(links.as_array().unwrap().len(), 1, "{links}");

    let path = format!("/events/{event}/participants");
    let body = json!({ "participant_id": bob.id });
    let first = post(&ada, &path, "bob", &body).await;
    assert_eq!(first.status.as_u16(), 200, "{}", first.body);
    assert_eq!(first.body["participants"][0]["id"], bob.id);
    // Bob goes; the repetition of what brought him in does not bring him back.
    bob.remove(&bob, event).await;
    let again = post(&ada, &path, "bob", &body).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let (_, now) = ada.call(Method::GET, &format!("/events/{event}"), None).await;
    assert_eq!(now["participants"], json!([]));
}

#[tokio::test]
async fn repetition_names_nobody_whose_account_is_gone_since() {
    let app = TestApp::spawn().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob-Unmistakable").await);
    let shared = ada.create_event("Shared").await;
    ada.bring(&bob, shared).await;
    let event = ada.create_event("Next").await;
    let mut made = dinner();
    made["participant_ids"] = json!([bob.id]);
    let add = format!("/events/{event}/participants");
    let creations = [("/events", made), (&*add, json!({ "participant_id": bob.id }))];
    for (path, body) in &creations {
        let first = post(&ada, path, path, body).await;
        assert_eq!(
            first.body["participants"][0]["name"], "Bob-Unmistakable",
            "{}",
            first.body
        );
    }
    bob.call(Method::DELETE, "/users/me", None).await;
    for (path, body) in &creations {
        let again = post(&ada, path, path, body).await;
        assert_eq!(
            again.header("idempotency-replayed"),
            Some("true"),
            "{}",
            again.body
        );
        let guest = &again.body["participants"][0];
        assert_eq!(
            (&guest["id"], &guest["name"]),
            (&json!(bob.id), &json!("someone")),
            "{path}"
        );
        assert!(!again.body.to_string().contains("Bob"), "{path}: {}", again.body);
        assert_eq!(again.body["creator"]["name"], "Ada");
    }
}

#[tokio::test]
async fn key_survives_a_restart_and_ends_with_its_life() {
    let now = Arc::new(AtomicI64::new(1_900_000_000_000_000));
    let app = with_clock(Arc::new(tempfile::tempdir().unwrap()), &now).await;
    let ada = app.user("Ada").await;
    let mut body = dinner();
    // A deadline that will have passed when the request is repeated.
    body["confirm_by"] = "2030-03-17T18:00:00Z".into();
    let first = post(&ada, "/events", "key", &body).await;
    assert_eq!(first.status.as_u16(), 201, "{}", first.body);

    let app = with_clock(app.stop().await, &now).await;
    now.fetch_add(23 * 3_600_000_000, Ordering::SeqCst);
    let ada = User {
        address: app.address,
        ..ada
    };
    let again = post(&ada, "/events", "key", &body).await;
    assert_eq!(
        again.header("idempotency-replayed"),
        Some("true"),
        "{}",
        again.body
    );
    assert_eq!(again.body, first.body);

    now.fetch_add(2 * 3_600_000_000, Ordering::SeqCst);
    body["confirm_by"] = Value::Null;
    let new = post(&ada, "/events", "key", &body).await;
    assert_eq!(
        (new.status.as_u16(), new.header("idempotency-replayed")),
        (201, None),
        "{}",
        new.body
    );
    assert_ne!(new.body["id"], first.body["id"]);
}
