//! Who is here, and who is writing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use timingle::{
    app::Overrides,
    domain::time::{Clock, Micros},
};

use crate::harness::{Socket, TestApp, User};

async fn presence(socket: &mut Socket, room: i64) -> Value {
    socket.ask("presence", json!({ "room": room })).await
}

fn of<'a>(reply: &'a Value, user: &User) -> &'a Value {
    let users = reply["presence"]["users"].as_array().unwrap();
    users.iter().find(|one| one["id"] == user.id).unwrap()
}

#[tokio::test]
async fn coming_and_going_is_told_in_the_rooms_and_a_reconnect_does_not_flicker() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let (room, other) = (
        ada.create_event("Lesson").await,
        ada.create_event("Elsewhere").await,
    );
    ada.bring(&min, room).await;
    let (mut at_ada, mut elsewhere) = (ada.connect().await, ada.connect().await);
    at_ada.join(room).await;
    elsewhere.join(other).await;
    let reply = presence(&mut at_ada, room).await;
    assert_eq!(reply["presence"]["room"], room);
    assert_eq!(of(&reply, &ada)["online"], true);
    assert_eq!(
        of(&reply, &min),
        &json!({ "id": min.id, "online": false, "seen_at": null })
    );

    let first = min.connect().await;
    let push = at_ada.push("presence").await;
    assert_eq!(
        (&push["room"], &push["user"]),
        (&json!(room), &json!(min.id)),
        "{push}"
    );
    assert_eq!(push["online"], true);

    // A second device, and a reconnect in time, are nothing to tell.
    let second = min.connect().await;
    first.close().await;
    second.close().await;
    let third = min.connect().await;
    let reply = presence(&mut at_ada, room).await;
    assert_eq!(of(&reply, &min)["online"], true);

    let gone = Instant::now();
    third.close().await;
    let reply = presence(&mut at_ada, room).await;
    assert_eq!(of(&reply, &min)["online"], true, "not yet");
    let push = at_ada.push("presence").await;
    assert_eq!(
        (&push["user"], &push["online"]),
        (&json!(min.id), &json!(false)),
        "{push}"
    );
    assert!(
        gone.elapsed() >= Duration::from_millis(4_900),
        "{:?}",
        gone.elapsed()
    );
    let reply = presence(&mut at_ada, room).await;
    assert_eq!(of(&reply, &min)["online"], false);
    assert_eq!(of(&reply, &min)["seen_at"], push["seen_at"]);
    assert!(push["seen_at"].as_str().unwrap().ends_with('Z'));
    let heard = elsewhere.heard(other).await;
    assert!(!heard.iter().any(|push| push["push"] == "presence"), "{heard:?}");
}

#[tokio::test]
async fn only_who_takes_part_is_told_who_is_here_and_is_told_of() {
    let app = TestApp::spawn().await;
    let (ada, min, eve) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Eve").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut at_ada = ada.connect().await;
    at_ada.join(room).await;
    let mut at_eve = eve.connect().await;
    for event in [room, 999_999] {
        let reply = presence(&mut at_eve, event).await;
        assert_eq!(reply["error"]["code"], "EVENT_NOT_FOUND", "{reply}");
        let reply = at_eve.ask("typing", json!({ "room": event })).await;
        assert_eq!(reply["error"]["code"], "EVENT_NOT_FOUND", "{reply}");
    }
    at_eve
        .text(&json!({ "typing": { "room": room } }).to_string())
        .await;
    let mut at_min = min.connect().await;
    at_min.join(room).await;
    assert_eq!(
        at_ada.push("presence").await["user"],
        min.id,
        "and nobody before him"
    );

    ada.remove(&min, room).await;
    at_min.push("removed").await;
    let reply = presence(&mut at_min, room).await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
    let reply = at_min.ask("typing", json!({ "room": room })).await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
    let reply = presence(&mut at_ada, room).await;
    assert_eq!(reply["presence"]["users"].as_array().unwrap().len(), 1, "{reply}");
    let heard = at_ada.heard(room).await;
    assert!(!heard.iter().any(|push| push["push"] == "typing"), "{heard:?}");
}

#[tokio::test]
async fn typing_is_told_to_the_others_with_its_end_and_is_not_in_the_record() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut tablet, mut at_min) =
        (ada.connect().await, ada.connect().await, min.connect().await);
    for socket in [&mut at_ada, &mut tablet, &mut at_min] {
        socket.join(room).await;
    }
    let before = Clock::system().now();
    // Without an id nothing is answered.
    at_ada
        .text(&json!({ "typing": { "room": room } }).to_string())
        .await;
    let push = at_min.push("typing").await;
    assert_eq!(
        (&push["room"], &push["user"]),
        (&json!(room), &json!(ada.id)),
        "{push}"
    );
    let until: Micros = serde_json::from_value(push["until"].clone()).unwrap();
    let lasts = until.0 - before.0;
    assert!((6_000_000..16_000_000).contains(&lasts), "{lasts} µs");
    // At once again: dropped, whichever socket it comes from, and not answered with an id either.
    tablet.post("typing", json!({ "room": room })).await;
    for socket in [&mut at_ada, &mut tablet, &mut at_min] {
        let heard = socket.heard(room).await;
        assert!(!heard.iter().any(|push| push["push"] == "typing"), "{heard:?}");
    }
    // A command of another name needs its id.
    at_ada
        .text(&json!({ "presence": { "room": room } }).to_string())
        .await;
    let refused = at_ada.frame().await.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&Value::Null, &json!("BAD_REQUEST"))
    );
    let record = at_min.whole_record(room).await;
    assert_eq!(record.facts(), ["event_created", "participant_joined"]);
    assert_eq!(record.entries.len(), 2);
}

#[tokio::test]
async fn long_after_its_end_a_room_is_read_only() {
    let offset = Arc::new(AtomicI64::new(0));
    let (machine, turned) = (Clock::system(), Arc::clone(&offset));
    let overrides = Overrides {
        clock: Clock::from_fn(move || Micros(machine.now().0 + turned.load(Ordering::SeqCst))),
        ..Overrides::default()
    };
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(
        dir,
        |config| config.events.chat_after_end = Duration::from_secs(3_600),
        overrides,
    )
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    ada.cancel(room, "rain").await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    let key = uuid::Uuid::new_v4().to_string();
    let said = at_ada.publish_as(room, &key, 3, "a pity").await;
    let seq = said["publish"]["seq"].as_u64().unwrap();

    offset.store(3_601_000_000, Ordering::SeqCst);
    let late = at_ada.publish(room, "too late").await;
    assert_eq!(late["error"]["code"], "EVENT_STATE", "{late}");
    assert_eq!(late["error"]["details"]["status"], "CANCELED", "{late}");
    let typing = at_ada.ask("typing", json!({ "room": room })).await;
    assert_eq!(typing["error"]["code"], "EVENT_STATE", "{typing}");
    // What was said before stands, and may be asked for again.
    let again = at_ada.publish_as(room, &key, 3, "a pity").await;
    assert_eq!(again["publish"]["duplicate"], true, "{again}");
    let read = at_min.ask("read", json!({ "room": room, "seq": seq })).await;
    assert_eq!(read["read"]["seq"], seq, "{read}");
    assert_eq!(at_min.whole_record(room).await.texts(), ["a pity"]);
}
