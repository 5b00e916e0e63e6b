//! The life of an event over HTTP, and its record as those who take part read it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use reqwest::Method;
use serde_json::{Value, json};
use timingle::{
    app::Overrides,
    domain::time::{Clock, Micros},
};

use crate::harness::{Copy, TestApp, User, api::Sends as _, until};

async fn ask(user: &User, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let (status, answer) = user.call(method, path, body).await;
    (status.as_u16(), answer)
}

async fn post(user: &User, event: i64, what: &str, body: Option<Value>) -> (u16, Value) {
    ask(user, Method::POST, &format!("/events/{event}/{what}"), body).await
}

async fn patch(user: &User, event: i64, body: Value) -> (u16, Value) {
    ask(user, Method::PATCH, &format!("/events/{event}"), Some(body)).await
}

/// The event after a request that succeeded, which its answer is.
async fn does(user: &User, event: i64, what: &str, body: Option<Value>) -> Value {
    let (status, answer) = post(user, event, what, body).await;
    assert_eq!(status, 200, "{what}: {answer}");
    assert!(
        answer["message"].is_string() && answer["creator_id"].is_i64(),
        "{answer}"
    );
    answer
}

async fn changes(user: &User, event: i64, body: Value) -> Value {
    let (status, answer) = patch(user, event, body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn create(host: &User, fields: Value) -> i64 {
    let mut event = json!({
        "title": "Dinner",
        "start_time": "2031-06-01T10:00:00Z",
        "end_time": "2031-06-01T12:00:00Z",
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let (status, answer) = ask(host, Method::POST, "/events", Some(event)).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_i64().unwrap()
}

/// Somebody new who reads Korean.
async fn korean(app: &TestApp, name: &str, phone: &str) -> User {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1/auth/register", app.address))
        .json(&json!({ "phone": phone, "name": name }))
        .sent()
        .await
        .unwrap();
    User::of(app.address, name, phone, &answer.json().await.unwrap())
}

/// Name, answer and version 1's word for it of each guest.
fn answers(event: &Value) -> Vec<(String, String, bool)> {
    let guests = event["participants"].as_array().unwrap();
    let of = |guest: &Value| {
        (
            guest["name"].as_str().unwrap().to_owned(),
            guest["answer"].as_str().unwrap().to_owned(),
            guest["confirmed"].as_bool().unwrap(),
        )
    };
    guests.iter().map(of).collect()
}

fn texts(record: &Copy) -> Vec<&str> {
    let entries = record.entries.values();
    entries
        .map(|entry| entry["fact"]["text"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn whole_life_stands_in_the_record_in_the_language_of_each_reader() {
    let app = TestApp::spawn().await;
    let (ada, jun) = (app.user("Ada").await, app.user("Jun").await);
    let min = korean(&app, "민", "01090000001").await;
    let room = create(&ada, json!({ "location": "Gangnam" })).await;
    ada.bring(&min, room).await;
    ada.bring(&jun, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;

    // Too early, and the answer says who is missing.
    let (status, early) = post(&ada, room, "confirm", None).await;
    assert_eq!((status, &early["code"]), (409, &json!("EVENT_STATE")), "{early}");
    let missing = json!([{ "id": min.id, "name": "민" }, { "id": jun.id, "name": "Jun" }]);
    assert_eq!(
        early["details"],
        json!({ "missing": missing, "needed": 2 }),
        "{early}"
    );
    assert!(
        early["error"].as_str().unwrap().starts_with("2 more people"),
        "{early}"
    );

    let seen = does(&min, room, "accept", Some(json!({ "reason": " 조금 늦어요 " }))).await;
    assert_eq!(
        (&seen["status"], &seen["message"]),
        (&json!("PROPOSED"), &json!("You are coming."))
    );
    let seen = does(&jun, room, "decline", Some(json!({ "reason": "Sick" }))).await;
    assert_eq!(seen["message"], "You are not coming.");
    assert_eq!(
        answers(&seen),
        [
            ("민".into(), "accepted".into(), true),
            ("Jun".into(), "declined".into(), false)
        ]
    );
    assert_eq!(seen["participants"][0]["reason"], "조금 늦어요");
    let (status, refused) = post(&ada, room, "decline", None).await;
    assert_eq!(
        (status, &refused["code"]),
        (403, &json!("FORBIDDEN")),
        "{refused}"
    );
    let (status, refused) = post(
        &min,
        room,
        "accept",
        Some(json!({ "reason": "가".repeat(1_001) })),
    )
    .await;
    assert_eq!(
        (status, &refused["errors"][0]["pointer"]),
        (422, &json!("/reason")),
        "{refused}"
    );

    let seen = does(&jun, room, "confirm-participation", None).await;
    assert_eq!(seen["status"], "CONFIRMED");
    let seen = does(&ada, room, "confirm", None).await;
    assert_eq!(seen["message"], "The appointment is confirmed.");

    // A title asks nobody, a place asks everybody.
    let seen = changes(&ada, room, json!({ "title": "Late dinner", "status": "DONE" })).await;
    assert_eq!(
        (&seen["status"], &seen["message"]),
        (&json!("CONFIRMED"), &json!("The appointment is changed."))
    );
    let seen = changes(&ada, room, json!({ "location": "Hongdae" })).await;
    assert_eq!(seen["status"], "PROPOSED");
    assert!(
        answers(&seen)
            .iter()
            .all(|(_, answer, confirmed)| answer == "pending" && !confirmed)
    );
    let seen = does(&min, room, "confirm", None).await;
    assert_eq!(
        (&seen["status"], &seen["message"]),
        (&json!("PROPOSED"), &json!("You are coming."))
    );
    // Nobody is left to wait for.
    ada.remove(&jun, room).await;
    let (status, seen) = ask(&min, Method::GET, &format!("/events/{room}"), None).await;
    assert_eq!((status, &seen["status"]), (200, &json!("CONFIRMED")), "{seen}");
    let (status, refused) = post(&ada, room, "done", None).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("EVENT_STATE")),
        "{refused}"
    );
    // An acceptance taken back takes the confirmation with it.
    let seen = does(&min, room, "decline", None).await;
    assert_eq!(seen["status"], "PROPOSED");
    ada.cancel(room, "Rain").await;

    let head = at_ada.whole_record(room).await.seq;
    at_ada.read_to(room, head).await;
    at_min.read_to(room, head).await;
    let record = at_ada.copy(room);
    record.assert_whole();
    assert_eq!(
        record.facts(),
        [
            "event_created",
            "participant_joined",
            "participant_joined",
            "accepted",
            "declined",
            "accepted",
            "confirmed",
            "event_updated",
            "event_updated",
            "unconfirmed",
            "accepted",
            "participant_removed",
            "confirmed",
            "declined",
            "unconfirmed",
            "canceled",
        ]
    );
    let moved = &record.entries[&9]["fact"];
    assert_eq!(
        moved["changes"],
        json!({ "location": { "from": "Gangnam", "to": "Hongdae" } }),
        "{moved}"
    );
    assert_eq!(
        texts(record),
        [
            "Ada made the appointment “Dinner”.",
            "민 joined.",
            "Jun joined.",
            "민 is coming. Note: 조금 늦어요",
            "Jun is not coming. Reason: Sick",
            "Jun is coming.",
            "The appointment is confirmed.",
            "Ada changed the title to “Late dinner”.",
            "Ada changed the place to “Hongdae”. Please answer again.",
            "The appointment changed, so it is no longer confirmed. Please answer again.",
            "민 is coming.",
            "Ada removed Jun from the appointment.",
            "The appointment is confirmed.",
            "민 is not coming.",
            "Somebody who was coming is not, so the appointment is no longer confirmed.",
            "Ada canceled the appointment. Reason: Rain",
        ]
    );
    let korean = at_min.copy(room);
    korean.assert_whole();
    assert_eq!(
        texts(korean),
        [
            "Ada님이 ‘Dinner’ 약속을 만들었어요.",
            "민님이 들어왔어요.",
            "Jun님이 들어왔어요.",
            "민님이 참석하기로 했어요. 한마디: 조금 늦어요",
            "Jun님은 참석하지 않기로 했어요. 이유: Sick",
            "Jun님이 참석하기로 했어요.",
            "약속이 확정됐어요.",
            "Ada님이 제목을 ‘Late dinner’로 바꿨어요.",
            "Ada님이 장소를 ‘Hongdae’로 바꿨어요. 참석할지 다시 알려 주세요.",
            "약속이 바뀌어서 확정이 풀렸어요. 참석할지 다시 알려 주세요.",
            "민님이 참석하기로 했어요.",
            "Ada님이 Jun님을 내보냈어요.",
            "약속이 확정됐어요.",
            "민님은 참석하지 않기로 했어요.",
            "참석하기로 했던 사람이 빠져서 확정이 풀렸어요.",
            "Ada님이 약속을 취소했어요. 이유: Rain",
        ]
    );
}

#[tokio::test]
async fn change_limit_counts_what_asks_again_once_it_was_confirmed() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = create(&ada, json!({ "change_limit": 1 })).await;
    ada.bring(&min, room).await;
    // Before it was confirmed, changes are free.
    for place in ["Seoul", "Busan"] {
        assert_eq!(
            changes(&ada, room, json!({ "location": place })).await["changes_left"],
            1
        );
    }
    assert_eq!(does(&min, room, "accept", None).await["status"], "CONFIRMED");
    assert_eq!(
        changes(&ada, room, json!({ "title": "Lunch" })).await["changes_left"],
        1
    );
    let later = json!({ "start_time": "2031-06-02T10:00:00+09:00", "end_time": "2031-06-02T12:00:00+09:00" });
    let seen = changes(&ada, room, later).await;
    assert_eq!(
        (&seen["status"], &seen["changes_left"]),
        (&json!("PROPOSED"), &json!(0))
    );
    assert_eq!(seen["end_time"], "2031-06-02T03:00:00.000000Z");
    assert_eq!(does(&min, room, "accept", None).await["status"], "CONFIRMED");

    let facts = seen["fact_no"].as_u64().unwrap() + 2;
    let (status, refused) = patch(&ada, room, json!({ "title": "Tea", "location": "Jeju" })).await;
    assert_eq!(
        (status, &refused["details"]["limit"]),
        (409, &json!(1)),
        "{refused}"
    );
    assert!(
        refused["error"].as_str().unwrap().contains("once already"),
        "{refused}"
    );
    let (status, refused) = patch(&ada, room, json!({ "change_limit": 5 })).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("EVENT_STATE")),
        "{refused}"
    );
    let seen = changes(&ada, room, json!({ "title": "Lunch" })).await;
    assert_eq!(
        (&seen["fact_no"], &seen["location"]),
        (&json!(facts), &json!("Busan")),
        "nothing changed"
    );
    assert_eq!(seen["status"], "CONFIRMED");
}

#[tokio::test]
async fn quorum_confirms_by_itself_and_leaving_the_undecided_too() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let (jun, sol) = (app.user("Jun").await, app.user("Sol").await);
    let quorum = create(&ada, json!({ "confirm_rule": "quorum", "quorum": 3 })).await;
    let everyone = create(&ada, json!({})).await;
    for room in [quorum, everyone] {
        for guest in [&min, &jun, &sol] {
            ada.bring(guest, room).await;
        }
    }
    assert_eq!(does(&min, quorum, "accept", None).await["status"], "PROPOSED");
    let (status, early) = post(&ada, quorum, "confirm", None).await;
    assert_eq!((status, &early["details"]["needed"]), (409, &json!(1)), "{early}");
    assert_eq!(does(&jun, quorum, "accept", None).await["status"], "CONFIRMED");
    // Who is not needed may say no.
    assert_eq!(does(&sol, quorum, "decline", None).await["status"], "CONFIRMED");
    assert_eq!(does(&jun, quorum, "decline", None).await["status"], "PROPOSED");
    let seen = changes(&ada, quorum, json!({ "quorum": 2 })).await;
    assert_eq!(
        (&seen["status"], &seen["quorum"]),
        (&json!("CONFIRMED"), &json!(2))
    );

    for guest in [&min, &jun] {
        assert_eq!(does(guest, everyone, "accept", None).await["status"], "PROPOSED");
    }
    sol.remove(&sol, everyone).await;
    let (_, seen) = ask(&ada, Method::GET, &format!("/events/{everyone}"), None).await;
    assert_eq!(seen["status"], "CONFIRMED", "{seen}");
    // Lists and single reads show one and the same.
    let (_, list) = ask(&min, Method::GET, "/events", None).await;
    assert!(list.as_array().unwrap().contains(&seen), "{list}");
    let record = ada.connect().await.whole_record(everyone).await;
    assert_eq!(
        record.facts()[4..],
        ["accepted", "accepted", "participant_left", "confirmed"]
    );
}

#[tokio::test]
async fn final_states_take_nothing_more_and_stay_readable() {
    let offset = Arc::new(AtomicI64::new(0));
    let (machine, turned) = (Clock::system(), Arc::clone(&offset));
    let overrides = Overrides {
        clock: Clock::from_fn(move || Micros(machine.now().0 + turned.load(Ordering::SeqCst))),
        ..Overrides::default()
    };
    let app = TestApp::start(Arc::new(tempfile::tempdir().unwrap()), |_| {}, overrides).await;
    let (ada, min, eve) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Eve").await,
    );
    let soon = |minutes: i64| Micros(Clock::system().now().0 + minutes * 60_000_000).to_string();
    let hour = json!({ "start_time": soon(60), "end_time": soon(120) });
    let (done, canceled) = (create(&ada, hour.clone()).await, create(&ada, hour).await);
    for room in [done, canceled] {
        ada.bring(&min, room).await;
        does(&min, room, "accept", None).await;
    }
    // A guest ends nothing; nor does anybody before it has begun.
    for what in ["cancel", "done"] {
        assert_eq!(post(&min, done, what, None).await.0, 403, "{what}");
    }
    assert_eq!(
        ask(&min, Method::DELETE, &format!("/events/{done}"), None)
            .await
            .0,
        403
    );
    let (status, refused) = post(&ada, done, "done", None).await;
    assert_eq!(
        (status, &refused["code"]),
        (409, &json!("EVENT_STATE")),
        "{refused}"
    );
    offset.store(61 * 60_000_000, Ordering::SeqCst);
    assert_eq!(does(&ada, done, "done", None).await["status"], "DONE");
    assert_eq!(
        does(&ada, done, "done", None).await["status"],
        "DONE",
        "a repeated request"
    );
    let delete = ask(&ada, Method::DELETE, &format!("/events/{canceled}"), None).await;
    assert_eq!(
        (delete.0, &delete.1["status"]),
        (200, &json!("CANCELED")),
        "{}",
        delete.1
    );
    let again = ask(&ada, Method::DELETE, &format!("/events/{canceled}"), None).await;
    assert_eq!(again, delete, "a repeated request");

    for (room, state) in [(done, "DONE"), (canceled, "CANCELED")] {
        // The mark that the guest's coming set is written a moment later.
        let before = until("the guest's mark", || async {
            let event = ask(&min, Method::GET, &format!("/events/{room}"), None).await;
            (event.1["participants"][0]["read_seq"] == 2).then_some(event)
        })
        .await;
        assert_eq!((before.0, &before.1["status"]), (200, &json!(state)));
        let wrong = async |user: &User, what: &str| {
            let (status, refused) = post(user, room, what, None).await;
            assert_eq!(
                (status, &refused["code"]),
                (409, &json!("EVENT_STATE")),
                "{what} {state}"
            );
            assert_eq!(refused["details"]["status"], state, "{refused}");
        };
        for what in ["accept", "decline", "confirm", "confirm-participation"] {
            wrong(&min, what).await;
        }
        for what in [
            "accept",
            "confirm",
            if state == "DONE" { "cancel" } else { "done" },
        ] {
            wrong(&ada, what).await;
        }
        for status in ["PROPOSED", "CONFIRMED"] {
            let (code, refused) = patch(&ada, room, json!({ "status": status, "title": "New" })).await;
            assert_eq!(
                (code, &refused["details"]["status"]),
                (409, &json!(state)),
                "{refused}"
            );
        }
        // To a stranger there is nothing, whatever is asked.
        for what in [
            "accept",
            "decline",
            "confirm",
            "confirm-participation",
            "done",
            "cancel",
        ] {
            let (status, refused) = post(&eve, room, what, None).await;
            let (_, nowhere) = post(&eve, 99_999, what, None).await;
            assert_eq!(
                (status, &refused["code"]),
                (404, &json!("EVENT_NOT_FOUND")),
                "{what}"
            );
            assert_eq!(refused["error"], nowhere["error"]);
        }
        assert_eq!(patch(&eve, room, json!({ "title": "Mine" })).await.0, 404);
        assert_eq!(patch(&min, room, json!({ "title": "Mine" })).await.0, 403);
        let after = ask(&min, Method::GET, &format!("/events/{room}"), None).await;
        assert_eq!(after, before, "nothing happened");
        let record = min.connect().await.whole_record(room).await;
        let end = if state == "DONE" { "done" } else { "canceled" };
        assert_eq!(
            record.facts()[1..],
            ["participant_joined", "accepted", "confirmed", end]
        );
    }
}

#[tokio::test]
async fn event_begins_with_those_one_knows_or_not_at_all() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let (jun, eve) = (app.user("Jun").await, app.user("Eve").await);
    let first = create(&ada, json!({ "participant_ids": null })).await;
    ada.bring(&jun, first).await;
    ada.bring(&min, first).await;
    let event = |ids: Value| {
        json!({
            "title": "Again", "start_time": "2031-06-01T10:00:00Z", "end_time": "2031-06-01T10:00:00Z",
            "participant_ids": ids,
        })
    };
    let one_to_a_hundred = (1..=100).collect::<Value>();
    for ids in [
        json!([min.id, eve.id]),
        json!([eve.id]),
        json!([999_999]),
        one_to_a_hundred,
    ] {
        let (status, refused) = ask(&ada, Method::POST, "/events", Some(event(ids))).await;
        assert_eq!(status, 422, "{refused}");
        assert_eq!(refused["errors"][0]["pointer"], "/participant_ids", "{refused}");
        let told = refused.to_string();
        assert!(!told.contains("Eve") && !told.contains(&eve.phone), "{told}");
    }
    assert_eq!(
        ask(&ada, Method::GET, "/events", None)
            .await
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(ask(&eve, Method::GET, "/events", None).await.1, json!([]));

    let mut expected = vec![jun.id, min.id];
    expected.sort_unstable();
    for ids in [json!([min.id, jun.id]), json!([jun.id, min.id, jun.id])] {
        let (status, made) = ask(&ada, Method::POST, "/events", Some(event(ids))).await;
        assert_eq!(status, 201, "{made}");
        let room = made["id"].as_i64().unwrap();
        // One order, however the request had it and however often one looks.
        for user in [&ada, &min, &jun] {
            let (_, seen) = ask(user, Method::GET, &format!("/events/{room}"), None).await;
            let ids: Vec<i64> = seen["participants"]
                .as_array()
                .unwrap()
                .iter()
                .map(|guest| guest["id"].as_i64().unwrap())
                .collect();
            assert_eq!(ids, expected);
        }
        let record = min.connect().await.whole_record(room).await;
        assert_eq!(
            record.facts(),
            ["event_created", "participant_added", "participant_added"]
        );
        assert_eq!(record.entries[&2]["fact"]["user"]["id"], expected[0]);
    }
}
