//! The collection's requests in its order, unattended: what they are answered stands in
//! `docs/version-1.md`.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::Dio,
    dart::{AuthResponse, EventModel, UserModel},
};
use crate::harness::TestApp;

const DOCUMENT: &str = include_str!("../../../docs/version-1.md");

/// One request: its name, method, path and body, and whether the collection sends a token.
type Line = (&'static str, Method, &'static str, Option<Value>, bool);

fn requests(refresh_token: &str) -> Vec<Line> {
    let placeholder = "{{googleIdToken}}";
    let new = json!({
        "title": "Meeting", "description": "Talk", "start_time": "2026-01-15T10:00:00Z",
        "end_time": "2026-01-15T11:00:00Z", "location": "Seoul", "participant_ids": [],
    });
    vec![
        ("Health", Method::GET, "/health", None, false),
        (
            "Register",
            Method::POST,
            "/api/v1/auth/register",
            Some(json!({ "phone": "+821012345678", "name": "Collection" })),
            false,
        ),
        (
            "Login",
            Method::POST,
            "/api/v1/auth/login",
            Some(json!({ "phone": "+821012345678" })),
            false,
        ),
        (
            "Google Login",
            Method::POST,
            "/api/v1/auth/google",
            Some(json!({ "id_token": placeholder, "platform": "android" })),
            false,
        ),
        (
            "Refresh Token",
            Method::POST,
            "/api/v1/auth/refresh",
            Some(json!({ "refresh_token": refresh_token })),
            false,
        ),
        ("Me", Method::GET, "/api/v1/auth/me", None, true),
        ("Logout", Method::POST, "/api/v1/auth/logout", None, true),
        (
            "Google Calendar Login",
            Method::POST,
            "/api/v1/auth/google/calendar",
            Some(json!({
                "id_token": placeholder, "access_token": placeholder,
                "refresh_token": placeholder, "platform": "android",
            })),
            false,
        ),
        (
            "Calendar Status",
            Method::GET,
            "/api/v1/calendar/status",
            None,
            true,
        ),
        (
            "Calendar Events",
            Method::GET,
            "/api/v1/calendar/events?start_time=2024-01-01T00:00:00Z&end_time=2024-12-31T23:59:59Z",
            None,
            true,
        ),
        ("Sync Event", Method::POST, "/api/v1/calendar/sync/1", None, true),
        ("Create Event", Method::POST, "/api/v1/events", Some(new), true),
        ("List Events", Method::GET, "/api/v1/events", None, true),
        ("Get Event", Method::GET, "/api/v1/events/1", None, true),
        (
            "Update Event",
            Method::PUT,
            "/api/v1/events/1",
            Some(json!({ "title": "Updated", "description": "Updated" })),
            true,
        ),
        (
            "Confirm Event",
            Method::POST,
            "/api/v1/events/1/confirm",
            None,
            true,
        ),
        (
            "Cancel Event",
            Method::POST,
            "/api/v1/events/1/cancel",
            None,
            true,
        ),
        ("Delete Event", Method::DELETE, "/api/v1/events/1", None, true),
    ]
}

/// Sends all of them, with the collection's scripts between; a line of the document for each.
async fn run(app: &TestApp) -> Vec<String> {
    let (mut with_token, without) = (Dio::new(app.address, None), Dio::new(app.address, None));
    let mut refresh_token = String::new();
    let mut transcript = Vec::new();
    for index in 0..requests("").len() {
        let (name, method, path, body, signed) = requests(&refresh_token).swap_remove(index);
        let dio = if signed { &with_token } else { &without };
        let answer = dio.ask(method.clone(), path, body).await;
        // The scripts: whoever answers with an access token is signed in; a refresh keeps the
        // refresh token that was there.
        if let Some(token) = answer.body["access_token"].as_str() {
            AuthResponse::nested(&answer.body).unwrap();
            with_token.token = Some(token.to_owned());
            if name != "Refresh Token" {
                answer.body["refresh_token"]
                    .as_str()
                    .unwrap()
                    .clone_into(&mut refresh_token);
            }
        }
        match (name, answer.status.is_success()) {
            ("Health", _) => assert_eq!(answer.body["status"], "healthy"),
            ("Me", true) => drop(UserModel::from_json(&answer.body).unwrap()),
            ("Create Event" | "Get Event" | "Update Event" | "Confirm Event", true) => {
                EventModel::from_json(&answer.body).unwrap();
            }
            (_, true) => {}
            (_, false) => assert!(answer.body["error"].is_string(), "{name}: {}", answer.body),
        }
        let path = path.split('?').next().unwrap();
        transcript.push(format!(
            "| {} | {name} | `{method} {path}` | {} |",
            index + 1,
            answer.status.as_u16()
        ));
    }
    transcript
}

/// The rows of the table under this heading.
fn documented(heading: &str) -> Vec<String> {
    let section = DOCUMENT.split(&format!("\n### {heading}\n")).nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the transcript is for people as well")]
async fn collection_is_answered_as_the_document_says() {
    let app = TestApp::spawn().await;
    for heading in ["The first run", "The second run"] {
        let transcript = run(&app).await;
        println!("{heading}\n{}", transcript.join("\n"));
        assert_eq!(transcript.len(), 18);
        assert_eq!(
            transcript,
            documented(heading),
            "{heading}: docs/version-1.md says otherwise"
        );
    }
}
