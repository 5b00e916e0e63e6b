//! Every route of the route table.

use std::fmt::Write as _;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Outcome, People, Role, code_of};
use crate::harness::{TestApp, User, api::Sends as _};

/// For whom a route is.
#[derive(Debug, Clone, Copy)]
enum For {
    /// No credential is looked at.
    Anybody,
    /// Whoever is signed in.
    SignedIn,
    /// Whoever is signed in, and what it does ends the sign-in.
    OneselfOnce,
    /// Those who look after the service.
    Admins,
    /// Who takes part in the event now.
    Participants,
    /// As [`For::Participants`] without the host, who is told so.
    Guests,
    /// Who takes part in the event or did.
    PartOfRecord,
    /// The event's host; guests are told so.
    Host,
    /// The event's host; to everybody else there is no such thing.
    HostAlone,
}

impl For {
    /// The status that denies it to `role`; `None`: it is not denied.
    fn denies(self, role: Role) -> Option<u16> {
        if !matches!(self, Self::Anybody) && role.is_nobody() {
            return Some(401);
        }
        let is_away = role.is_outside() || role.is_former();
        let is_host = role == Role::Host;
        match self {
            Self::Anybody | Self::SignedIn | Self::OneselfOnce => None,
            Self::Admins => (role != Role::Admin).then_some(403),
            Self::Guests if is_host => Some(403),
            Self::Participants | Self::Guests => is_away.then_some(404),
            Self::PartOfRecord => role.is_outside().then_some(404),
            Self::Host if is_away => Some(404),
            Self::Host => (!is_host).then_some(403),
            Self::HostAlone => (!is_host).then_some(404),
        }
    }
}

/// For whom `method` on `path` is, and a body for it. A new route needs a line here.
#[rustfmt::skip]
#[expect(clippy::match_same_arms, reason = "in the order of the route table")]
fn line(method: &str, path: &str, people: &People) -> Option<(For, Value)> {
    let nothing = || Value::Null;
    let title = || json!({ "title": "Other" });
    let new_event = json!({ "title": "New", "start_time": "2040-01-01T10:00:00Z", "end_time": "2040-01-01T11:00:00Z" });
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    Some(match (method, path) {
        ("GET", "/health" | "/livez" | "/readyz") => (For::Anybody, nothing()),
        ("GET", "/openapi.json" | "/asyncapi.yaml" | "/api/docs") => (For::Anybody, nothing()),
        ("GET", "/api/docs/{name}") => (For::Anybody, nothing()),
        ("GET" | "HEAD", "/invite-assets/{name}") => (For::Anybody, nothing()),
        ("POST", "/auth/phone/send" | "/auth/phone/verify" | "/auth/register" | "/auth/login" | "/auth/refresh") => (For::Anybody, json!({})),
        ("POST", "/auth/google" | "/auth/google/calendar") => (For::Anybody, json!({})),

        ("POST", "/auth/logout") => (For::OneselfOnce, nothing()),
        ("GET", "/auth/sessions" | "/auth/me" | "/users/me") => (For::SignedIn, nothing()),
        ("DELETE", "/auth/sessions/{session}") => (For::OneselfOnce, nothing()),
        ("PUT" | "PATCH", "/users/me") => (For::SignedIn, json!({ "timezone": "Asia/Seoul" })),
        ("DELETE", "/users/me") => (For::OneselfOnce, nothing()),
        ("PATCH", "/admin/users/{user}/status") => (For::Admins, json!({ "status": "ACTIVE" })),

        ("GET", "/calendar/status" | "/calendar/events") => (For::SignedIn, nothing()),
        ("POST", "/calendar/sync/{event}") => (For::Participants, nothing()),

        ("GET", "/events") => (For::SignedIn, nothing()),
        ("POST", "/events") => (For::SignedIn, new_event),
        ("GET", "/events/{event}" | "/events/{event}/participants") => (For::Participants, nothing()),
        ("PUT" | "PATCH", "/events/{event}") => (For::Host, title()),
        ("DELETE", "/events/{event}") => (For::Host, nothing()),
        ("POST", "/events/{event}/accept" | "/events/{event}/confirm" | "/events/{event}/confirm-participation") => (For::Participants, nothing()),
        ("POST", "/events/{event}/decline") => (For::Guests, nothing()),
        ("POST", "/events/{event}/done" | "/events/{event}/cancel") => (For::Host, nothing()),
        ("GET", "/events/{event}/messages" | "/events/{event}/history" | "/events/{event}/export") => (For::PartOfRecord, nothing()),
        ("POST", "/events/{event}/participants") => (For::Host, json!({ "participant_id": people.target.id })),
        ("DELETE", "/events/{event}/participants/{user}") => (For::Host, nothing()),
        ("POST", "/events/{event}/invite-link") => (For::Host, json!({})),
        ("GET", "/events/{event}/invite-links") => (For::Host, nothing()),

        ("GET", "/invite/{code}") => (For::SignedIn, nothing()),
        ("DELETE", "/invite/{code}") => (For::HostAlone, nothing()),
        ("POST", "/invite/{code}/join") => (For::SignedIn, nothing()),
        _ => return None,
    })
}

/// What `role` is answered: denied with a status, or not denied.
async fn ask(
    address: std::net::SocketAddr,
    user: Option<&User>,
    method: &str,
    path: &str,
    body: &Value,
) -> String {
    let url = format!("http://{address}{path}");
    let mut request = reqwest::Client::new().request(Method::from_bytes(method.as_bytes()).unwrap(), url);
    if let Some(user) = user {
        request = request.bearer_auth(&user.token);
    }
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.sent().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    if !matches!(status, 401 | 403 | 404) {
        assert!(status < 500 || status == 503, "{method} {path}: {status} {text}");
        return "allowed".to_owned();
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    // To a stranger an event reads as one that does not exist.
    if status == 404 && path.contains("/events/") {
        assert_eq!(code_of(&body), "EVENT_NOT_FOUND", "{method} {path}");
    }
    status.to_string()
}

#[tokio::test]
async fn every_role_may_do_on_every_route_what_it_should_and_nothing_else() {
    let app = TestApp::spawn().await;
    let people = People::new(&app).await;
    let first = people.event().await;
    people.host.bring(&people.suspended, first).await;
    people.host.bring(&people.deleted, first).await;
    people.end().await;
    let mut outcome = Outcome::default();
    let mut without = String::new();
    let routes = timingle::http::routes();
    for (method, path) in &routes {
        // A page for browsers, with or without sign-in; `invitations.rs` has its rules.
        if *path == "/invite/{code}" {
            continue;
        }
        let Some((whom, body)) = line(method, path, &people) else {
            let _ = writeln!(without, "  {method} {path}");
            continue;
        };
        let event = people.event().await;
        let code = people.host.invite(event).await;
        for role in Role::ALL {
            let once;
            let mut user = people.get(role);
            if matches!(whom, For::OneselfOnce) && !role.is_nobody() {
                once = app.user("Once").await;
                user = Some(&once);
            }
            let session = match user {
                Some(user) if path.contains("{session}") && !role.is_nobody() => {
                    let (_, sessions) = user.call(Method::GET, "/auth/sessions", None).await;
                    sessions[0]["id"].as_str().unwrap().to_owned()
                }
                _ => uuid::Uuid::nil().to_string(),
            };
            let filled = path
                .replace("{event}", &event.to_string())
                .replace("{user}", &people.target.id.to_string())
                .replace("{code}", &code)
                .replace("{session}", &session)
                .replace(
                    "{name}",
                    if path.starts_with("/api/docs") {
                        "page.js"
                    } else {
                        "none"
                    },
                );
            let expected = whom.denies(role);
            let wanted = match expected {
                Some(status) => status.to_string(),
                // No such file: nobody is denied anything by that.
                None if path.starts_with("/invite-assets") => "404".to_owned(),
                None => "allowed".to_owned(),
            };
            let got = ask(app.address, user, method, &filled, &body).await;
            outcome.note(
                &format!("{method} {path}"),
                role,
                expected.is_some(),
                &wanted,
                &got,
            );
        }
    }
    assert!(
        without.is_empty(),
        "routes without a line in the matrix:\n{without}"
    );
    outcome.assert_right("routes");
}

#[tokio::test]
async fn everybody_may_leave_but_the_host_and_nobody_else_again() {
    let app = TestApp::spawn().await;
    let people = People::new(&app).await;
    let event = people.event().await;
    let mut outcome = Outcome::default();
    for role in Role::ALL {
        let Some(user) = people.get(role) else { continue };
        let path = format!("/api/v1/events/{event}/participants/{}", user.id);
        let expected = match role {
            Role::Pending | Role::Declined => None,
            Role::Host => Some(403),
            _ => Some(404),
        };
        let wanted = expected.map_or_else(|| "allowed".to_owned(), |status: u16| status.to_string());
        let got = ask(app.address, Some(user), "DELETE", &path, &Value::Null).await;
        outcome.note("leaves", role, expected.is_some(), &wanted, &got);
    }
    outcome.assert_right("leaving");
}
