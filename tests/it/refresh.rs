//! Refresh tokens over HTTP: the old way, in which one stays, and the new one, in which each
//! is followed by the next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use timingle::{
    app::Overrides,
    domain::time::{Clock, Micros},
};

use crate::harness::{TestApp, User, api::Sends as _, socket::Ended};

const HOUR: Duration = Duration::from_secs(3_600);

/// A server whose clock is turned by hand.
async fn server() -> (TestApp, Arc<AtomicI64>) {
    let offset = Arc::new(AtomicI64::new(0));
    let (hands, system) = (Arc::clone(&offset), Clock::system());
    let clock = Clock::from_fn(move || Micros(system.now().0 + hands.load(Ordering::SeqCst)));
    let overrides = Overrides {
        clock,
        ..Overrides::default()
    };
    let dir: Arc<TempDir> = Arc::new(tempfile::tempdir().unwrap());
    // Neither the poll nor the token's own end may do what is tested here.
    let app = TestApp::start(dir, |config| config.auth.revocation_poll = HOUR, overrides).await;
    (app, offset)
}

async fn refresh(app: &TestApp, body: Value) -> (StatusCode, Value) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1/auth/refresh", app.address))
        .json(&body)
        .sent()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn clients_that_keep_the_first_token_can_go_on_doing_so() {
    let (app, hands) = server().await;
    let ada = app.user("Ada").await;
    for rotate in [json!(null), json!(false)] {
        hands.fetch_add(3_600_000_000, Ordering::SeqCst);
        let body = json!({ "refresh_token": ada.refresh_token, "rotate": rotate });
        let (status, answer) = refresh(&app, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        assert_eq!(answer["refresh_token"], ada.refresh_token.as_str());
        // The app cannot refresh in mid-session: what it had stays what it gets.
        assert_eq!(answer["expires_in"], 12 * 3_600);
        assert_eq!(
            (&answer["id"], &answer["user"]["id"]),
            (&ada.id.into(), &ada.id.into())
        );
    }
    let (status, _) = refresh(&app, json!({ "refresh_token": ada.refresh_token })).await;
    assert_eq!(status, StatusCode::OK);
    let (status, answer) = refresh(&app, json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    let (status, answer) = refresh(&app, json!({ "refresh_token": "unknown" })).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::UNAUTHORIZED, &"AUTH_TOKEN_INVALID".into())
    );
}

#[tokio::test]
async fn parallel_refreshes_agree_and_a_late_one_ends_the_session_with_its_sockets() {
    let (app, hands) = server().await;
    let ada = app.user("Ada").await;
    let on_tablet = User::sign_in(app.address, "Ada", &ada.phone).await;
    let (mut socket, mut other) = (ada.connect().await, on_tablet.connect().await);
    let room = ada.create_event("Lesson").await;
    socket.join(room).await;
    other.join(room).await;

    let body = json!({ "refresh_token": ada.refresh_token, "rotate": true });
    let answers = futures_util::future::join_all((0..8).map(|_| refresh(&app, body.clone()))).await;
    let next = answers[0].1["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(next, ada.refresh_token);
    for (status, answer) in &answers {
        assert_eq!(
            (*status, &answer["refresh_token"]),
            (StatusCode::OK, &next.as_str().into())
        );
    }

    hands.fetch_add(10_000_000, Ordering::SeqCst);
    let (status, answer) = refresh(&app, body).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::UNAUTHORIZED, &"AUTH_TOKEN_INVALID".into())
    );
    assert_eq!(socket.end().await, Ended::Closed(4502));
    let (status, _) = refresh(&app, json!({ "refresh_token": next, "rotate": true })).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    other.publish(room, "another device goes on").await;
}
