//! Accounts: what they say, where they are signed in, how they are suspended, and how they end.

use std::time::Duration;

use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use timingle::config::Proof;

use crate::harness::{
    TestApp, User,
    api::Sends as _,
    process::{Launch, Server, program},
    socket::Ended,
    until,
};

const HOUR: Duration = Duration::from_secs(3_600);

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn is(&self, status: StatusCode, code: &str) -> bool {
        self.status == status && self.body["code"] == code
    }

    fn number(&self, header: &str) -> i64 {
        self.headers[header].to_str().unwrap().parse().unwrap()
    }
}

/// A request as it is, without a language of the harness's own.
async fn raw(
    address: std::net::SocketAddr,
    (method, path): (Method, &str),
    token: Option<&str>,
    language: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let mut request = reqwest::Client::new().request(method, format!("http://{address}/api/v1{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(language) = language {
        request = request.header("accept-language", language);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.sent().await.unwrap();
    Answer {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.json().await.unwrap_or(Value::Null),
    }
}

async fn ok(user: &User, method: Method, path: &str, body: Option<Value>) -> Value {
    let (status, answer) = user.call(method.clone(), path, body).await;
    assert!(status.is_success(), "{method} {path}: {status} {answer}");
    answer
}

async fn refused(user: &User, method: Method, path: &str, body: Option<Value>) -> (u16, String) {
    let (status, answer) = user.call(method, path, body).await;
    (
        status.as_u16(),
        answer["code"].as_str().unwrap_or_default().to_owned(),
    )
}

// ---- signing in

#[tokio::test]
async fn nobody_signs_in_as_somebody_by_a_number_alone() {
    let app = TestApp::with(|config| config.auth.proof = Proof::Code).await;
    for path in ["/auth/register", "/auth/login"] {
        let body = json!({ "phone": "01012345678", "name": "Ada" });
        let answer = raw(app.address, (Method::POST, path), None, None, Some(body)).await;
        assert!(
            answer.is(StatusCode::UNAUTHORIZED, "AUTH_PROOF_REQUIRED"),
            "{}",
            answer.body
        );
        // Its clients show the text as it is.
        assert!(
            answer.body["error"].as_str().unwrap().contains("인증"),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn one_number_is_one_account_however_it_is_typed() {
    let app = TestApp::spawn().await;
    let first = User::sign_in(app.address, "Ada", "010-5555-1234").await;
    for typed in ["+82 10 5555 1234", "01055551234", "+821055551234"] {
        let again = User::sign_in(app.address, "Somebody", typed).await;
        assert_eq!(again.id, first.id, "{typed}");
        assert_eq!(ok(&again, Method::GET, "/users/me", None).await["name"], "Ada");
    }
}

#[tokio::test]
async fn register_and_login_answer_what_both_of_version_1s_clients_read() {
    let app = TestApp::spawn().await;
    let body = json!({ "phone": "+821055551234", "name": "김철수" });
    let register = raw(
        app.address,
        (Method::POST, "/auth/register"),
        None,
        None,
        Some(body.clone()),
    )
    .await;
    let again = raw(
        app.address,
        (Method::POST, "/auth/register"),
        None,
        None,
        Some(body.clone()),
    )
    .await;
    let login = raw(app.address, (Method::POST, "/auth/login"), None, None, Some(body)).await;
    assert_eq!(
        [register.status, again.status, login.status].map(|status| status.as_u16()),
        [201, 200, 200]
    );
    for Answer { body, .. } in [register, again, login] {
        for user in [&body, &body["user"]] {
            assert!(user["id"].is_i64());
            for text in ["phone", "name", "role", "timezone", "language"] {
                assert!(user[text].is_string(), "{text}: {user}");
            }
            for date in ["created_at", "updated_at"] {
                assert!(user[date].as_str().unwrap().ends_with('Z'), "{date}: {user}");
            }
        }
        assert!(body["access_token"].is_string() && body["refresh_token"].is_string());
        assert!(body["expires_in"].is_i64());
    }
}

#[tokio::test]
async fn signed_out_token_goes_on_for_requests_as_the_collection_needs_it() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Before").await;
    ok(&ada, Method::POST, "/auth/logout", None).await;
    // What the collection sends behind it, with the same token.
    for (method, path, status) in [
        (Method::POST, "/auth/google/calendar".to_owned(), 400),
        (Method::GET, "/calendar/status".to_owned(), 200),
        (
            Method::GET,
            "/calendar/events?start_time=2024-01-01T00:00:00Z&end_time=2024-12-31T23:59:59Z".to_owned(),
            409,
        ),
        (Method::POST, format!("/calendar/sync/{event}"), 409),
        (Method::GET, "/events".to_owned(), 200),
        (Method::GET, format!("/events/{event}"), 200),
        (Method::DELETE, format!("/events/{event}"), 200),
    ] {
        let body = (method == Method::POST).then(|| json!({}));
        let (answered, answer) = ada.call(method.clone(), &path, body).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}: {answer}");
    }
    let refresh = json!({ "refresh_token": ada.refresh_token });
    assert_eq!(
        refused(&ada, Method::POST, "/auth/refresh", Some(refresh))
            .await
            .0,
        401
    );
}

#[tokio::test]
async fn another_signing_key_leaves_everybody_signed_in_while_the_old_one_is_named() {
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let start = |key: String, previous: String| {
        TestApp::start(
            std::sync::Arc::clone(&dir),
            move |config| {
                config.auth.jwt_secret = key.into();
                config.auth.jwt_previous_secret = previous.into();
            },
            timingle::app::Overrides::default(),
        )
    };
    let app = start(old.clone(), String::new()).await;
    let mut ada = app.user("Ada").await;
    app.stop().await;

    let app = start(new.clone(), old).await;
    ada.address = app.address;
    ok(&ada, Method::GET, "/users/me", None).await;
    app.stop().await;

    let app = start(new, String::new()).await;
    ada.address = app.address;
    assert_eq!(refused(&ada, Method::GET, "/users/me", None).await.0, 401);
    // With the refresh token one is in again: that one is no key's.
    let refresh = json!({ "refresh_token": ada.refresh_token });
    ok(&ada, Method::POST, "/auth/refresh", Some(refresh)).await;
}

// ---- the account

#[tokio::test]
async fn profile_changes_what_is_named_and_live_rooms_show_the_new_name() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut socket = min.connect().await;
    socket.join(room).await;

    let change = json!({ "name": " Augusta ", "language": "en", "timezone": "Europe/London" });
    let me = ok(&ada, Method::PATCH, "/users/me", Some(change)).await;
    assert_eq!(me["name"], "Augusta");
    assert_eq!(
        (&me["language"], &me["timezone"]),
        (&"en".into(), &"Europe/London".into())
    );
    let me = ok(
        &ada,
        Method::PUT,
        "/users/me",
        Some(json!({ "language": null, "timezone": "Asia/Seoul" })),
    )
    .await;
    assert_eq!((&me["name"], &me["language"]), (&"Augusta".into(), &"en".into()));
    assert_eq!(ok(&ada, Method::GET, "/auth/me", None).await, me);

    let joined = min.connect().await.join(room).await;
    assert_eq!(
        joined["event"]["creator"]["name"], "Augusta",
        "in a room that was live"
    );
    assert_eq!(
        ok(&min, Method::GET, &format!("/events/{room}"), None).await["creator"]["name"],
        "Augusta"
    );

    let bad = json!({ "name": "a\nb", "language": "fr", "timezone": "Mars/Base" });
    let (status, answer) = ada.call(Method::PATCH, "/users/me", Some(bad)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    let pointers: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["pointer"])
        .collect();
    assert_eq!(pointers, ["/name", "/language", "/timezone"]);
}

#[tokio::test]
async fn sign_ins_are_listed_and_one_of_them_is_ended_from_another() {
    let app = TestApp::with(|config| config.auth.revocation_poll = HOUR).await;
    let here = app.user("Ada").await;
    let there = User::sign_in(app.address, "Ada", &here.phone).await;
    let other = app.user("민지").await;
    let room = here.create_event("Lesson").await;
    let mut socket = there.connect().await;
    socket.join(room).await;

    let list = ok(&here, Method::GET, "/auth/sessions", None).await;
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list.iter().filter(|one| one["current"] == true).count(), 1);
    let theirs = list.iter().find(|one| one["current"] == false).unwrap();
    let path = format!("/auth/sessions/{}", theirs["id"].as_str().unwrap());
    for text in ["created_at", "last_used_at"] {
        assert!(theirs[text].as_str().unwrap().ends_with('Z'));
    }

    assert_eq!(
        refused(&other, Method::DELETE, &path, None).await,
        (404, "NOT_FOUND".into())
    );
    ok(&here, Method::DELETE, &path, None).await;
    assert_eq!(socket.end().await, Ended::Closed(4502));
    let refresh = json!({ "refresh_token": there.refresh_token });
    assert_eq!(
        refused(&there, Method::POST, "/auth/refresh", Some(refresh))
            .await
            .0,
        401
    );
    assert_eq!(refused(&here, Method::DELETE, &path, None).await.0, 404);
    assert_eq!(
        ok(&here, Method::GET, "/auth/sessions", None)
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

// ---- suspended

/// A server of the binary on which Ada is an administrator, and Boss more than that.
async fn administered(dir: &std::path::Path) -> (Server, User, User) {
    let env = [("TIMINGLE__AUTH__REVOCATION_POLL", "1h")];
    let launch = || {
        Server::launch(Launch {
            dir,
            env: &env,
            through: &[],
        })
    };
    let mut server = launch().await;
    let ada = User::sign_in(server.address, "Ada", "010-5555-0001").await;
    let boss = User::sign_in(server.address, "Boss", "010-5555-0002").await;
    let grant = |phone: &str, role: &str| {
        std::process::Command::new(program())
            .args(["grant", "--phone", phone, role])
            .env("TIMINGLE__DATA__DIR", dir.join("data"))
            .env("TIMINGLE__LOG__FORMAT", "json")
            .output()
            .unwrap()
    };
    let beside = grant("010-5555-0001", "ADMIN");
    assert!(!beside.status.success(), "beside a running server");
    server.terminate();
    server.wait().await;
    let granted = grant("010-5555-0001", "ADMIN");
    let said = String::from_utf8_lossy(&granted.stdout);
    assert!(
        granted.status.success() && said.contains(&format!("user {} is ADMIN", ada.id)),
        "{granted:?}"
    );
    assert!(
        !String::from_utf8_lossy(&granted.stderr).contains("5555"),
        "no number in a log"
    );
    assert!(grant("+82 10 5555 0002", "SUPER_ADMIN").status.success());
    for (phone, role) in [
        ("010-5555-0009", "ADMIN"),
        ("12", "ADMIN"),
        ("010-5555-0001", "KING"),
    ] {
        assert!(!grant(phone, role).status.success(), "{phone} {role}");
    }
    let server = launch().await;
    let at = |user: User| User {
        address: server.address,
        ..user
    };
    let (ada, boss) = (at(ada), at(boss));
    (server, ada, boss)
}

#[tokio::test]
async fn suspended_user_is_cut_off_at_once_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (server, ada, boss) = administered(dir.path()).await;
    let min = User::register(server.address, "민지").await;
    let room = min.create_event("Lesson").await;
    let mut socket = min.connect().await;
    socket.join(room).await;
    let of = |user: &User| format!("/admin/users/{}/status", user.id);
    let suspend = || Some(json!({ "status": "SUSPENDED" }));

    // Who may not, may not; and learns of nobody.
    for (actor, path, expected) in [
        (&min, of(&ada), (403, "FORBIDDEN")),
        (&min, "/admin/users/999999/status".to_owned(), (403, "FORBIDDEN")),
        (&ada, of(&boss), (403, "FORBIDDEN")),
        (&ada, of(&ada), (403, "FORBIDDEN")),
        (&boss, of(&boss), (403, "FORBIDDEN")),
        (
            &ada,
            "/admin/users/999999/status".to_owned(),
            (404, "USER_NOT_FOUND"),
        ),
    ] {
        let (status, code) = refused(actor, Method::PATCH, &path, suspend()).await;
        assert_eq!((status, code.as_str()), expected, "{path}");
    }
    for status in ["DELETED", "GONE"] {
        let body = json!({ "status": status });
        assert_eq!(refused(&ada, Method::PATCH, &of(&min), Some(body)).await.0, 422);
    }

    let answer = ok(&ada, Method::PATCH, &of(&min), suspend()).await;
    assert_eq!(answer["user"]["status"], "SUSPENDED");
    assert!(answer.to_string().find(&min.phone[3..]).is_none(), "{answer}");
    assert_eq!(socket.end().await, Ended::Closed(4502));
    assert_eq!(
        refused(&min, Method::GET, "/events", None).await,
        (401, "AUTH_TOKEN_INVALID".into())
    );
    let refresh = json!({ "refresh_token": min.refresh_token });
    assert_eq!(
        refused(&min, Method::POST, "/auth/refresh", Some(refresh.clone()))
            .await
            .0,
        401
    );
    let register = json!({ "phone": min.phone, "name": "민지" });
    assert_eq!(
        refused(&min, Method::POST, "/auth/register", Some(register)).await,
        (403, "FORBIDDEN".into())
    );

    let log = server.log();
    let audit = log
        .lines()
        .find(|line| line.contains("USER_SUSPENDED"))
        .expect("an audit line");
    let audit: Value = serde_json::from_str(audit).unwrap();
    assert_eq!(audit["target"], "audit", "{audit}");

    ok(
        &boss,
        Method::PATCH,
        &of(&min),
        Some(json!({ "status": "ACTIVE" })),
    )
    .await;
    ok(&min, Method::POST, "/auth/refresh", Some(refresh)).await;
    ok(&min, Method::GET, "/events", None).await;
    // A super administrator stands above an administrator.
    ok(&boss, Method::PATCH, &of(&ada), suspend()).await;
    assert_eq!(refused(&ada, Method::PATCH, &of(&min), suspend()).await.0, 401);
}

// ---- Google, which is not there

#[tokio::test]
async fn nobody_comes_in_through_google_and_no_calendar_is_touched() {
    let app = TestApp::spawn().await;
    let (ada, stranger) = (app.user("Ada").await, app.user("Eve").await);
    let event = ada.create_event("Lesson").await;
    for path in ["/auth/google", "/auth/google/calendar"] {
        for missing in [json!({}), json!({ "id_token": null }), json!({ "id_token": "" })] {
            assert_eq!(
                refused(&ada, Method::POST, path, Some(missing)).await,
                (400, "BAD_REQUEST".into())
            );
        }
        let token = json!({ "id_token": "x", "platform": "ios", "access_token": "secret" });
        let answer = raw(app.address, (Method::POST, path), None, None, Some(token)).await;
        assert!(
            answer.is(StatusCode::SERVICE_UNAVAILABLE, "GOOGLE_NOT_CONFIGURED"),
            "{}",
            answer.body
        );
        assert!(answer.body["error"].as_str().unwrap().contains("Google"));
    }
    assert_eq!(
        ok(&ada, Method::GET, "/calendar/status", None).await,
        json!({ "has_calendar_access": false })
    );
    for (query, expected) in [
        ("", (409, "CALENDAR_NOT_LINKED")),
        ("?start_time=2024-01-01T00:00:00Z", (409, "CALENDAR_NOT_LINKED")),
        ("?start_time=yesterday", (400, "BAD_REQUEST")),
        (
            "?start_time=2024-02-01T00:00:00Z&end_time=2024-01-01T00:00:00Z",
            (400, "BAD_REQUEST"),
        ),
    ] {
        let (status, code) = refused(&ada, Method::GET, &format!("/calendar/events{query}"), None).await;
        assert_eq!((status, code.as_str()), expected, "{query}");
    }
    let sync = format!("/calendar/sync/{event}");
    assert_eq!(
        refused(&ada, Method::POST, &sync, None).await,
        (409, "CALENDAR_NOT_LINKED".into())
    );
    assert_eq!(
        refused(&stranger, Method::POST, &sync, None).await,
        (404, "EVENT_NOT_FOUND".into())
    );
    for path in ["/calendar/status", "/calendar/events"] {
        let answer = raw(app.address, (Method::GET, path), None, None, None).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
}

// ---- which language, how many requests

#[tokio::test]
async fn language_is_the_headers_then_the_users_then_korean() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let speak = async |language: &str| {
        let body = json!({ "language": language });
        ok(&ada, Method::PATCH, "/users/me", Some(body)).await;
    };
    let error = async |token: Option<&str>, header: Option<&str>| {
        let answer = raw(app.address, (Method::GET, "/events/999999"), token, header, None).await;
        answer.body["error"].as_str().unwrap().to_owned()
    };
    let is_korean = |text: &str| text.contains("요.");
    speak("en").await;
    let token = Some(ada.token.as_str());
    for (header, korean) in [
        (None, false),
        (Some("ko"), true),
        (Some("fr"), false),
        (Some("*"), false),
        (Some("fr, en;q=0.1"), false),
        (Some("ko-KR,ko;q=0.9,en;q=0.8"), true),
    ] {
        let text = error(token, header).await;
        assert_eq!(is_korean(&text), korean, "{header:?}: {text}");
    }
    // A text of success as well as one of failure, and an extractor's failure.
    let gone = ada.create_event("Gone").await;
    let answer = raw(
        app.address,
        (Method::DELETE, &format!("/events/{gone}")),
        token,
        None,
        None,
    )
    .await;
    assert!(
        !is_korean(answer.body["message"].as_str().unwrap()),
        "{}",
        answer.body
    );
    let answer = raw(
        app.address,
        (Method::PATCH, "/users/me"),
        token,
        None,
        Some(json!([])),
    )
    .await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    speak("ko").await;
    assert!(is_korean(&error(token, None).await));
    // Who is not signed in has no setting.
    assert!(is_korean(&error(None, None).await));
    assert!(is_korean(&error(Some("not-a-token"), None).await));
    assert!(!is_korean(&error(None, Some("en")).await));
}

#[tokio::test]
async fn user_has_so_many_requests_a_minute_and_is_told_how_many_are_left() {
    let app = TestApp::with(|config| config.limits.requests_per_user = 5).await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    for left in (0..5).rev() {
        let answer = raw(
            app.address,
            (Method::GET, "/users/me"),
            Some(&ada.token),
            None,
            None,
        )
        .await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.number("x-ratelimit-limit"), 5);
        assert_eq!(answer.number("x-ratelimit-remaining"), left);
    }
    let busy = raw(
        app.address,
        (Method::GET, "/events"),
        Some(&ada.token),
        Some("en"),
        None,
    )
    .await;
    assert!(
        busy.is(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"),
        "{}",
        busy.body
    );
    assert!((1..=60).contains(&busy.number("retry-after")));
    assert_eq!(busy.number("x-ratelimit-remaining"), 0);
    assert!(busy.number("x-ratelimit-reset") > 1_700_000_000);
    ok(&min, Method::GET, "/users/me", None).await;
    // Another device of the same person counts together with the first.
    let again = User::sign_in(app.address, "Ada", &ada.phone).await;
    assert_eq!(refused(&again, Method::GET, "/users/me", None).await.0, 429);
}

#[tokio::test]
async fn registrations_from_one_address_are_limited() {
    let app = TestApp::with(|config| config.limits.sign_ins_per_address = 3).await;
    let register = async |number: u32| {
        let body = json!({ "phone": format!("0105555{number:04}"), "name": "Ada" });
        raw(
            app.address,
            (Method::POST, "/auth/register"),
            None,
            Some("en"),
            Some(body),
        )
        .await
    };
    for number in 0..3 {
        assert_eq!(register(number).await.status, StatusCode::CREATED);
    }
    let busy = register(3).await;
    assert!(
        busy.is(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"),
        "{}",
        busy.body
    );
    // In seconds, also where version 1's documents have it.
    assert_eq!(busy.body["details"]["retry_after"], busy.number("retry-after"));
}

// ---- gone

#[tokio::test]
async fn crash_between_a_deletion_and_its_consequences_loses_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(dir.path()).await;
    let ada = User::register(server.address, "Ada").await;
    let min = User::register(server.address, "민지").await;
    let mut hosted = Vec::new();
    for number in 0..20 {
        let event = ada.create_event(&format!("Lesson {number}")).await;
        ada.bring(&min, event).await;
        hosted.push(event);
    }
    let joined = min.create_event("Min's").await;
    min.bring(&ada, joined).await;
    ok(&ada, Method::DELETE, "/users/me", None).await;
    server.kill().await;

    let server = Server::spawn(dir.path()).await;
    let min = User {
        address: server.address,
        ..min
    };
    for event in hosted {
        until("the end of a hosted event", || async {
            let event = ok(&min, Method::GET, &format!("/events/{event}"), None).await;
            (event["status"] == "CANCELED").then_some(())
        })
        .await;
    }
    until("the departure", || async {
        let event = ok(&min, Method::GET, &format!("/events/{joined}"), None).await;
        (event["participants"] == json!([]) && event["status"] == "PROPOSED").then_some(())
    })
    .await;
    let mut socket = min.connect().await;
    socket.join(joined).await;
    let left = socket
        .copy(joined)
        .facts()
        .iter()
        .filter(|fact| *fact == "participant_left")
        .count();
    assert_eq!(left, 1, "{:?}", socket.copy(joined).facts());
}
