//! Up to where everyone has read, and what is unread.

use std::{path::Path, sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use timingle::{
    adapters::sql::Sql,
    app::Overrides,
    domain::id::{EventId, UserId},
    ports::FactSource as _,
    service::facts::SqlFacts,
};

use crate::harness::{
    Socket, TestApp, User,
    log::{TipTrick, Tricks},
    until,
};

async fn listed(user: &User, event: i64) -> Value {
    let (_, list) = user.call(Method::GET, "/events", None).await;
    let events = list.as_array().unwrap();
    events.iter().find(|view| view["id"] == event).unwrap().clone()
}

/// Head and unread messages, by the list and by the event itself, which say the same.
async fn standing(user: &User, event: i64) -> (Value, Value) {
    let (_, one) = user.call(Method::GET, &format!("/events/{event}"), None).await;
    let listed = listed(user, event).await;
    for member in ["head_seq", "unread_messages"] {
        assert_eq!(one[member], listed[member], "{one} {listed}");
    }
    (one["head_seq"].clone(), one["unread_messages"].clone())
}

async fn read(socket: &mut Socket, room: i64, seq: u64) -> Value {
    socket.ask("read", json!({ "room": room, "seq": seq })).await
}

/// The mark that the store has.
async fn stored(dir: &Path, event: i64, user: &User) -> u64 {
    let sql = Sql::open(&dir.join("app.db"), 1, Duration::from_secs(5))
        .await
        .unwrap();
    let readings = SqlFacts::new(sql)
        .readings(UserId(user.id), &[EventId(event)])
        .await
        .unwrap();
    readings[0].mark.seq
}

#[tokio::test]
async fn mark_is_told_to_everyone_else_and_stays_over_a_restart() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    let (mut tablet, mut closed) = (min.connect().await, min.connect().await);
    for socket in [&mut at_ada, &mut at_min, &mut tablet] {
        socket.join(room).await;
    }
    for text in ["one", "two", "three"] {
        at_ada.publish(room, text).await;
    }
    assert_eq!(standing(&min, room).await, (json!(5), json!(3)));

    let reply = read(&mut at_min, room, 4).await;
    assert_eq!(reply["read"], json!({ "room": room, "seq": 4 }));
    assert_eq!(
        stored(app.dir.path(), room, &min).await,
        4,
        "answered before it was written"
    );
    let at_others = at_ada.push("read").await;
    assert_eq!(
        (&at_others["user"], &at_others["seq"]),
        (&json!(min.id), &json!(4))
    );
    assert!(at_others["at"].as_str().unwrap().ends_with('Z') && at_others.get("unread").is_none());
    for own in [&mut tablet, &mut closed] {
        let push = own.push("read").await;
        assert_eq!((&push["seq"], &push["unread"]), (&json!(4), &json!(1)), "{push}");
    }
    let back = at_min.heard(room).await;
    assert!(
        !back.iter().any(|push| push["push"] == "read"),
        "told to who said it: {back:?}"
    );
    assert_eq!(standing(&min, room).await, (json!(5), json!(1)));

    // Never back, never beyond, not for who does not take part.
    assert_eq!(read(&mut tablet, room, 2).await["read"]["seq"], 4);
    let beyond = read(&mut tablet, room, 6).await;
    assert_eq!(beyond["error"]["code"], "POSITION_UNKNOWN", "{beyond}");
    assert_eq!(beyond["error"]["details"]["head_seq"], 5);
    let joined = closed.join(room).await;
    let shown = joined["participants"].as_array().unwrap();
    let of_min = shown.iter().find(|one| one["id"] == min.id).unwrap();
    assert_eq!(
        (&of_min["read_seq"], &of_min["read_at"]),
        (&json!(4), &at_others["at"])
    );

    let app = TestApp::start(app.stop().await, |_| {}, Overrides::default()).await;
    let min = User::sign_in(app.address, "Min", &min.phone).await;
    assert_eq!(
        standing(&min, room).await,
        (json!(5), json!(1)),
        "before its room is live"
    );
    let mut at_min = min.connect().await;
    at_min.join(room).await;
    assert_eq!(
        standing(&min, room).await,
        (json!(5), json!(1)),
        "while its room is live"
    );
    assert_eq!(read(&mut at_min, room, 5).await["read"]["seq"], 5);
    assert_eq!(standing(&min, room).await, (json!(5), json!(0)));
}

#[tokio::test]
async fn own_messages_are_read_and_who_comes_late_begins_where_he_came_in() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    let mut at_ada = ada.connect().await;
    at_ada.join(room).await;
    for text in ["one", "two"] {
        at_ada.publish(room, text).await;
        assert_eq!(standing(&ada, room).await.1, 0, "one has read what one wrote");
    }
    ada.bring(&min, room).await;
    assert_eq!(
        standing(&min, room).await,
        (json!(4), json!(0)),
        "what came before is not unread"
    );
    at_ada.publish(room, "three").await;
    assert_eq!(standing(&min, room).await.1, 1);
    assert_eq!(
        standing(&ada, room).await.1,
        0,
        "but for a fact everything was read"
    );

    // Somebody else's words first: one's own behind them do not read those.
    let mut at_min = min.connect().await;
    at_min.join(room).await;
    at_min.publish(room, "four").await;
    assert_eq!(standing(&min, room).await.1, 2);

    // Nothing of that is lost in a restart, also when the room is let go of before.
    let ids = (ada.phone.clone(), min.phone.clone());
    let app = TestApp::start(app.stop().await, |_| {}, Overrides::default()).await;
    let ada = User::sign_in(app.address, "Ada", &ids.0).await;
    let min = User::sign_in(app.address, "Min", &ids.1).await;
    assert_eq!(standing(&ada, room).await.1, 1);
    assert_eq!(standing(&min, room).await.1, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_two_devices_in_a_race_never_go_back() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let mut at_ada = ada.connect().await;
    at_ada.join(room).await;
    let mut last = 2;
    for number in 0..60 {
        last = at_ada.publish(room, &number.to_string()).await["publish"]["seq"]
            .as_u64()
            .unwrap();
    }
    let (mut phone, mut tablet) = (min.connect().await, min.connect().await);
    let race = async |socket: &mut Socket, seqs: Vec<u64>| {
        let mut told = 0;
        for seq in seqs {
            let reply = read(socket, room, seq).await;
            let now = reply["read"]["seq"].as_u64().unwrap();
            assert!(now >= seq && now >= told, "{reply} after {told}");
            told = now;
        }
    };
    tokio::join!(
        race(&mut phone, (3..=last).step_by(3).collect()),
        race(&mut tablet, (3..=last).rev().step_by(7).collect()),
    );
    let mut marks: Vec<u64> = Vec::new();
    while marks.last() != Some(&last) {
        marks.push(at_ada.push("read").await["seq"].as_u64().unwrap());
    }
    assert!(marks.is_sorted_by(|one, next| one < next), "{marks:?}");
    assert_eq!(standing(&min, room).await.1, 0);
    assert_eq!(stored(app.dir.path(), room, &min).await, last);
}

#[tokio::test]
async fn mark_that_cannot_be_written_is_said_so_and_not_forgotten() {
    let app = TestApp::with(|config| {
        config.room.publish_timeout = Duration::from_millis(300);
    })
    .await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    at_ada.publish(room, "one").await;
    // Somebody else holds the store's one writer.
    let holder = rusqlite::Connection::open(app.file("app.db")).unwrap();
    holder.execute_batch("begin immediate").unwrap();
    let reply = read(&mut at_min, room, 3).await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    assert_eq!(reply["error"]["temporary"], true);
    let said = at_min.publish(room, "the talk goes on").await;
    assert_eq!(said["publish"]["seq"], 4, "{said}");
    holder.execute_batch("rollback").unwrap();
    // Without being asked again.
    until("the mark in the store", async || {
        (stored(app.dir.path(), room, &min).await == 4).then_some(())
    })
    .await;
    assert_eq!(at_ada.push("read").await["user"], min.id);
    assert_eq!(read(&mut at_min, room, 3).await["read"]["seq"], 4);
}

#[tokio::test]
async fn unread_is_left_out_where_the_log_does_not_say() {
    let tricks = Tricks::default();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let app = TestApp::start(
        dir,
        |config| config.room.idle_after = Duration::ZERO,
        tricks.overrides(),
    )
    .await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    // Once nobody needs the room, the log is asked.
    until("a room that was let go of", async || {
        tricks.arm_tip(TipTrick::Fail);
        let view = listed(&ada, room).await;
        let left_out = view.get("unread_messages").is_none() && view.get("head_seq").is_none();
        left_out.then_some(())
    })
    .await;
}

#[tokio::test]
async fn stranger_and_former_participant_mark_nothing() {
    let app = TestApp::spawn().await;
    let (ada, min, eve) = (
        app.user("Ada").await,
        app.user("Min").await,
        app.user("Eve").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_min, mut at_eve) = (min.connect().await, eve.connect().await);
    at_min.join(room).await;
    for event in [room, 999_999] {
        let reply = read(&mut at_eve, event, 1).await;
        assert_eq!(reply["error"]["code"], "EVENT_NOT_FOUND", "{reply}");
    }
    ada.remove(&min, room).await;
    at_min.push("removed").await;
    let reply = read(&mut at_min, room, 1).await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
    let (mut at_ada, until) = (ada.connect().await, at_min.copy(room).seq);
    at_ada.join(room).await;
    at_ada.publish(room, "without him").await;
    assert_eq!(read(&mut at_ada, room, until + 1).await["read"]["seq"], until + 1);
    // The socket's copy fails on anything of a room after `removed`.
    let heard = at_min.heard(room).await;
    assert!(!heard.iter().any(|push| push["push"] == "read"), "{heard:?}");

    // Who comes back begins anew.
    ada.bring(&min, room).await;
    assert_eq!(standing(&min, room).await.1, 0);
}
