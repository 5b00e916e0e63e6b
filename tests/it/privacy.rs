//! Phone numbers reach nobody else, and who is gone is gone everywhere while every record
//! still proves itself.

use std::{process::Command, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Socket, TestApp, User, process::program, socket::Ended, until};

const HOUR: Duration = Duration::from_secs(3_600);

async fn get(user: &User, path: &str) -> Value {
    let (status, answer) = user.call(Method::GET, path, None).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

/// Every GET that somebody who takes part in `event` can make, and what it answers.
async fn all_answers(user: &User, event: i64, code: &str) -> Vec<(String, Value)> {
    let mut answers = Vec::new();
    for path in [
        "/auth/me".to_owned(),
        "/users/me".to_owned(),
        "/auth/sessions".to_owned(),
        "/events".to_owned(),
        "/events?cursor=".to_owned(),
        format!("/events/{event}"),
        format!("/events/{event}/participants"),
        format!("/events/{event}/history"),
        format!("/events/{event}/messages"),
        format!("/events/{event}/invite-links"),
        format!("/invite/{code}"),
        "/calendar/status".to_owned(),
        "/calendar/events".to_owned(),
    ] {
        let (_, answer) = user.call(Method::GET, &path, None).await;
        answers.push((path, answer));
    }
    let mut socket = user.connect().await;
    let joined = socket.join(event).await;
    let record = socket.whole_record(event).await;
    answers.push(("joined".into(), joined));
    answers.push(("history".into(), json!(record.entries)));
    answers
}

/// The last eight digits: enough to find a number however it is written without separators.
fn digits(user: &User) -> &str {
    &user.phone[user.phone.len() - 8..]
}

#[tokio::test]
async fn no_answer_holds_the_number_of_somebody_else() {
    let app = TestApp::spawn().await;
    let (ada, min, zoe) = (
        app.user("Ada").await,
        app.user("민지").await,
        app.user("Zoe").await,
    );
    let event = ada.create_event("Lesson").await;
    let code = ada.invite(event).await;
    min.join_by(&code).await;
    zoe.join_by(&code).await;
    let mut socket = min.connect().await;
    socket.join(event).await;
    socket.publish(event, "hello").await;

    let everyone = [&ada, &min, &zoe];
    let mut looked_at = 0;
    for reader in everyone {
        for (path, answer) in all_answers(reader, event, &code).await {
            let answer = answer.to_string();
            for other in everyone.into_iter().filter(|other| other.id != reader.id) {
                assert!(!answer.contains(digits(other)), "{path} shows a number: {answer}");
            }
            looked_at += 1;
        }
        assert!(
            get(reader, "/users/me")
                .await
                .to_string()
                .contains(digits(reader)),
            "the search works"
        );
    }
    assert_eq!(looked_at, 45);
}

/// The record of `event`, exported and verified by the binary.
fn verified(app: &TestApp, event: i64) -> String {
    let file = app.file(&format!("{event}.jsonl"));
    for arguments in [
        vec![
            "export".to_owned(),
            event.to_string(),
            "--out".to_owned(),
            file.display().to_string(),
        ],
        vec!["verify".to_owned(), file.display().to_string()],
    ] {
        let done = Command::new(program())
            .args(&arguments)
            .env("TIMINGLE__DATA__DIR", app.dir.path())
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    std::fs::read_to_string(file).unwrap()
}

/// Every text of every row of `users`.
fn rows_of_users(app: &TestApp) -> String {
    let db = rusqlite::Connection::open(app.file("app.db")).unwrap();
    let mut rows = db
        .prepare("select id || '|' || coalesce(phone, '-') || '|' || coalesce(name, '-') || '|' || status from users order by id")
        .unwrap();
    let rows: Vec<String> = rows
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    rows.join("\n")
}

fn is_unknown(name: &Value) -> bool {
    name == "someone" || name == "알 수 없는 사용자"
}

#[tokio::test]
async fn deleted_account_is_gone_everywhere_and_every_record_still_verifies() {
    let app = TestApp::with(|config| config.auth.revocation_poll = HOUR).await;
    let (ada, min) = (app.user("Adalbert-Unmistakable").await, app.user("민지").await);
    let hosted = ada.create_event("Hosted by who goes").await;
    ada.bring(&min, hosted).await;
    let joined = min.create_event("Joined by who goes").await;
    min.bring(&ada, joined).await;
    let over = min.create_event("Over before that").await;
    min.bring(&ada, over).await;
    min.cancel(over, "").await;
    let unused = ada.invite(hosted).await;

    let (mut adas, mut mins) = (ada.connect().await, min.connect().await);
    for event in [hosted, joined] {
        adas.join(event).await;
        mins.join(event).await;
    }
    adas.publish(joined, "words that stay").await;
    mins.read_to(joined, 3).await;

    let (status, answer) = ada.call(Method::DELETE, "/users/me", None).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    // At once: sockets, tokens, links.
    assert_eq!(adas.end().await, Ended::Closed(4502));
    for (method, path, body) in [
        (Method::GET, "/users/me", None),
        (Method::DELETE, "/users/me", None),
        (
            Method::POST,
            "/auth/refresh",
            Some(json!({ "refresh_token": ada.refresh_token })),
        ),
    ] {
        let (status, answer) = ada.call(method, path, body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {answer}");
    }
    assert!(Socket::open(app.address, Some(&ada.token)).await.is_err());
    let zoe = app.user("Zoe").await;
    let (status, _) = zoe
        .call(Method::POST, &format!("/invite/{unused}/join"), None)
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "the link of who is gone");

    // Soon: what was hosted is called off, what was joined is left; live sockets hear of it.
    mins.read_to(joined, 4).await;
    mins.read_to(hosted, 3).await;
    assert_eq!(mins.copy(joined).facts().last().unwrap(), "participant_left");
    assert_eq!(mins.copy(hosted).facts().last().unwrap(), "canceled");
    let note = &mins.copy(joined).entries[&4]["fact"];
    assert!(is_unknown(&note["user"]["name"]), "{note}");
    let canceled = get(&min, &format!("/events/{hosted}")).await;
    assert_eq!(canceled["status"], "CANCELED");
    assert!(is_unknown(&canceled["creator"]["name"]), "{canceled}");

    // Nowhere is the name or the number, for whoever is still there.
    for event in [hosted, joined, over] {
        for (path, answer) in all_answers(&min, event, &unused).await {
            let answer = answer.to_string();
            assert!(!answer.contains("Adalbert"), "{path} of {event}: {answer}");
            assert!(!answer.contains(digits(&ada)), "{path} of {event}: {answer}");
            assert!(
                !answer.contains(r#""name":"""#),
                "{path} of {event} has an empty name: {answer}"
            );
        }
        let record = verified(&app, event);
        assert!(!record.contains("Adalbert") && !record.contains(digits(&ada)));
    }
    let record = verified(&app, joined);
    assert!(record.contains("words that stay"), "what was said stays said");
    let rows = rows_of_users(&app);
    assert!(
        !rows.contains("Adalbert") && !rows.contains(digits(&ada)),
        "{rows}"
    );
    assert!(rows.contains(&format!("{}|-|-|DELETED", ada.id)), "{rows}");

    // The number is free, for somebody else.
    let next = User::sign_in(app.address, "New", &ada.phone).await;
    assert_ne!(next.id, ada.id);
    assert_eq!(get(&next, "/events").await, json!([]));
    let (status, _) = next.call(Method::GET, &format!("/events/{joined}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn room_that_starts_later_knows_no_name_either() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Adalbert-Unmistakable").await, app.user("민지").await);
    let event = min.create_event("Lesson").await;
    min.bring(&ada, event).await;
    let (status, _) = ada.call(Method::DELETE, "/users/me", None).await;
    assert_eq!(status, StatusCode::OK);
    until("the departure", || async {
        let event = get(&min, &format!("/events/{event}")).await;
        (event["participants"] == json!([])).then_some(())
    })
    .await;
    let dir = app.stop().await;
    let app = TestApp::start(dir, |_| {}, timingle::app::Overrides::default()).await;
    let min = User {
        address: app.address,
        ..min
    };
    let mut socket = min.connect().await;
    let joined = socket.join(event).await.to_string();
    assert!(
        joined.contains("someone") || joined.contains("알 수 없는 사용자"),
        "{joined}"
    );
    assert!(!joined.contains("Adalbert"), "{joined}");
}
