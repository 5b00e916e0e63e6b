//! How people come into an event, over HTTP alone, and what their hosts can do about it.

use std::collections::BTreeMap;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{TestApp, User, api::Sends as _, until},
    invite_page::browse,
};

async fn join(user: &User, code: &str) -> (StatusCode, Value) {
    user.call(Method::POST, &format!("/invite/{code}/join"), None)
        .await
}

async fn add(host: &User, event: i64, user: i64) -> (StatusCode, Value) {
    let body = json!({ "participant_id": user });
    host.call(Method::POST, &format!("/events/{event}/participants"), Some(body))
        .await
}

pub(crate) async fn link_for(host: &User, event: i64, max_uses: i64) -> String {
    let body = json!({ "max_uses": max_uses });
    let path = format!("/events/{event}/invite-link");
    let (status, link) = host.call(Method::POST, &path, Some(body)).await;
    assert_eq!(status, 200, "{link}");
    link["code"].as_str().unwrap().to_owned()
}

async fn participants(user: &User, event: i64) -> Vec<i64> {
    let (status, event) = user.call(Method::GET, &format!("/events/{event}"), None).await;
    assert_eq!(status, 200);
    let those = event["participants"].as_array().unwrap();
    those.iter().map(|one| one["id"].as_i64().unwrap()).collect()
}

/// Weakness 15 of a first implementation: check, insert and count were three steps.
#[tokio::test]
async fn of_a_hundred_at_once_a_link_for_ten_lets_exactly_ten_in() {
    let app = TestApp::spawn().await;
    let host = app.user("Mina").await;
    let event = host.create_event("Ten seats").await;
    let code = link_for(&host, event, 10).await;
    let mut tries = Vec::new();
    for number in 0..100 {
        let guest = app.user(&format!("Guest {number}")).await;
        tries.push(guest);
    }
    // Where so many collide that a store gives up on some, these try again, as they are told to.
    let tries = tries.iter().map(async |guest| {
        until("an answer", || async {
            let answer = join(guest, &code).await;
            (answer.0 != 503).then_some(answer)
        })
        .await
    });
    let mut outcomes = BTreeMap::new();
    for (status, answer) in futures_util::future::join_all(tries).await {
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        *outcomes.entry((status.as_u16(), code)).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([
        ((200, String::new()), 10),
        ((400, "INVITE_INVALID".to_owned()), 90),
    ]);
    assert_eq!(outcomes, expected);
    assert_eq!(participants(&host, event).await.len(), 10);
    let (_, links) = host
        .call(Method::GET, &format!("/events/{event}/invite-links"), None)
        .await;
    assert_eq!(
        (&links[0]["use_count"], &links[0]["max_uses"]),
        (&json!(10), &json!(10))
    );
}

/// Weakness 16 of a first implementation: joining what is over, and the host joining too.
#[tokio::test]
async fn ended_event_is_not_joined_and_the_host_appears_once() {
    let app = TestApp::spawn().await;
    let (host, guest) = (app.user("Mina").await, app.user("Jun").await);
    let event = host.create_event("Dinner").await;
    let code = host.invite(event).await;
    let (status, info) = host.call(Method::GET, &format!("/invite/{code}"), None).await;
    assert_eq!(
        (status.as_u16(), &info["action"]),
        (200, &json!("already_joined"))
    );
    let (status, answer) = join(&host, &code).await;
    assert_eq!((status.as_u16(), &answer["already_joined"]), (200, &json!(true)));
    assert!(participants(&host, event).await.is_empty());

    host.cancel(event, "rain").await;
    let (status, answer) = join(&guest, &code).await;
    assert_eq!((status.as_u16(), &answer["code"]), (409, &json!("EVENT_STATE")));
    assert_eq!(browse(&app, &format!("/invite/{code}"), "en").await.status, 404);

    let past = json!({
        "title": "Yesterday",
        "start_time": "2020-05-01T10:00:00Z",
        "end_time": "2020-05-01T11:00:00Z",
    });
    let (status, past) = host.call(Method::POST, "/events", Some(past)).await;
    assert_eq!(status, 201, "{past}");
    let code = host.invite(past["id"].as_i64().unwrap()).await;
    let (status, answer) = join(&guest, &code).await;
    assert_eq!((status.as_u16(), &answer["code"]), (409, &json!("EVENT_STATE")));
    assert_eq!(browse(&app, &format!("/invite/{code}"), "en").await.status, 404);
}

#[tokio::test]
async fn who_was_removed_comes_back_only_by_a_newer_link() {
    let app = TestApp::spawn().await;
    let (host, guest) = (app.user("Mina").await, app.user("Jun").await);
    let event = host.create_event("Dinner").await;
    let old = host.invite(event).await;
    guest.join_by(&old).await;
    host.remove(&guest, event).await;
    let (status, answer) = join(&guest, &old).await;
    assert_eq!(
        (status.as_u16(), &answer["code"]),
        (400, &json!("INVITE_INVALID"))
    );
    guest.join_by(&host.invite(event).await).await;
    assert_eq!(participants(&host, event).await, [guest.id]);
}

#[tokio::test]
async fn link_that_its_host_ended_lets_nobody_in() {
    let app = TestApp::spawn().await;
    let (host, guest, other) = (
        app.user("Mina").await,
        app.user("Jun").await,
        app.user("Noa").await,
    );
    let event = host.create_event("Dinner").await;
    let code = host.invite(event).await;
    guest.join_by(&code).await;
    let path = format!("/invite/{code}");
    for user in [&guest, &other] {
        let (status, answer) = user.call(Method::DELETE, &path, None).await;
        assert_eq!((status.as_u16(), &answer["code"]), (404, &json!("NOT_FOUND")));
    }
    for _ in 0..2 {
        let (status, answer) = host.call(Method::DELETE, &path, None).await;
        assert_eq!(status, 200);
        assert!(answer["message"].as_str().unwrap().contains("switched off"));
    }
    let (status, answer) = join(&other, &code).await;
    assert_eq!(
        (status.as_u16(), &answer["code"]),
        (400, &json!("INVITE_INVALID"))
    );
    let (_, links) = host
        .call(Method::GET, &format!("/events/{event}/invite-links"), None)
        .await;
    assert_eq!(links[0]["is_active"], false);
}

/// Weakness 5 of a first implementation: numbers 1..n could be pulled in, and were told.
#[tokio::test]
async fn only_acquaintances_are_added_and_nobody_can_be_searched_for() {
    let app = TestApp::spawn().await;
    let (host, friend, stranger) = (
        app.user("Mina").await,
        app.user("Jun").await,
        app.user("Noa").await,
    );
    let earlier = host.create_event("Earlier").await;
    host.bring(&friend, earlier).await;
    let event = host.create_event("Dinner").await;

    let (stranger_status, mut to_stranger) = add(&host, event, stranger.id).await;
    let (unknown_status, mut to_unknown) = add(&host, event, 999_999).await;
    assert_eq!((stranger_status.as_u16(), unknown_status.as_u16()), (404, 404));
    for answer in [&mut to_stranger, &mut to_unknown] {
        assert_eq!(answer["code"], "USER_NOT_FOUND");
        answer["request_id"] = Value::Null;
    }
    assert_eq!(to_stranger, to_unknown);

    let (status, answer) = add(&host, event, friend.id).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["id"], &answer["participants"][0]["id"]),
        (&json!(event), &json!(friend.id))
    );
    assert!(answer["message"].is_string());
    let text = answer.to_string();
    let digits = friend.phone.trim_start_matches('0');
    assert!(!text.contains("phone") && !text.contains(digits), "{text}");
    let (status, again) = add(&host, event, friend.id).await;
    assert_eq!((status.as_u16(), &again["fact_no"]), (200, &answer["fact_no"]));

    let (status, answer) = add(&friend, event, host.id).await;
    assert_eq!((status.as_u16(), &answer["code"]), (403, &json!("FORBIDDEN")));
    let (status, answer) = add(&stranger, event, friend.id).await;
    assert_eq!(
        (status.as_u16(), &answer["code"]),
        (404, &json!("EVENT_NOT_FOUND"))
    );

    for path in [
        "/users/search?q=Jun".to_owned(),
        format!("/users/{}", friend.id),
        "/users".to_owned(),
    ] {
        let (status, answer) = host.call(Method::GET, &path, None).await;
        assert_eq!(
            (status.as_u16(), &answer["code"]),
            (404, &json!("NOT_FOUND")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn link_asked_for_again_under_its_key_is_the_same_link() {
    let app = TestApp::spawn().await;
    let host = app.user("Mina").await;
    let event = host.create_event("Dinner").await;
    let ask = async |body: &'static str| {
        let url = format!("http://{}/api/v1/events/{event}/invite-link", app.address);
        let request = Client::new().post(url).bearer_auth(&host.token);
        let answer = request
            .header("idempotency-key", "k-1")
            .body(body)
            .sent()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let first = ask("{}").await;
    assert_eq!(first.0, 200);
    assert_eq!(ask("{}").await, first);
    let other = ask("{\"max_uses\":2}").await;
    assert_eq!(
        (other.0, &other.1["code"]),
        (422, &json!("IDEMPOTENCY_KEY_REUSED"))
    );
}
