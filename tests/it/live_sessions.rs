//! A socket that is open lives as long as its sign-in, its token and its client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use timingle::{app::Overrides, config::Config, domain::time::Clock};
use tokio_tungstenite::tungstenite::Error;

use crate::harness::{
    Raw, Socket, TestApp, User,
    raw::{frame, opcode},
    socket::Ended,
    soon,
};

const HOUR: Duration = Duration::from_secs(3_600);

async fn assert_serves(socket: &mut Socket, room: i64) {
    let reply = socket.ask("history", json!({ "room": room })).await;
    assert!(reply["history"].is_object(), "{reply}");
}

async fn sign_out(user: &User) {
    let (status, body) = user.call(Method::POST, "/auth/logout", None).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

/// The status and code with which a socket of this token is refused.
async fn refusal(user: &User) -> (u16, String) {
    match Socket::open(user.address, Some(&user.token)).await {
        Err(Error::Http(answer)) => {
            let body: serde_json::Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
            (
                answer.status().as_u16(),
                body["code"].as_str().unwrap().to_owned(),
            )
        }
        other => panic!("{:?}", other.map(|_| "a socket")),
    }
}

#[tokio::test]
async fn signing_out_closes_the_sockets_of_that_sign_in_at_once_and_no_others() {
    // The poll could not do it within this test.
    let app = TestApp::with(|config| config.auth.revocation_poll = HOUR).await;
    let on_phone = app.user("Ada").await;
    let on_tablet = User::sign_in(app.address, "Ada", &on_phone.phone).await;
    let min = app.user("민지").await;
    let room = on_phone.create_event("Lesson").await;
    on_phone.bring(&min, room).await;
    let (mut first, mut second) = (on_phone.connect().await, on_phone.connect().await);
    let (mut tablet, mut mins) = (on_tablet.connect().await, min.connect().await);
    for socket in [&mut first, &mut second, &mut tablet, &mut mins] {
        socket.join(room).await;
    }
    sign_out(&on_phone).await;
    assert_eq!(first.end().await, Ended::Closed(4502));
    assert_eq!(second.end().await, Ended::Closed(4502));
    tablet.publish(room, "still here").await;
    mins.read_to(room, 3).await;
    assert_eq!(refusal(&on_phone).await, (401, "AUTH_TOKEN_INVALID".into()));
    let mut late = Socket::open(app.address, None).await.unwrap();
    let refused = late.ask("auth", json!({ "access_token": on_phone.token })).await;
    assert_eq!(refused["error"]["code"], "AUTH_TOKEN_INVALID");
}

#[tokio::test]
async fn socket_obeys_the_sign_in_that_it_was_renewed_with() {
    let app = TestApp::with(|config| config.auth.revocation_poll = HOUR).await;
    let first = app.user("Ada").await;
    let second = User::sign_in(app.address, "Ada", &first.phone).await;
    let room = first.create_event("Lesson").await;
    let mut socket = first.connect().await;
    let renewed = socket.ask("auth", json!({ "access_token": second.token })).await;
    assert_eq!(renewed["hello"]["user"]["id"], first.id);
    sign_out(&first).await;
    assert_serves(&mut socket, room).await;
    sign_out(&second).await;
    assert_eq!(socket.end().await, Ended::Closed(4502));
}

#[tokio::test]
async fn suspended_user_is_closed_by_the_poll_and_others_are_not() {
    let app = TestApp::with(|config| config.auth.revocation_poll = Duration::from_millis(100)).await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let room = ada.create_event("Lesson").await;
    let (mut at_ada, mut at_eve) = (ada.connect().await, eve.connect().await);
    let suspend = format!("UPDATE users SET status = 'SUSPENDED' WHERE id = {}", eve.id);
    assert_eq!(app.alter(&suspend).await, 1);
    assert_eq!(at_eve.end().await, Ended::Closed(4502));
    assert_serves(&mut at_ada, room).await;
    assert_eq!(refusal(&eve).await, (401, "AUTH_TOKEN_INVALID".into()));
}

fn short_lived(config: &mut Config) {
    config.auth.v1_access_expiry = Duration::from_secs(2);
    config.session.token_grace = Duration::from_millis(500);
}

#[tokio::test]
async fn expired_token_closes_its_socket_with_4005_after_a_grace_unless_it_is_renewed() {
    let app = TestApp::with(short_lived).await;
    let ada = app.user("Ada").await;
    let signed_in = Instant::now();
    let (mut renewed, mut left) = (ada.connect().await, ada.connect().await);
    let refreshed = ada
        .call(
            Method::POST,
            "/auth/refresh",
            Some(json!({ "refresh_token": ada.refresh_token })),
        )
        .await
        .1;
    let fresh = refreshed["access_token"].as_str().unwrap().to_owned();
    let hello = renewed.ask("auth", json!({ "access_token": fresh })).await;
    assert_eq!(hello["hello"]["user"]["id"], ada.id);

    assert_eq!(left.end().await, Ended::Closed(4005));
    // Two seconds of life, of which the first one may be cut, and half a second of grace.
    let lived = signed_in.elapsed();
    assert!((1_400..8_000).contains(&lived.as_millis()), "{lived:?}");
    assert_eq!(refusal(&ada).await, (401, "AUTH_TOKEN_EXPIRED".into()));
    let mut again = ada.clone();
    again.token = fresh;
    let room = again.create_event("Lesson").await;
    assert_serves(&mut renewed, room).await;
    // An old token does not take the new one's place.
    let stale = renewed.ask("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(stale["error"]["code"], "AUTH_TOKEN_EXPIRED");
    assert_serves(&mut renewed, room).await;
}

#[tokio::test]
async fn renewal_with_the_token_of_somebody_else_is_refused_and_changes_nothing() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let hers = eve.create_event("Hers").await;
    let own = ada.create_event("Own").await;
    let mut socket = ada.connect().await;
    let refused = socket.ask("auth", json!({ "access_token": eve.token })).await;
    assert_eq!(refused["error"]["code"], "AUTH_TOKEN_INVALID");
    assert_serves(&mut socket, own).await;
    let other = socket.ask("history", json!({ "room": hers })).await;
    assert_eq!(other["error"]["code"], "EVENT_NOT_FOUND");
    sign_out(&eve).await;
    assert_serves(&mut socket, own).await;
}

fn quick_heartbeat(config: &mut Config) {
    config.session.heartbeat = Duration::from_millis(300);
    config.session.timeout = Duration::from_millis(1_500);
}

#[tokio::test]
async fn client_that_answers_no_ping_is_closed_with_4003_and_one_that_does_lives_on() {
    let app = TestApp::with(quick_heartbeat).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let opened = Instant::now();
    let mut mute = Raw::open(app.address, None, &[&authorization]).await;
    let mut quiet = Raw::open(app.address, None, &[&authorization]).await;
    let mute_ends = async {
        let mut pings = 0;
        loop {
            match mute.next().await {
                Ok((opcode::PING, _)) => pings += 1,
                Ok(_) => {}
                Err(ended) => return (ended, pings),
            }
        }
    };
    let quiet_lives = async {
        loop {
            if let (opcode::PING, payload) = quiet.next().await.unwrap() {
                quiet.write(&frame(true, opcode::PONG, &payload)).await;
            }
        }
    };
    let (ended, pings) = soon("the mute one's end", async {
        tokio::select! {
            ended = mute_ends => ended,
            () = quiet_lives => unreachable!(),
        }
    })
    .await;
    assert_eq!(ended, Ended::Closed(4003));
    assert!(pings >= 2, "{pings} pings in five heartbeats");
    let lived = opened.elapsed();
    assert!((1_500..6_000).contains(&lived.as_millis()), "{lived:?}");
    quiet
        .text(&json!({ "id": 1, "history": { "room": room } }).to_string())
        .await;
    assert!(quiet.reply(1).await["history"].is_object());
}

#[tokio::test]
async fn joined_socket_is_told_the_head_when_nothing_is_said_for_a_heartbeat() {
    let app = TestApp::with(quick_heartbeat).await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let said = Instant::now();
    socket.publish(room, "and then silence").await;
    // A log that took longer than a heartbeat let the room tell its head before.
    let head = loop {
        let head = socket.push("head").await;
        if head["head"]["seq"] != 1 {
            break head;
        }
    };
    assert!(
        said.elapsed() >= Duration::from_millis(300),
        "{:?}",
        said.elapsed()
    );
    assert_eq!(head["room"].as_i64(), Some(room));
    assert_eq!(head["head"], socket.copy(room).since());
    assert_eq!(head["head"]["seq"], 2);
    // And again, for as long as it is silent; not to a socket that left.
    socket.push("head").await;
    socket.ask("leave", json!({ "rooms": [room] })).await;
    let mut witness = ada.connect().await;
    witness.join(room).await;
    witness.push("head").await;
    // What both are told is in both outboxes by now.
    let asked = socket.post("history", json!({ "room": room })).await;
    let next = socket.frame().await.unwrap();
    assert_eq!(next["id"], asked, "told of a room that it left: {next}");
}

#[tokio::test]
async fn session_that_falls_says_that_it_is_the_servers_fault_and_hinders_nobody() {
    let (falls, machine) = (Arc::new(AtomicBool::new(false)), Clock::system());
    let armed = Arc::clone(&falls);
    let clock = Clock::from_fn(move || {
        assert!(!armed.swap(false, Ordering::SeqCst), "a trick: the clock falls");
        machine.now()
    });
    let overrides = Overrides {
        clock,
        ..Overrides::default()
    };
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), |_| {}, overrides).await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut adas, mut mins) = (ada.connect().await, min.connect().await);
    adas.join(room).await;
    mins.join(room).await;
    // To renew a credential the session looks at the clock.
    falls.store(true, Ordering::SeqCst);
    adas.post("auth", json!({ "access_token": ada.token })).await;
    assert_eq!(adas.end().await, Ended::Closed(1011));
    mins.publish(room, "still here").await;
    let mut again = ada.connect().await;
    again.join(room).await;
    assert_serves(&mut again, room).await;
}
