//! Every call that the app makes, in its order, and each answer through its parsers.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    client::{Chat, Dio, texts},
    dart::{AuthResponse, EventModel, ParticipantModel, UserModel, error_text, has_calendar_access, list},
};
use crate::harness::{TestApp, User};

const API: &str = "/api/v1";

/// Signs in as the app does: by registering.
async fn register(app: &TestApp, phone: &str, name: &str, status: u16) -> (Dio, AuthResponse) {
    let mut dio = Dio::new(app.address, None);
    let request = json!({ "phone": phone, "name": name });
    let answer = dio
        .done(Method::POST, "/api/v1/auth/register", Some(request), status)
        .await;
    let signed_in = AuthResponse::of_register(&answer).unwrap();
    dio.token = Some(signed_in.access_token.clone());
    (dio, signed_in)
}

async fn event(dio: &Dio, method: Method, path: &str, body: Option<Value>, status: u16) -> EventModel {
    let answer = dio.done(method, &format!("{API}{path}"), body, status).await;
    EventModel::from_json(&answer).unwrap()
}

#[tokio::test]
async fn app_signs_in_comes_back_and_signs_out() {
    let app = TestApp::spawn().await;
    let (dio, signed_in) = register(&app, "01055556666", "Ada", 201).await;
    assert_eq!(signed_in.user.name, "Ada");

    // The next start: both tokens are there.
    let me = dio.done(Method::GET, "/api/v1/users/me", None, 200).await;
    assert_eq!(UserModel::from_json(&me).unwrap(), signed_in.user);

    // It takes the new access token only, so the first refresh token must go on working.
    let mut dio = dio;
    let refresh = Some(json!({ "refresh_token": signed_in.refresh_token }));
    for _ in 0..3 {
        let answer = dio
            .done(Method::POST, "/api/v1/auth/refresh", refresh.clone(), 200)
            .await;
        dio.token = Some(AuthResponse::nested(&answer).unwrap().access_token);
        dio.done(Method::GET, "/api/v1/users/me", None, 200).await;
    }

    // Known number: a sign-in, under the name that is known.
    let (again, back) = register(&app, "010-5555-6666", "Somebody else", 200).await;
    assert_eq!(back.user, signed_in.user);
    let answer = again.done(Method::POST, "/api/v1/auth/logout", None, 200).await;
    assert!(answer["message"].is_string());
    let refresh_of_back = Some(json!({ "refresh_token": back.refresh_token }));
    let answer = again
        .ask(Method::POST, "/api/v1/auth/refresh", refresh_of_back)
        .await;
    assert_eq!(answer.status, 401);
    error_text(&answer.body).unwrap();
    // The other device is still signed in.
    dio.done(Method::GET, "/api/v1/users/me", None, 200).await;
    dio.done(Method::POST, "/api/v1/auth/refresh", refresh, 200).await;

    let nobody = Dio::new(app.address, Some("nonsense"));
    let answer = nobody.ask(Method::GET, "/api/v1/users/me", None).await;
    assert_eq!(answer.status, 401);
    assert!(
        error_text(&answer.body).unwrap().chars().any(|c| c >= '가'),
        "Korean: {}",
        answer.body
    );
}

#[tokio::test]
async fn app_lists_makes_and_opens_appointments() {
    let app = TestApp::spawn().await;
    let (dio, ada) = register(&app, "01055556667", "Ada", 201).await;
    let page = "/api/v1/events?page=1&limit=20";
    let empty = dio.done(Method::GET, page, None, 200).await;
    assert!(list(&empty, EventModel::from_json).unwrap().is_empty());

    let new = |title: &str, start: &str| {
        json!({
            "title": title, "description": null, "start_time": start,
            "end_time": "2030-01-15T11:00:00.000Z", "location": null, "participant_ids": null,
        })
    };
    let first = new("Three digits", "2030-01-15T10:00:00.000Z");
    let first = event(&dio, Method::POST, "/events", Some(first), 201).await;
    let second = new("Six digits", "2030-01-15T10:00:00.123456Z");
    let second = event(&dio, Method::POST, "/events", Some(second), 201).await;
    assert!(
        second.start_time.starts_with("2030-01-15T10:00:00.123456"),
        "{second:?}"
    );
    assert_eq!(
        (first.creator_id, first.status.as_str()),
        (ada.user.id, "PROPOSED")
    );
    assert_eq!(
        event(&dio, Method::GET, &format!("/events/{}", first.id), None, 200).await,
        first
    );

    let listed = dio.done(Method::GET, page, None, 200).await;
    let listed = list(&listed, EventModel::from_json).unwrap();
    assert_eq!(
        listed.iter().map(|event| event.id).collect::<Vec<_>>(),
        [second.id, first.id]
    );
    for (status, count) in [("PROPOSED", 2), ("CONFIRMED", 0), ("NONSENSE", 0)] {
        let page = dio
            .done(Method::GET, &format!("{page}&status={status}"), None, 200)
            .await;
        assert_eq!(
            list(&page, EventModel::from_json).unwrap().len(),
            count,
            "{status}"
        );
    }

    // The dialog can make an end before the start, and shows the text that comes back.
    let backwards = new("Backwards", "2030-01-15T12:00:00.000Z");
    let answer = dio.ask(Method::POST, "/api/v1/events", Some(backwards)).await;
    assert!([400, 422].contains(&answer.status.as_u16()), "{answer:?}");
    error_text(&answer.body).unwrap();
    let answer = dio.ask(Method::GET, "/api/v1/events/999999", None).await;
    assert_eq!(answer.status, 404);
    error_text(&answer.body).unwrap();
}

#[tokio::test]
async fn app_changes_confirms_and_cancels() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let (at_ada, at_min) = (Dio::of(&ada), Dio::of(&min));
    let id = ada.create_event("Lesson").await;
    ada.bring(&min, id).await;
    let path = format!("/events/{id}");

    let renamed = event(
        &at_ada,
        Method::PATCH,
        &path,
        Some(json!({ "title": "Renamed" })),
        200,
    )
    .await;
    assert_eq!(renamed.title, "Renamed");
    let missing = at_ada
        .ask(Method::POST, &format!("{API}{path}/confirm"), None)
        .await;
    assert_eq!(missing.status, 409, "{missing:?}");
    error_text(&missing.body).unwrap();
    // A guest confirms that he himself comes; then everybody has, and the event is confirmed.
    let confirmed = event(&at_min, Method::POST, &format!("{path}/confirm"), None, 200).await;
    assert_eq!(
        confirmed.participants,
        [ParticipantModel {
            id: min.id,
            name: "민지".into(),
            confirmed: true
        }]
    );
    assert_eq!(confirmed.status, "CONFIRMED");
    let again = event(&at_ada, Method::POST, &format!("{path}/confirm"), None, 200).await;
    assert_eq!(again.status, "CONFIRMED");

    for _ in 0..2 {
        let answer = at_ada
            .done(Method::DELETE, &format!("{API}{path}"), None, 200)
            .await;
        assert!(answer["message"].is_string(), "{answer}");
    }
    let canceled = event(&at_min, Method::GET, &path, None, 200).await;
    assert_eq!(canceled.status, "CANCELED", "the evidence stays");
}

#[tokio::test]
async fn app_opens_a_chat_talks_and_leaves_it() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let id = ada.create_event("Lesson").await;
    ada.bring(&min, id).await;
    let dio = Dio::of(&min);
    let mut shown = dio.messages(id, "?limit=50").await;
    shown.reverse();
    assert!(
        shown.iter().all(|message| message.message_type == "system"),
        "{shown:?}"
    );
    let mut chat = Chat::open(&min, id).await;
    let title = event(&dio, Method::GET, &format!("/events/{id}"), None, 200).await;
    assert_eq!(title.participants.len(), 1);
    chat.say("안녕하세요").await;
    shown.push(chat.words().await);
    ada.cancel(id, "").await;
    shown.push(chat.note().await);
    let mut page = dio.messages(id, "?limit=50").await;
    page.reverse();
    assert_eq!(page, shown, "what was shown is what is kept: {:?}", texts(&shown));
    chat.close().await;
}

#[tokio::test]
async fn app_reads_that_there_is_no_google_and_no_calendar() {
    let app = TestApp::spawn().await;
    let dio = Dio::of(&app.user("Ada").await);
    let status = dio.done(Method::GET, "/api/v1/calendar/status", None, 200).await;
    assert!(!has_calendar_access(&status).unwrap());
    let id_token = json!({ "id_token": "x", "platform": "android" });
    for (method, path, body) in [
        (Method::POST, "/api/v1/auth/google", Some(id_token.clone())),
        (Method::POST, "/api/v1/auth/google/calendar", Some(id_token)),
        (
            Method::GET,
            "/api/v1/calendar/events?start_time=2030-01-01T00:00:00.000Z&end_time=2030-02-01T00:00:00.000Z",
            None,
        ),
        (Method::POST, "/api/v1/calendar/sync/1", None),
    ] {
        let answer = dio.ask(method, path, body).await;
        assert!(
            [404, 409, 503].contains(&answer.status.as_u16()),
            "{path}: {answer:?}"
        );
        assert!(!error_text(&answer.body).unwrap().is_empty());
    }
}

#[tokio::test]
async fn nobody_reads_another_users_phone() {
    let app = TestApp::spawn().await;
    let (ada, min): (User, User) = (app.user("Ada").await, app.user("민지").await);
    let id = ada.create_event("Lesson").await;
    ada.bring(&min, id).await;
    let dio = Dio::of(&min);
    for path in [
        format!("{API}/events"),
        format!("{API}/events/{id}"),
        format!("{API}/events/{id}/messages"),
    ] {
        let answer = dio.done(Method::GET, &path, None, 200).await.to_string();
        assert!(!answer.contains(&ada.phone[3..]), "{path}: {answer}");
    }
}
