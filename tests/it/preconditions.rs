//! Who changes an event that is no longer as they saw it is told so, and changes nothing.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TestApp, User, user::Answer};

async fn change(user: &User, method: &str, path: &str, tag: &str, body: Value) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    user.call_with(method, path, &[("if-match", tag)], Some(body))
        .await
}

async fn get(user: &User, event: i64, headers: &[(&str, &str)]) -> Answer {
    user.call_with(Method::GET, &format!("/events/{event}"), headers, None)
        .await
}

/// What the tag speaks of: the event, and not who has read how much of its record.
fn state(mut event: Value) -> Value {
    for of_the_reader in ["head_seq", "unread_messages"] {
        event.as_object_mut().unwrap().remove(of_the_reader);
    }
    for one in event["participants"].as_array_mut().unwrap() {
        for mark in ["read_seq", "read_at"] {
            one.as_object_mut().unwrap().remove(mark);
        }
    }
    event
}

async fn tag(user: &User, event: i64) -> String {
    get(user, event, &[]).await.header("etag").unwrap().to_owned()
}

/// An event of Ada's with Bob in it, and the two.
async fn stage() -> (TestApp, User, User, i64) {
    let app = TestApp::spawn().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    (app, ada, bob, event)
}

#[tokio::test]
async fn every_answer_that_is_one_event_carries_its_tag_and_every_change_another() {
    let (_app, ada, bob, event) = stage().await;
    let mut now = tag(&ada, event).await;
    assert_eq!(now, format!("\"{event}-2\""));
    let of = |rest: &str| format!("/events/{event}{rest}");
    let steps: [(&User, &str, String, Value); 8] = [
        (&ada, "PATCH", of(""), json!({ "title": "Supper" })),
        (&ada, "PUT", of(""), json!({ "title": "Dinner" })),
        (&bob, "POST", of("/decline"), json!({})),
        (&bob, "POST", of("/accept"), json!({})),
        (&ada, "PATCH", of(""), json!({ "location": "Seoul" })),
        (&bob, "POST", of("/confirm-participation"), json!({})),
        (&ada, "POST", of("/confirm"), json!({})),
        (&ada, "POST", of("/cancel"), json!({})),
    ];
    for (user, method, path, body) in steps {
        let done = change(user, method, &path, &now, body).await;
        assert_eq!(done.status.as_u16(), 200, "{method} {path}: {}", done.body);
        let told = done.header("etag").unwrap().to_owned();
        assert_eq!(
            told,
            format!("\"{event}-{}\"", done.body["fact_no"]),
            "{method} {path}"
        );
        let read = get(&ada, event, &[]).await;
        assert_eq!(read.header("etag"), Some(told.as_str()), "{method} {path}");
        // Only confirming what the last acceptance has confirmed changes nothing.
        assert_eq!(told == now, path.ends_with("/confirm"), "{method} {path}");
        now = told;
    }
    let gone = change(&ada, "DELETE", &of(""), &now, json!({})).await;
    assert_eq!(
        (gone.status.as_u16(), gone.header("etag")),
        (200, Some(now.as_str()))
    );
    let new = ada
        .call_with(
            Method::POST,
            "/events",
            &[],
            Some(json!({"title": "x", "start_time": "2031-01-01T00:00:00Z", "end_time": "2031-01-01T00:00:00Z"})),
        )
        .await;
    assert_eq!(new.header("etag").unwrap(), format!("\"{}-1\"", new.body["id"]));
}

#[tokio::test]
async fn change_of_another_state_is_refused_on_every_route_with_the_event_as_it_is() {
    let (_app, ada, bob, event) = stage().await;
    let stale = tag(&ada, event).await;
    let of = |rest: &str| format!("/events/{event}{rest}");
    ada.call(Method::PATCH, &of(""), Some(json!({ "title": "Supper" })))
        .await;
    let now = get(&ada, event, &[]).await;
    for (user, method, rest, body) in [
        (&ada, "PATCH", "", json!({ "title": "Mine" })),
        (&ada, "PUT", "", json!({ "title": "Mine" })),
        (&bob, "POST", "/accept", json!({})),
        (&bob, "POST", "/decline", json!({})),
        (&bob, "POST", "/confirm", json!({})),
        (&bob, "POST", "/confirm-participation", json!({})),
        (&ada, "POST", "/confirm", json!({})),
        (&ada, "POST", "/done", json!({})),
        (&ada, "POST", "/cancel", json!({})),
        (&ada, "DELETE", "", json!({})),
        (&ada, "DELETE", &format!("/participants/{}", bob.id), json!({})),
        (&ada, "POST", "/participants", json!({ "participant_id": bob.id })),
    ] {
        let refused = change(user, method, &of(rest), &stale, body).await;
        assert_eq!(refused.status.as_u16(), 412, "{method} {rest}: {}", refused.body);
        assert_eq!(refused.body["code"], "PRECONDITION_FAILED", "{method} {rest}");
        assert_eq!(
            state(refused.body["details"]["event"].clone()),
            state(now.body.clone()),
            "{method} {rest}"
        );
        assert_eq!(refused.header("etag"), now.header("etag"), "{method} {rest}");
    }
    assert_eq!(state(get(&ada, event, &[]).await.body), state(now.body));
}

#[tokio::test]
async fn if_match_is_read_as_rfc_9110_says() {
    let (_app, ada, _bob, event) = stage().await;
    let path = format!("/events/{event}");
    let try_with = async |tags: &str, title: &str| {
        change(&ada, "PATCH", &path, tags, json!({ "title": title }))
            .await
            .status
            .as_u16()
    };
    let now = tag(&ada, event).await;
    for never in [
        format!("W/{now}"),
        now.trim_matches('"').to_owned(),
        "\"999-2\", \"other\"".to_owned(),
        "\"\"".to_owned(),
        "nonsense".to_owned(),
    ] {
        assert_eq!(try_with(&never, "no").await, 412, "{never}");
    }
    assert_eq!(try_with("*", "any").await, 200);
    let now = tag(&ada, event).await;
    assert_eq!(
        try_with(&format!("\"{event}-1\" ,{now},\"x\""), "listed").await,
        200
    );
    assert_eq!(try_with(&now, "again").await, 412);
    let two = [("if-match", "\"x\""), ("if-match", &*tag(&ada, event).await)];
    let done = ada
        .call_with(Method::PATCH, &path, &two, Some(json!({ "title": "two lines" })))
        .await;
    assert_eq!(done.status.as_u16(), 200, "{}", done.body);
    // Without the header nothing is asked.
    let (status, _) = ada
        .call(Method::PATCH, &path, Some(json!({ "title": "free" })))
        .await;
    assert_eq!(status.as_u16(), 200);
}

#[tokio::test]
async fn precondition_tells_nobody_what_they_may_not_know() {
    let (app, ada, bob, event) = stage().await;
    let now = tag(&ada, event).await;
    let path = format!("/events/{event}");
    let stranger = app.user("Eve").await;
    for tag in [now.as_str(), "\"x\"", "*"] {
        let refused = change(&stranger, "PATCH", &path, tag, json!({ "title": "x" })).await;
        assert_eq!(refused.status.as_u16(), 404, "{tag}");
        assert_eq!(refused.body["code"], "EVENT_NOT_FOUND", "{tag}");
    }
    let refused = change(&bob, "PATCH", &path, &now, json!({ "title": "x" })).await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    let refused = get(&stranger, event, &[("if-none-match", &now)]).await;
    assert_eq!(refused.status.as_u16(), 404);
}

#[tokio::test]
async fn of_many_changes_of_one_state_exactly_one_wins() {
    let (_app, ada, _bob, event) = stage().await;
    for round in 0..5 {
        let now = tag(&ada, event).await;
        let path = format!("/events/{event}");
        let (path, now) = (path.as_str(), now.as_str());
        let tries = (0..20).map(|n| {
            let title = format!("{round}-{n}");
            let ada = &ada;
            async move {
                let answer = change(ada, "PATCH", path, now, json!({ "title": title })).await;
                (answer, title)
            }
        });
        let answers = futures_util::future::join_all(tries).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.status == 200);
        assert_eq!(won.len(), 1, "round {round}");
        let read = get(&ada, event, &[]).await;
        assert_eq!(read.body["title"], won[0].1);
        for (answer, _) in lost {
            assert_eq!(answer.status.as_u16(), 412, "{}", answer.body);
            assert_eq!(
                state(answer.body["details"]["event"].clone()),
                state(read.body.clone())
            );
        }
    }
}

#[tokio::test]
async fn event_that_is_known_is_not_sent_again_to_who_says_so() {
    let (_app, ada, _bob, event) = stage().await;
    let now = tag(&ada, event).await;
    for known in [
        now.clone(),
        format!("W/{now}"),
        "*".to_owned(),
        format!("\"x\", {now}"),
    ] {
        let answer = get(&ada, event, &[("if-none-match", &known)]).await;
        assert_eq!(answer.status.as_u16(), 304, "{known}");
        assert!(answer.bytes.is_empty());
        assert_eq!(answer.header("etag"), Some(now.as_str()));
    }
    assert_eq!(get(&ada, event, &[]).await.status.as_u16(), 200);
    ada.cancel(event, "rain").await;
    let answer = get(&ada, event, &[("if-none-match", &now)]).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["status"]),
        (200, &json!("CANCELED"))
    );
}
