//! Lists of any length: nothing twice, nothing left out, whatever happens in between.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TestApp, User, until};

async fn get(user: &User, path: &str) -> Value {
    let (status, body) = user.call(Method::GET, path, None).await;
    assert_eq!(status.as_u16(), 200, "{path}: {body}");
    body
}

async fn event_at(user: &User, title: &str, start: &str) -> i64 {
    let body = json!({ "title": title, "start_time": start, "end_time": "2040-01-01T00:00:00Z" });
    let (status, made) = user.call(Method::POST, "/events", Some(body)).await;
    assert_eq!(status.as_u16(), 201, "{made}");
    made["id"].as_i64().unwrap()
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_i64().unwrap())
        .collect()
}

/// All pages of a list, with what `between` does before each but the first.
async fn all(user: &User, path: &str, list: &str, mut between: impl AsyncFnMut()) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(user, &format!("{path}&cursor={cursor}")).await;
        assert_eq!(page.as_object().unwrap().len(), 2, "{page}");
        pages.push(page[list].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return pages,
        }
        between().await;
    }
}

#[tokio::test]
async fn pages_of_events_neither_overlap_nor_leave_out_while_others_come_and_go() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut expected = Vec::new();
    for n in 0..25 {
        // Five at each moment: the number decides among them.
        let start = format!("2031-01-{:02}T10:00:00Z", 10 - n / 5);
        expected.push((n / 5, event_at(&ada, &n.to_string(), &start).await));
    }
    expected.sort_by_key(|(day, id)| (*day, -id));
    let expected: Vec<i64> = expected.into_iter().map(|(_, id)| id).collect();
    let whole = get(&ada, "/events?cursor=").await;
    assert_eq!(ids(&whole["events"]), expected);
    assert_eq!(whole["next_cursor"], Value::Null);

    // Before each page one comes in front of everything, and one at the moment of the border.
    let pages = all(&ada, "/events?limit=4", "events", async || {
        event_at(&ada, "before", "2039-01-01T00:00:00Z").await;
    })
    .await;
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 4, 4, 4, 4, 4, 1]);
    assert_eq!(ids(&pages.concat().into()), expected);

    // A full last page has nothing behind it.
    assert_eq!(
        get(&ada, "/events?limit=31&cursor=").await["next_cursor"],
        Value::Null
    );
    assert!(get(&ada, "/events?limit=30&cursor=").await["next_cursor"].is_string());

    // Version 1 has its bare array and its numbered pages as ever.
    assert_eq!(ids(&get(&ada, "/events?page=7&limit=5").await).len(), 1);
    assert_eq!(get(&ada, "/events").await.as_array().unwrap().len(), 31);
}

#[tokio::test]
async fn place_of_a_cursor_need_not_exist_any_more() {
    let app = TestApp::spawn().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let mut events = Vec::new();
    for day in 1..=4 {
        let event = event_at(&ada, "x", &format!("2031-01-0{day}T00:00:00Z")).await;
        ada.bring(&bob, event).await;
        events.push(event);
    }
    events.reverse();
    let first = get(&bob, "/events?limit=2&cursor=").await;
    assert_eq!(ids(&first["events"]), events[..2]);
    bob.remove(&bob, events[1]).await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&bob, &format!("/events?limit=2&cursor={cursor}")).await;
    assert_eq!(ids(&second["events"]), events[2..]);
}

#[tokio::test]
async fn events_are_found_by_state_and_time() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let january = event_at(&ada, "January", "2031-01-01T00:00:00Z").await;
    let february = event_at(&ada, "February", "2031-02-01T00:00:00Z").await;
    let march = event_at(&ada, "March", "2031-03-01T00:00:00Z").await;
    ada.cancel(february, "rain").await;
    for (query, expected) in [
        ("status=CANCELED", vec![february]),
        ("status=PROPOSED", vec![march, january]),
        ("status=CANCELED&status=PROPOSED", vec![march, february, january]),
        ("status=CANCELED,%20PROPOSED", vec![march, february, january]),
        ("status=CANCELED,NONSENSE", vec![february]),
        ("status=NONSENSE", vec![]),
        ("status=", vec![march, february, january]),
        ("from=2031-02-01T00:00:00Z", vec![march, february]),
        ("until=2031-02-01T00:00:00Z", vec![january]),
        (
            "from=2031-02-01T09:00:00%2B09:00&until=2031-02-01T00:00:00.000001Z",
            vec![february],
        ),
        ("from=2031-01-15T00:00:00Z&status=PROPOSED", vec![march]),
        ("from=&until=", vec![march, february, january]),
    ] {
        assert_eq!(
            ids(&get(&ada, &format!("/events?{query}")).await),
            expected,
            "{query}"
        );
        let page = get(&ada, &format!("/events?{query}&cursor=")).await;
        assert_eq!(ids(&page["events"]), expected, "{query}");
    }
}

#[tokio::test]
async fn participants_come_page_by_page_in_the_order_in_which_they_came() {
    let app = TestApp::spawn().await;
    let (ada, eve) = (app.user("Ada").await, app.user("Eve").await);
    let event = ada.create_event("Dinner").await;
    let mut expected = vec![ada.id];
    for n in 0..7 {
        let guest = app.user(&format!("Guest {n}")).await;
        ada.bring(&guest, event).await;
        expected.push(guest.id);
    }
    let path = format!("/events/{event}/participants?limit=3");
    let mut newcomer = 0;
    let pages = all(&ada, &path, "participants", async || {
        let guest = app.user("Late").await;
        ada.bring(&guest, event).await;
        newcomer += 1;
        expected.push(guest.id);
    })
    .await;
    let those = pages.concat();
    assert_eq!(ids(&those.clone().into()), expected);
    assert_eq!(
        (&those[0]["role"], &those[0]["name"]),
        (&json!("host"), &json!("Ada"))
    );
    assert_eq!(those[1]["role"], "guest");
    assert!(newcomer >= 2);
    for one in &those {
        assert!(one.get("phone").is_none() && one.get("email").is_none(), "{one}");
    }
    let all_at_once = get(&ada, &format!("/events/{event}/participants")).await;
    assert_eq!(ids(&all_at_once["participants"]), expected);

    for refused in [event, 999_999] {
        let (status, body) = eve
            .call(Method::GET, &format!("/events/{refused}/participants"), None)
            .await;
        assert_eq!((status.as_u16(), &body["code"]), (404, &json!("EVENT_NOT_FOUND")));
    }
}

#[tokio::test]
async fn cursor_limit_or_filter_that_is_none_is_refused_with_its_name() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Dinner").await;
    let long = "A".repeat(300);
    let events = "/events?cursor=".to_owned();
    let participants = format!("/events/{event}/participants?cursor=");
    let history = format!("/events/{event}/history?cursor=");
    for (path, pointer) in [
        (format!("{events}x"), "/cursor"),
        (format!("{events}{long}"), "/cursor"),
        (format!("{events}WzFd"), "/cursor"),
        (format!("{events}&limit=0"), "/limit"),
        (format!("{events}&limit=101"), "/limit"),
        (format!("{events}&from=yesterday"), "/from"),
        (format!("{events}&until=2031-01-01T00:00:00"), "/until"),
        ("/events?page=0".to_owned(), "/page"),
        ("/events?from=1".to_owned(), "/from"),
        (format!("{participants}%F0%9F%99%82"), "/cursor"),
        (format!("{participants}&limit=-1"), "/limit"),
        (format!("{history}-1"), "/cursor"),
        (format!("{history}%2B1"), "/cursor"),
        (format!("{history}99999999999999999999999"), "/cursor"),
        (format!("{history}&order=random"), "/order"),
        (format!("{history}&limit=1000"), "/limit"),
    ] {
        let (status, body) = ada.call(Method::GET, &path, None).await;
        assert_eq!(
            (status.as_u16(), &body["code"]),
            (422, &json!("VALIDATION_ERROR")),
            "{path}: {body}"
        );
        assert_eq!(body["errors"][0]["pointer"], pointer, "{path}");
    }
    // Two at once are told at once.
    let (_, body) = ada
        .call(Method::GET, "/events?cursor=x&limit=0&from=x", None)
        .await;
    assert_eq!(body["errors"].as_array().unwrap().len(), 3, "{body}");
}

#[tokio::test]
async fn history_tells_every_fact_in_the_readers_language() {
    let app = TestApp::spawn().await;
    let (ada, bob) = (app.user("Ada").await, app.user("Bob").await);
    let event = ada.create_event("Dinner").await;
    ada.bring(&bob, event).await;
    let path = format!("/events/{event}");
    for body in [
        json!({ "title": "Supper" }),
        json!({ "location": "Seoul", "start_time": "2030-05-01T10:30:00Z" }),
        json!({ "location": "" }),
    ] {
        let (status, answer) = ada.call(Method::PATCH, &path, Some(body)).await;
        assert_eq!(status.as_u16(), 200, "{answer}");
    }
    ada.cancel(event, "rain").await;
    let history = format!("{path}/history?order=asc");
    // The answer to a change comes once the fact is in the record; where, is noted behind it.
    let read = until("the places of all facts", || async {
        let read = get(&ada, &history).await;
        let facts = read["history"].as_array().unwrap();
        facts.iter().all(|fact| fact["seq"].is_u64()).then_some(read)
    })
    .await;
    assert_eq!(read["next_cursor"], Value::Null);
    let facts = read["history"].as_array().unwrap();
    let field = |name: &str| facts.iter().map(|fact| fact[name].clone()).collect::<Vec<_>>();
    assert_eq!(
        field("change_type"),
        [
            "event_created",
            "participant_joined",
            "event_updated",
            "event_updated",
            "event_updated",
            "canceled"
        ]
    );
    assert_eq!(field("fact_no"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(field("seq"), [1, 2, 3, 4, 5, 6]);
    assert!(facts.iter().all(|fact| fact["event_id"] == event));
    assert_eq!(facts[1]["actor"], json!({ "id": bob.id, "name": "Bob" }));
    assert_eq!(
        (&facts[0]["old_value"], &facts[0]["changes"]),
        (&Value::Null, &json!({}))
    );
    // One field as text, several as an object.
    assert_eq!(
        (&facts[2]["old_value"], &facts[2]["new_value"]),
        (&json!("Dinner"), &json!("Supper"))
    );
    assert_eq!(
        facts[2]["changes"],
        json!({ "title": { "from": "Dinner", "to": "Supper" } })
    );
    assert_eq!(facts[3]["new_value"]["location"], "Seoul");
    assert_eq!(facts[3]["old_value"]["location"], Value::Null);
    assert!(facts[3]["new_value"]["start_time"].is_string());
    assert_eq!(
        (&facts[4]["old_value"], &facts[4]["new_value"]),
        (&json!("Seoul"), &Value::Null)
    );
    assert!(facts[5]["text"].as_str().unwrap().contains("rain"));
    assert!(facts[0]["text"].as_str().unwrap().contains("Dinner"));

    let korean = ada
        .call_with(Method::GET, &history, &[("accept-language", "ko")], None)
        .await;
    for (ko, en) in korean.body["history"].as_array().unwrap().iter().zip(facts) {
        assert_eq!(ko["change_id"], en["change_id"]);
        assert_ne!(ko["text"], en["text"]);
    }

    // Newest first by default, and page by page in both directions.
    let newest_first = get(&ada, &format!("{path}/history")).await;
    let mut reversed = facts.clone();
    reversed.reverse();
    assert_eq!(newest_first["history"], Value::from(reversed.clone()));
    let pages = all(&ada, &format!("{path}/history?limit=4"), "history", async || {}).await;
    assert_eq!((pages.len(), pages.concat()), (2, reversed));
    let pages = all(&ada, &format!("{history}&limit=2"), "history", async || {}).await;
    assert_eq!((pages.len(), &pages.concat()), (3, facts));
}

#[tokio::test]
async fn history_is_for_those_who_were_there_and_only_of_while_they_were() {
    let app = TestApp::spawn().await;
    let (ada, bob, eve) = (
        app.user("Ada").await,
        app.user("Bob").await,
        app.user("Eve").await,
    );
    let event = ada.create_event("Dinner").await;
    let rename = async |title: &str| {
        let body = json!({ "title": title });
        let (status, _) = ada
            .call(Method::PATCH, &format!("/events/{event}"), Some(body))
            .await;
        assert_eq!(status.as_u16(), 200);
    };
    rename("one").await; // 2
    ada.bring(&bob, event).await; // 3
    ada.remove(&bob, event).await; // 4
    rename("two").await; // 5
    rename("three").await; // 6
    let path = format!("/events/{event}/history");
    let seen = async |order: &str, limit: usize| -> Vec<u64> {
        let path = format!("{path}?order={order}&limit={limit}");
        let pages = all(&bob, &path, "history", async || {}).await;
        pages
            .concat()
            .iter()
            .map(|fact| fact["fact_no"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(seen("asc", 100).await, [1, 2, 3, 4]);
    ada.bring(&bob, event).await; // 7
    rename("four").await; // 8
    for limit in [1, 2, 3, 4, 5, 6, 100] {
        assert_eq!(seen("asc", limit).await, [1, 2, 3, 4, 7, 8], "{limit}");
        assert_eq!(seen("desc", limit).await, [8, 7, 4, 3, 2, 1], "{limit}");
    }
    bob.remove(&bob, event).await; // 9
    rename("five").await; // 10
    assert_eq!(seen("desc", 4).await, [9, 8, 7, 4, 3, 2, 1]);
    for refused in [event, 999_999] {
        let (status, body) = eve
            .call(Method::GET, &format!("/events/{refused}/history"), None)
            .await;
        assert_eq!((status.as_u16(), &body["code"]), (404, &json!("EVENT_NOT_FOUND")));
    }
}
