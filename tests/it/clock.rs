//! The machine's clock is set back by an hour.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use reqwest::Method;
use serde_json::json;
use timingle::{
    app::Overrides,
    domain::time::{Clock, Micros},
};

use crate::harness::TestApp;

const HOUR: i64 = 3_600_000_000;

/// The machine's clock, and by how many microseconds it is wrong.
fn turnable() -> (Overrides, Arc<AtomicI64>) {
    let offset = Arc::new(AtomicI64::new(0));
    let (machine, turned) = (Clock::system(), Arc::clone(&offset));
    let clock = Clock::from_fn(move || Micros(machine.now().0 + turned.load(Ordering::SeqCst)));
    (
        Overrides {
            clock,
            ..Overrides::default()
        },
        offset,
    )
}

#[tokio::test]
async fn clock_set_back_an_hour_dates_nothing_before_what_stands_already() {
    let (overrides, offset) = turnable();
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), |_| {}, overrides).await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    let before = at_ada.publish(room, "before").await["publish"]["at"].clone();

    offset.store(-HOUR, Ordering::SeqCst);
    let key = uuid::Uuid::new_v4().to_string();
    let during = at_min.publish_as(room, &key, 2, "during").await;
    assert_eq!(
        during["publish"]["at"], before,
        "a clock that was set back is not believed"
    );
    let again = at_min.publish_as(room, &key, 2, "during").await;
    assert_eq!(again["publish"]["duplicate"], true, "{again}");
    // Facts too, and a room that starts anew.
    let jun = app.user("Jun").await;
    ada.bring(&jun, room).await;
    let fresh = ada.create_event("In the past").await;
    at_ada.join(fresh).await;
    let said = at_ada.publish(fresh, "first").await;
    assert!(
        said["publish"]["at"].as_str() < before.as_str(),
        "a new record knows no later time: {said}"
    );

    offset.store(HOUR, Ordering::SeqCst);
    let after = at_ada.publish(room, "after").await;
    assert!(after["publish"]["at"].as_str() > before.as_str(), "{after}");
    offset.store(0, Ordering::SeqCst);
    at_ada.publish(room, "back again").await;

    let record = at_ada.whole_record(room).await;
    record.assert_whole();
    assert_eq!(record.texts(), ["before", "during", "after", "back again"]);
    let times: Vec<&str> = record
        .entries
        .values()
        .map(|entry| entry["at"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    at_min.read_to(room, record.seq).await;
    assert_eq!(at_min.copy(room).entries, record.entries);
}

#[tokio::test]
async fn sign_ins_outlive_a_clock_set_back_an_hour() {
    let (overrides, offset) = turnable();
    let app = TestApp::start(
        Arc::new(tempfile::tempdir().unwrap()),
        |config| config.auth.revocation_poll = std::time::Duration::from_millis(20),
        overrides,
    )
    .await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;

    offset.store(-HOUR, Ordering::SeqCst);
    // Who was signed in stays so, on sockets that are open and on new ones.
    let (status, body) = ada.call(Method::GET, "/events", None).await;
    assert_eq!(status, 200, "{body}");
    let mut second = ada.connect().await;
    second.join(room).await;
    let renewed = socket.ask("auth", json!({ "access_token": ada.token })).await;
    assert!(renewed.get("hello").is_some(), "{renewed}");
    // Who signs in or refreshes now is signed in as long as ever.
    let min = app.user("Min").await;
    let refresh = json!({ "refresh_token": ada.refresh_token });
    let (status, refreshed) = ada.call(Method::POST, "/auth/refresh", Some(refresh)).await;
    assert_eq!(status, 200, "{refreshed}");

    offset.store(0, Ordering::SeqCst);
    for user in [&ada, &min] {
        let (status, body) = user.call(Method::GET, "/events", None).await;
        assert_eq!(status, 200, "{body}");
    }
    for socket in [&mut socket, &mut second] {
        let said = socket.publish(room, "still here").await;
        assert!(said["publish"]["seq"].is_u64(), "{said}");
    }
}

#[tokio::test]
async fn token_ends_when_the_clock_says_so_and_a_refresh_goes_on() {
    let (overrides, offset) = turnable();
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), |_| {}, overrides).await;
    let ada = app.user("Ada").await;
    offset.store(13 * HOUR, Ordering::SeqCst);
    let (status, body) = ada.call(Method::GET, "/events", None).await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (401, &json!("AUTH_TOKEN_EXPIRED")),
        "{body}"
    );
    let refresh = json!({ "refresh_token": ada.refresh_token });
    let (status, refreshed) = ada.call(Method::POST, "/auth/refresh", Some(refresh)).await;
    assert_eq!(status, 200, "{refreshed}");
}
