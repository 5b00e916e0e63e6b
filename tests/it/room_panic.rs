//! A room that falls, and a log that fails, stalls, or is written by somebody else.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use timingle::{
    adapters::sql::Sql,
    domain::{
        entry::{Draft, Kind},
        id::{EventId, UserId},
    },
    ports::FactSource as _,
    service::{events::Events, facts::SqlFacts},
};
use uuid::Uuid;

use crate::harness::{
    Socket, TestApp, User,
    log::{Gate, TipTrick, Trick, Tricks, now},
    until,
};

/// A server with a log that does tricks, and a room with two people who have joined it.
struct Stage {
    app: TestApp,
    tricks: Tricks,
    ada: User,
    min: User,
    room: i64,
    at_ada: Socket,
    at_min: Socket,
}

impl Stage {
    async fn set(change: impl FnOnce(&mut timingle::config::Config)) -> Self {
        let tricks = Tricks::default();
        let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
        let app = TestApp::start(dir, change, tricks.overrides()).await;
        let (ada, min) = (app.user("Ada").await, app.user("Min").await);
        let room = ada.create_event("Lesson").await;
        ada.bring(&min, room).await;
        let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
        at_ada.join(room).await;
        at_min.join(room).await;
        Self {
            app,
            tricks,
            ada,
            min,
            room,
            at_ada,
            at_min,
        }
    }

    /// Both have the whole record, and it is one.
    async fn settle(&mut self) -> crate::harness::Copy {
        let record = self.at_ada.whole_record(self.room).await;
        record.assert_whole();
        self.at_ada.read_to(self.room, record.seq).await;
        self.at_min.read_to(self.room, record.seq).await;
        self.at_ada.copy(self.room).assert_holds(&record.entries, "Ada");
        self.at_min.copy(self.room).assert_holds(&record.entries, "Min");
        record
    }

    /// The store, past the server.
    async fn sql(&self) -> Sql {
        Sql::open(&self.app.file("app.db"), 1, Duration::from_secs(5))
            .await
            .unwrap()
    }
}

fn key() -> String {
    Uuid::new_v4().to_string()
}

/// Says it until the room answers; the last reply.
async fn insist(socket: &mut Socket, room: i64, key: &str, after: u64, text: &str) -> Value {
    loop {
        let reply = socket.publish_as(room, key, after, text).await;
        if reply["error"]["code"] != "UNAVAILABLE" {
            return reply;
        }
        assert_eq!(reply["error"]["temporary"], true, "{reply}");
        // Reads on meanwhile: pushes of the rebuilt room may be among it.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn message(author: &User, key: Uuid, text: &str) -> Draft {
    Draft {
        author: Some(UserId(author.id)),
        kind: Kind::Message,
        key,
        reply_to: None,
        target: None,
        body: Bytes::from(serde_json::to_vec(&json!({ "text": text })).unwrap()),
    }
}

#[tokio::test]
async fn room_that_falls_is_built_again_and_its_sockets_miss_nothing() {
    let mut stage = Stage::set(|config| {
        config.limits.publishes_per_s = 1_000;
        config.limits.publish_burst = 1_000;
    })
    .await;
    let room = stage.room;
    let other = stage.ada.create_event("Elsewhere").await;
    stage.at_ada.join(other).await;
    let starts_of_other = {
        let asked = stage.tricks.tails_read();
        asked.values().min().copied().unwrap()
    };
    let joined_before = stage.at_min.copy(room).seq;

    for (round, trick) in [Trick::Panic, Trick::PanicWritten, Trick::Panic]
        .into_iter()
        .enumerate()
    {
        let marker = format!("boom {round}");
        stage.tricks.arm(&marker, trick);
        // Both say much at once, and in the middle of it the room falls.
        let mut said: Vec<(bool, u64, String, String)> = Vec::new();
        for number in 0..15 {
            for hers in [true, false] {
                let text = if number == 7 && hers {
                    marker.clone()
                } else {
                    format!("{round} {number} {hers}")
                };
                let key = key();
                let socket = if hers {
                    &mut stage.at_ada
                } else {
                    &mut stage.at_min
                };
                let arguments =
                    json!({ "room": room, "key": key, "after": joined_before, "body": { "text": text } });
                let id = socket.post("publish", arguments).await;
                said.push((hers, id, key, text));
            }
        }
        let mut unavailable = 0;
        let mut answers: BTreeMap<(bool, u64), Value> = BTreeMap::new();
        for hers in [true, false] {
            let socket = if hers {
                &mut stage.at_ada
            } else {
                &mut stage.at_min
            };
            let count = said.iter().filter(|(whose, ..)| *whose == hers).count();
            while answers.keys().filter(|(whose, _)| *whose == hers).count() < count {
                let frame = socket.frame().await.unwrap();
                if frame.get("push").is_none() {
                    let id = frame["id"].as_u64().unwrap();
                    answers.insert((hers, id), frame);
                }
            }
        }
        for (hers, id, key, text) in &said {
            let socket = if *hers {
                &mut stage.at_ada
            } else {
                &mut stage.at_min
            };
            let first = &answers[&(*hers, *id)];
            if first["error"]["code"] == "UNAVAILABLE" {
                unavailable += 1;
            }
            let again = insist(socket, room, key, joined_before, text).await;
            let seq = again["publish"]["seq"]
                .as_u64()
                .unwrap_or_else(|| panic!("{again}"));
            if let Some(before) = first["publish"]["seq"].as_u64() {
                assert_eq!(
                    (seq, &again["publish"]["duplicate"]),
                    (before, &json!(true)),
                    "{first}, then {again}"
                );
            }
        }
        assert!(unavailable > 0, "nobody noticed that the room fell");
        assert_eq!(stage.tricks.fired(), round + 1);
        let record = stage.settle().await;
        for (_, _, key, text) in &said {
            let with_key = record.entries.values().filter(|entry| entry["key"] == *key);
            assert_eq!(with_key.count(), 1, "{text:?} stands not exactly once");
        }
        assert!(!stage.at_ada.copy(room).removed && !stage.at_min.copy(room).removed);
    }
    // The other room never started again.
    let reply = stage.at_ada.publish(other, "untouched").await;
    assert_eq!(reply["publish"]["seq"], 2, "{reply}");
    let asked = stage.tricks.tails_read();
    assert_eq!(asked.values().min().copied().unwrap(), starts_of_other);
}

#[tokio::test]
async fn who_is_removed_while_the_room_is_down_hears_of_it_up_to_the_fact() {
    let mut stage = Stage::set(|config| config.room.sweep = Duration::from_secs(3_600)).await;
    let (room, gate) = (stage.room, Gate::closed());
    stage.at_ada.publish(room, "before").await;
    stage.tricks.arm("boom", Trick::PanicWritten);
    stage.tricks.arm_tip(TipTrick::Hold(gate.clone()));
    let reply = stage.at_ada.publish(room, "boom").await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    gate.reached().await;
    let events = Events::new(stage.sql().await, timingle::domain::time::Clock::system());
    let (host, guest) = (UserId(stage.ada.id), UserId(stage.min.id));
    events
        .remove_participant(host, EventId(room), guest)
        .await
        .unwrap();
    gate.open();

    let removed = stage.at_min.push("removed").await;
    assert_eq!(removed["room"], room);
    let copy = stage.at_min.copy(room).clone();
    copy.assert_whole();
    assert_eq!(copy.texts(), ["before", "boom"]);
    assert_eq!(
        copy.facts().last().map(String::as_str),
        Some("participant_removed")
    );
    let said = insist(&mut stage.at_ada, room, &key(), copy.seq, "after").await;
    assert_eq!(said["publish"]["seq"], copy.seq + 1, "{said}");
    assert_eq!(stage.at_min.whole_record(room).await.entries, copy.entries);
    assert_eq!(
        stage.at_ada.whole_record(room).await.texts(),
        ["before", "boom", "after"]
    );
}

#[tokio::test]
async fn socket_that_joins_while_the_room_is_rebuilt_is_told_everything_once() {
    let mut stage = Stage::set(|_| {}).await;
    let room = stage.room;
    // Each fall within a minute costs a longer pause than the one before.
    for round in 0..6 {
        let (text, gate) = (format!("boom {round}"), Gate::closed());
        stage.tricks.arm(&text, Trick::PanicWritten);
        stage.tricks.arm_tip(TipTrick::Hold(gate.clone()));
        let after = stage.at_min.copy(room).seq;
        let reply = stage.at_ada.publish(room, &text).await;
        assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
        gate.reached().await;
        // The copy that the socket keeps fails on any gap or overlap.
        let since = stage.at_min.copy(room).since();
        let id = stage
            .at_min
            .post("join", json!({ "rooms": [{ "room": room, "since": since }] }))
            .await;
        gate.open();
        let reply = stage.at_min.reply(id).await;
        assert!(reply["join"]["rooms"][0].get("error").is_none(), "{reply}");
        let said = insist(&mut stage.at_ada, room, &key(), after, &format!("after {round}")).await;
        assert!(said["publish"]["seq"].is_u64(), "{said}");
        stage.settle().await;
    }
}

#[tokio::test]
async fn append_in_doubt_is_repeated_until_it_is_known() {
    let mut stage = Stage::set(|_| {}).await;
    let room = stage.room;
    for (text, trick) in [("written", Trick::DoubtWritten), ("not written", Trick::Doubt)] {
        stage.tricks.arm(text, trick);
        let key = key();
        let reply = stage.at_ada.publish_as(room, &key, 2, text).await;
        let seq = reply["publish"]["seq"]
            .as_u64()
            .unwrap_or_else(|| panic!("{reply}"));
        let next = stage.at_min.publish(room, "next").await;
        assert_eq!(next["publish"]["seq"], seq + 1, "{next}");
        let again = stage.at_ada.publish_as(room, &key, 2, text).await;
        assert_eq!(
            (again["publish"]["seq"].as_u64(), &again["publish"]["duplicate"]),
            (Some(seq), &json!(true))
        );
    }
    assert_eq!(stage.tricks.fired(), 2);
    assert_eq!(
        stage.tricks.other_after_doubt(),
        0,
        "not the very same entries were repeated"
    );
    let record = stage.settle().await;
    assert_eq!(record.texts(), ["written", "next", "not written", "next"]);
}

#[tokio::test]
async fn log_that_takes_too_long_is_told_as_unavailable_and_a_resend_finds_the_message() {
    let mut stage = Stage::set(|config| config.room.publish_timeout = Duration::from_millis(300)).await;
    let (room, gate, first, behind) = (stage.room, Gate::closed(), key(), key());
    stage.tricks.arm("slow", Trick::Hold(gate.clone()));
    let slow = stage
        .at_ada
        .post(
            "publish",
            json!({ "room": room, "key": first, "after": 2, "body": { "text": "slow" } }),
        )
        .await;
    gate.reached().await;
    // What waits behind it is dropped, and says so.
    let waits = stage.at_min.publish_as(room, &behind, 2, "behind").await;
    assert_eq!(waits["error"]["code"], "UNAVAILABLE", "{waits}");
    let reply = stage.at_ada.reply(slow).await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    let again = stage.at_ada.publish_as(room, &first, 2, "slow").await;
    assert_eq!(again["error"]["code"], "UNAVAILABLE", "{again}");
    let other = stage.at_ada.publish_as(room, &first, 2, "other words").await;
    assert_eq!(other["error"]["code"], "KEY_CONFLICT", "{other}");
    assert!(
        stage.at_min.copy(room).texts().is_empty(),
        "what is not in the log is shown to nobody"
    );

    gate.open();
    stage.at_min.read_to(room, 3).await;
    let found = stage.at_ada.publish_as(room, &first, 2, "slow").await;
    assert_eq!(
        (found["publish"]["seq"].as_u64(), &found["publish"]["duplicate"]),
        (Some(3), &json!(true))
    );
    let said = stage.at_min.publish_as(room, &behind, 2, "behind").await;
    assert_eq!(said["publish"]["seq"], 4, "{said}");
    assert_ne!(said["publish"]["duplicate"], true);
    assert_eq!(stage.settle().await.texts(), ["slow", "behind"]);
}

#[tokio::test]
async fn what_somebody_else_appends_comes_first_and_order_stays_one() {
    let mut stage = Stage::set(|_| {}).await;
    let room = stage.room;
    let future = now().plus(Duration::from_secs(3_600));
    let others = (0..3).map(|number| message(&stage.min, Uuid::new_v4(), &format!("elsewhere {number}")));
    stage.tricks.arm("here", Trick::After(others.collect(), future));
    let reply = stage.at_ada.publish(room, "here").await;
    assert_eq!(reply["publish"]["seq"], 6, "{reply}");
    let next = stage.at_min.publish(room, "next").await;
    assert_eq!(next["publish"]["seq"], 7, "{next}");
    let record = stage.settle().await;
    assert_eq!(
        record.texts(),
        ["elsewhere 0", "elsewhere 1", "elsewhere 2", "here", "next"]
    );
    let times: Vec<&str> = record
        .entries
        .values()
        .map(|entry| entry["at"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(
        reply["publish"]["at"],
        future.to_string(),
        "another's clock is ahead: ours is not believed"
    );
}

#[tokio::test]
async fn key_that_somebody_else_appended_meanwhile_is_not_said_again() {
    // More than the room keeps in memory follows on it in the second round.
    let mut stage = Stage::set(|config| config.room.tail_entries = 8).await;
    let room = stage.room;
    for following in [0, 40] {
        let (text, id) = (format!("retried elsewhere, {following} follow"), Uuid::new_v4());
        let after = stage.at_ada.copy(room).seq;
        let mut others = vec![message(&stage.ada, id, &text)];
        others.extend((0..following).map(|number| message(&stage.min, Uuid::new_v4(), &number.to_string())));
        stage.tricks.arm(&text, Trick::After(others, now()));
        let reply = stage.at_ada.publish_as(room, &id.to_string(), after, &text).await;
        assert_eq!(
            (reply["publish"]["seq"].as_u64(), &reply["publish"]["duplicate"]),
            (Some(after + 1), &json!(true)),
            "{following} follow: {reply}"
        );
        let record = stage.settle().await;
        assert_eq!(record.texts().iter().filter(|said| **said == text).count(), 1);
    }
    // With other words it is refused.
    let (id, after) = (Uuid::new_v4(), stage.at_ada.copy(room).seq);
    let other = message(&stage.ada, id, "other words");
    stage.tricks.arm("my words", Trick::After(vec![other], now()));
    let reply = stage
        .at_ada
        .publish_as(room, &id.to_string(), after, "my words")
        .await;
    assert_eq!(reply["error"]["code"], "KEY_CONFLICT", "{reply}");
    assert!(!stage.settle().await.texts().contains(&"my words".to_owned()));
}

#[tokio::test]
async fn removal_that_somebody_else_recorded_stops_what_was_on_its_way() {
    let mut stage = Stage::set(|config| config.room.sweep = Duration::from_secs(3_600)).await;
    let room = stage.room;
    let sql = stage.sql().await;
    let events = Events::new(sql.clone(), timingle::domain::time::Clock::system());
    let (host, guest) = (UserId(stage.ada.id), UserId(stage.min.id));
    events
        .remove_participant(host, EventId(room), guest)
        .await
        .unwrap();
    let page = SqlFacts::new(sql).facts(EventId(room), 2, 10).await.unwrap();
    let drafts: Vec<Draft> = page
        .facts
        .iter()
        .map(timingle::domain::fact::Fact::draft)
        .collect();
    assert_eq!(drafts.len(), 1);
    stage.tricks.arm("on its way", Trick::After(drafts, now()));
    let reply = stage.at_min.publish(room, "on its way").await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
    let removed = stage.at_min.push("removed").await;
    assert_eq!(removed["room"], room);
    let copy = stage.at_min.copy(room).clone();
    copy.assert_whole();
    assert_eq!(
        copy.facts(),
        ["event_created", "participant_joined", "participant_removed"]
    );
    let said = stage.at_ada.publish(room, "alone").await;
    assert_eq!(said["publish"]["seq"], copy.seq + 1, "{said}");
    assert_eq!(stage.at_ada.whole_record(room).await.texts(), ["alone"]);
    // What was appended elsewhere is marked here all the same.
    let facts = SqlFacts::new(stage.sql().await);
    until("the marks", || async {
        let snapshot = facts.load(EventId(room)).await.unwrap();
        snapshot.unmarked.is_empty().then_some(())
    })
    .await;
}
