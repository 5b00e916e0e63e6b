//! One of the two stores is restored from an older backup than the other, or the process
//! died between a commit and its append: log and store come to one state again.

use std::{fs, io::BufReader, path::Path, sync::Arc, time::Duration};

use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use timingle::{
    adapters::sql::Sql,
    app::{self, Overrides},
    domain::{
        id::{EventId, UserId},
        time::Clock,
    },
    realtime::heal::Healed,
    service::{events::Events, export::verify},
};

use crate::harness::{
    Copy, Socket, TestApp, User,
    app::config,
    log::{Trick, Tricks},
    until,
};

const APP: &str = "app.db";
const CHAT: &str = "chat.db";

/// Copies a database of a stopped server, with whatever lies beside it.
fn copy_db(from: &Path, to: &Path, name: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{name}{suffix}");
        let _ = fs::remove_file(to.join(&name));
        if from.join(&name).exists() {
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// What lay in two data directories of one server at two moments, and what was seen then.
struct Past {
    /// In the middle.
    old: TempDir,
    /// At the end.
    new: TempDir,
    /// Host of both events.
    ada: User,
    /// In the lesson from the beginning, put out later.
    min: User,
    /// Comes into the lesson later; in the dinner from the beginning, and leaves it later.
    jun: User,
    lesson: i64,
    dinner: i64,
    /// Made later.
    late: i64,
    /// The records at the two moments.
    lesson_then: Copy,
    lesson_now: Copy,
    dinner_now: Copy,
    late_now: Copy,
}

impl Past {
    async fn lived() -> Self {
        let live = TestApp::spawn().await;
        let (ada, min, jun) = (
            live.user("Ada").await,
            live.user("Min").await,
            live.user("Jun").await,
        );
        let lesson = ada.create_event("Lesson").await;
        ada.bring(&min, lesson).await;
        let dinner = ada.create_event("Dinner").await;
        ada.bring(&jun, dinner).await;
        let mut at_ada = ada.connect().await;
        for room in [lesson, dinner] {
            at_ada.join(room).await;
            for number in 0..5 {
                at_ada.publish(room, &format!("early {number}")).await;
            }
        }
        let lesson_then = with_head(&mut at_ada, lesson).await;
        at_ada.close().await;
        let dir = live.stop().await;
        let old = copied(&dir);

        let live = TestApp::start(dir, |_| {}, Overrides::default()).await;
        let (ada, min, jun) = (
            again(&live, &ada).await,
            again(&live, &min).await,
            again(&live, &jun).await,
        );
        let late = ada.create_event("Late").await;
        let mut at_ada = ada.connect().await;
        for room in [lesson, dinner, late] {
            at_ada.join(room).await;
            for number in 0..5 {
                at_ada.publish(room, &format!("late {number}")).await;
            }
        }
        ada.bring(&jun, lesson).await;
        ada.remove(&min, lesson).await;
        jun.remove(&jun, dinner).await;
        for room in [lesson, dinner, late] {
            at_ada.publish(room, "at last").await;
        }
        let lesson_now = with_head(&mut at_ada, lesson).await;
        let dinner_now = with_head(&mut at_ada, dinner).await;
        let late_now = with_head(&mut at_ada, late).await;
        at_ada.close().await;
        let dir = live.stop().await;
        let new = copied(&dir);
        Self {
            old,
            new,
            ada,
            min,
            jun,
            lesson,
            dinner,
            late,
            lesson_then,
            lesson_now,
            dinner_now,
            late_now,
        }
    }

    /// A data directory with `app_db` and `chat_db` of different moments.
    fn mixed(app_db: &TempDir, chat_db: &TempDir) -> Arc<TempDir> {
        let dir = tempfile::tempdir().unwrap();
        copy_db(app_db.path(), dir.path(), APP);
        copy_db(chat_db.path(), dir.path(), CHAT);
        Arc::new(dir)
    }
}

fn copied(dir: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_db(dir.path(), copy.path(), APP);
    copy_db(dir.path(), copy.path(), CHAT);
    copy
}

async fn again(app: &TestApp, user: &User) -> User {
    let signed_in = User::sign_in(app.address, &user.name, &user.phone).await;
    assert_eq!(signed_in.id, user.id, "{} is somebody else now", user.name);
    signed_in
}

/// The whole record, with the hash of its head.
async fn with_head(socket: &mut Socket, room: i64) -> Copy {
    let mut record = socket.whole_record(room).await;
    record.assert_whole();
    socket.read_to(room, record.seq).await;
    record.hash.clone_from(&socket.copy(room).hash);
    record
}

/// Exports the record of `event` and verifies the export: its facts as the chain has them.
async fn verified(dir: &TempDir, event: i64) -> Vec<(u64, String, u64)> {
    let out = dir.path().join(format!("{event}.export"));
    let exported = app::export(&config(dir.path()), EventId(event), &out)
        .await
        .unwrap();
    let verified = verify(
        BufReader::new(fs::File::open(&out).unwrap()),
        None,
        Some(exported.head),
    )
    .unwrap();
    assert_eq!((verified.event, verified.head), (EventId(event), exported.head));
    let text = fs::read_to_string(&out).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let facts = lines.filter(|line| line["kind"] == 2).map(|line| {
        let body: Value = serde_json::from_str(line["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["no"], line["fact_no"], "{line}");
        (
            line["fact_no"].as_u64().unwrap(),
            body["type"].as_str().unwrap().to_owned(),
            line["seq"].as_u64().unwrap(),
        )
    });
    facts.collect()
}

/// The facts of `event` as the relational store has them, with their places in the log.
fn history(dir: &TempDir, event: i64) -> Vec<(i64, String, Option<i64>)> {
    let conn = Connection::open(dir.path().join(APP)).unwrap();
    let mut rows = conn
        .prepare("SELECT fact_no, kind, seq FROM event_history WHERE event_id = ?1 ORDER BY fact_no")
        .unwrap();
    let rows = rows
        .query_map([event], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// Log and store say the same of the facts of `event`, which are these, each once.
async fn assert_one_state(dir: &TempDir, event: i64, kinds: &[&str]) {
    let facts = verified(dir, event).await;
    let found: Vec<&str> = facts.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(found, kinds, "event {event}");
    assert!(
        facts.iter().map(|(no, ..)| *no).eq(1..=kinds.len() as u64),
        "{facts:?}"
    );
    // The last marks may still be on their way.
    until("marks of every fact", || async {
        let history = history(dir, event);
        let facts = facts
            .iter()
            .map(|(no, kind, seq)| (no.cast_signed(), kind.clone(), Some(seq.cast_signed())));
        let facts: Vec<_> = facts.collect();
        (history == facts).then_some(())
    })
    .await;
}

/// An app.db that is older than chat.db, after the lesson was joined and the dinner called off.
const LESSON_OF_OLD_STORE: &[&str] = &[
    "event_created",
    "participant_joined",
    "participant_joined",
    "participant_removed",
    "restored",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_older_than_the_log_takes_its_history_from_the_log_and_says_how_it_stands() {
    let past = Past::lived().await;
    let dir = Past::mixed(&past.old, &past.new);
    let app = TestApp::start(dir, |_| {}, Overrides::default()).await;
    let (ada, min, jun) = (
        again(&app, &past.ada).await,
        again(&app, &past.min).await,
        again(&app, &past.jun).await,
    );

    // By a join: nobody's copy is thrown away, what the store lost comes from the log.
    let mut at_ada = ada.connect().await;
    at_ada.copies.insert(past.lesson, past.lesson_now.clone());
    let joined = at_ada.join(past.lesson).await;
    assert!(joined.get("reset").is_none_or(|reset| reset == false), "{joined}");
    assert_eq!(joined["complete"], true, "{joined}");
    let copy = at_ada.copy(past.lesson).clone();
    copy.assert_whole();
    assert_eq!(copy.seq, past.lesson_now.seq + 1);
    assert_eq!(copy.facts(), LESSON_OF_OLD_STORE);
    assert_eq!(copy.texts(), past.lesson_now.texts());
    let stated = &copy.entries[&copy.seq]["fact"];
    assert_eq!(
        (&stated["title"], &stated["status"]),
        (&json!("Lesson"), &json!("PROPOSED")),
        "{stated}"
    );
    let stated: Vec<i64> = stated["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|standing| standing["user"]["id"].as_i64().unwrap())
        .collect();
    assert_eq!(stated, [ada.id, min.id], "as the store has them");

    // Who takes part is as the store has it: Min again, Jun not (he reads on up to there).
    let mut at_min = min.connect().await;
    at_min.join(past.lesson).await;
    let said = at_min.publish(past.lesson, "back").await;
    assert_eq!(said["publish"]["seq"], copy.seq + 1, "{said}");
    let removed_at = past
        .lesson_now
        .entries
        .values()
        .find(|entry| entry["fact"]["type"] == "participant_removed");
    let removed_at = removed_at.unwrap()["seq"].as_u64().unwrap();
    let seen: Vec<u64> = at_min
        .whole_record(past.lesson)
        .await
        .entries
        .keys()
        .copied()
        .collect();
    let expected: Vec<u64> = (1..=removed_at).chain(copy.seq..=copy.seq + 1).collect();
    assert_eq!(seen, expected, "what lay between is not Min's");
    let mut at_jun = jun.connect().await;
    let reply = at_jun
        .ask("join", json!({ "rooms": [{ "room": past.lesson }] }))
        .await;
    assert_eq!(reply["join"]["rooms"][0]["error"]["code"], "FORBIDDEN", "{reply}");
    assert_eq!(at_jun.whole_record(past.lesson).await.seq, copy.seq);

    // By a change, without anybody in the room: the change takes the next number.
    ada.cancel(past.dinner, "again").await;
    // And further changes go on.
    ada.bring(&jun, past.lesson).await;
    at_ada.read_to(past.lesson, copy.seq + 2).await;
    let lesson = [LESSON_OF_OLD_STORE, &["participant_joined"]].concat();
    let dinner = [
        "event_created",
        "participant_joined",
        "participant_left",
        "restored",
        "canceled",
    ];
    assert_one_state(&app.dir, past.lesson, &lesson).await;
    assert_one_state(&app.dir, past.dinner, &dinner).await;

    // An event that the store never heard of is nobody's, and its number, given out
    // again, does not meet the old record.
    let reply = at_ada
        .ask("join", json!({ "rooms": [{ "room": past.late }] }))
        .await;
    assert_eq!(
        reply["join"]["rooms"][0]["error"]["code"], "EVENT_NOT_FOUND",
        "{reply}"
    );
    let another = ada.create_event("Another").await;
    assert_eq!(another, past.late, "numbers of this store go on where it was");
    at_ada.copies.insert(another, past.late_now.clone());
    let joined = at_ada.join(another).await;
    assert_eq!(joined["reset"], true, "{joined}");
    assert_eq!(at_ada.copy(another).facts(), ["event_created"]);
    assert!(at_ada.copy(another).texts().is_empty());

    // It is done once.
    let dir = app.stop().await;
    let app = TestApp::start(dir, |_| {}, Overrides::default()).await;
    let mut at_ada = again(&app, &past.ada).await.connect().await;
    for room in [past.lesson, past.dinner, another] {
        at_ada.join(room).await;
    }
    assert_one_state(&app.dir, past.lesson, &lesson).await;
    assert_one_state(&app.dir, past.dinner, &dinner).await;
    assert_one_state(&app.dir, another, &["event_created"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_older_than_the_store_gets_the_missing_facts_again() {
    let past = Past::lived().await;
    let dir = Past::mixed(&past.new, &past.old);
    let app = TestApp::start(dir, |_| {}, Overrides::default()).await;
    let (ada, min) = (again(&app, &past.ada).await, again(&app, &past.min).await);

    // By a join: a copy that has more than the log is thrown away.
    let mut at_ada = ada.connect().await;
    at_ada.copies.insert(past.lesson, past.lesson_now.clone());
    let joined = at_ada.join(past.lesson).await;
    assert_eq!(joined["reset"], true, "{joined}");
    let copy = at_ada.copy(past.lesson).clone();
    copy.assert_whole();
    assert_eq!(
        copy.facts(),
        [
            "event_created",
            "participant_joined",
            "participant_joined",
            "participant_removed"
        ]
    );
    assert_eq!(
        copy.texts(),
        past.lesson_then.texts(),
        "what was said in the lost part is gone"
    );
    // One from before goes on.
    let mut second = ada.connect().await;
    second.copies.insert(past.lesson, past.lesson_then.clone());
    let joined = second.join(past.lesson).await;
    assert!(joined.get("reset").is_none_or(|reset| reset == false), "{joined}");
    second
        .copy(past.lesson)
        .assert_holds(&copy.entries, "a copy from before");
    // A message whose place is lost is not guessed at, and can be said anew.
    let lost = past.lesson_now.entries.values().next_back().unwrap();
    let (key, text) = (
        lost["key"].as_str().unwrap(),
        lost["body"]["text"].as_str().unwrap(),
    );
    let reply = at_ada
        .publish_as(past.lesson, key, past.lesson_now.seq - 1, text)
        .await;
    assert_eq!(reply["error"]["code"], "POSITION_UNKNOWN", "{reply}");
    let reply = at_ada.publish_as(past.lesson, key, copy.seq, text).await;
    assert_eq!(reply["publish"]["seq"], copy.seq + 1, "{reply}");

    // Rights are as the store has them, up to the facts' new places.
    let mut at_min = min.connect().await;
    let reply = at_min
        .ask("join", json!({ "rooms": [{ "room": past.lesson }] }))
        .await;
    assert_eq!(reply["join"]["rooms"][0]["error"]["code"], "FORBIDDEN", "{reply}");
    at_min
        .whole_record(past.lesson)
        .await
        .assert_holds(&copy.entries, "Min");

    // By a change, and in a log that has nothing at all.
    ada.cancel(past.dinner, "now").await;
    at_ada.copies.insert(past.late, past.late_now.clone());
    let joined = at_ada.join(past.late).await;
    assert_eq!(joined["reset"], true, "{joined}");
    assert_eq!(at_ada.copy(past.late).facts(), ["event_created"]);

    let dir = app.stop().await;
    let app = TestApp::start(dir, |_| {}, Overrides::default()).await;
    let ada = again(&app, &past.ada).await;
    let mut at_ada = ada.connect().await;
    for room in [past.lesson, past.dinner, past.late] {
        at_ada.join(room).await;
    }
    let lesson = [
        "event_created",
        "participant_joined",
        "participant_joined",
        "participant_removed",
    ];
    let dinner = [
        "event_created",
        "participant_joined",
        "participant_left",
        "canceled",
    ];
    assert_one_state(&app.dir, past.lesson, &lesson).await;
    assert_one_state(&app.dir, past.dinner, &dinner).await;
    assert_one_state(&app.dir, past.late, &["event_created"]).await;
    let (_, event) = ada
        .call(Method::GET, &format!("/events/{}", past.dinner), None)
        .await;
    assert_eq!(event["status"], "CANCELED", "{event}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_that_dies_while_it_heals_leaves_no_wrong_place_behind() {
    let past = Past::lived().await;
    let dir = Past::mixed(&past.new, &past.old);
    let tricks = Tricks::default();
    // The facts stand in the log again, and nobody has written down where.
    tricks.arm("participant_removed", Trick::PanicWritten);
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let (ada, min) = (again(&app, &past.ada).await, again(&app, &past.min).await);
    let mut at_ada = ada.connect().await;
    at_ada.join(past.lesson).await;
    assert_eq!(tricks.fired(), 1);
    let healed = at_ada.copy(past.lesson).clone();
    assert_eq!(
        healed.facts().last().map(String::as_str),
        Some("participant_removed")
    );
    assert!(healed.seq < past.lesson_now.seq);
    // The record grows past the place where Min's removal stood before.
    while at_ada.copy(past.lesson).seq <= past.lesson_now.seq {
        at_ada.publish(past.lesson, "not for Min").await;
    }
    let mut at_min = min.connect().await;
    at_min
        .whole_record(past.lesson)
        .await
        .assert_holds(&healed.entries, "Min");
    assert_one_state(&app.dir, past.lesson, &LESSON_OF_OLD_STORE[..4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repair_brings_every_event_to_one_state_and_then_finds_nothing_more() {
    let past = Past::lived().await;
    // An older store: two facts of the lesson and one of the dinner come from the log,
    // and each event states how it stands.
    let dir = Past::mixed(&past.old, &past.new);
    let repaired = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!((repaired.events, repaired.failed), (2, 0));
    assert_eq!(
        (repaired.healed.adopted, repaired.healed.appended),
        (3, 2),
        "{repaired:?}"
    );
    assert_one_state(&dir, past.lesson, LESSON_OF_OLD_STORE).await;
    let dinner = [
        "event_created",
        "participant_joined",
        "participant_left",
        "restored",
    ];
    assert_one_state(&dir, past.dinner, &dinner).await;
    let again = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!(
        (again.events, again.failed, again.healed),
        (2, 0, Healed::default())
    );

    // An older log.
    let dir = Past::mixed(&past.new, &past.old);
    let repaired = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!((repaired.events, repaired.failed), (3, 0));
    assert_eq!(
        (repaired.healed.adopted, repaired.healed.appended),
        (0, 4),
        "{repaired:?}"
    );
    assert_one_state(&dir, past.lesson, &LESSON_OF_OLD_STORE[..4]).await;
    assert_one_state(&dir, past.dinner, &dinner[..3]).await;
    assert_one_state(&dir, past.late, &["event_created"]).await;
    let again = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!(
        (again.events, again.failed, again.healed),
        (3, 0, Healed::default())
    );

    // Stores of one moment need nothing, and a log that is gone altogether gets every fact.
    let dir = Past::mixed(&past.new, &past.new);
    let repaired = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!(
        (repaired.events, repaired.failed, repaired.healed),
        (3, 0, Healed::default())
    );
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("{CHAT}{suffix}")));
    }
    let repaired = app::repair(&config(dir.path()), |_| {}).await.unwrap();
    assert_eq!(
        (repaired.failed, repaired.healed.appended),
        (0, 8),
        "{repaired:?}"
    );
    assert_one_state(&dir, past.dinner, &dinner[..3]).await;
    // The dinner's record before is another chain than the one now: copies of it are refused.
    let app = TestApp::start(dir, |_| {}, Overrides::default()).await;
    let mut at_ada = again_connected(&app, &past.ada).await;
    at_ada.copies.insert(past.dinner, past.dinner_now.clone());
    assert_eq!(at_ada.join(past.dinner).await["reset"], true);
}

async fn again_connected(app: &TestApp, user: &User) -> Socket {
    again(app, user).await.connect().await
}

#[tokio::test]
async fn facts_committed_just_before_the_end_are_appended_without_anybody_asking() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let dir = app.stop().await;
    // The process dies between the commits and their appends.
    let sql = Sql::open(&dir.path().join(APP), 1, Duration::from_secs(5))
        .await
        .unwrap();
    let events = Events::new(sql, Clock::system());
    let (host, event) = (UserId(ada.id), EventId(room));
    events
        .remove_participant(host, event, UserId(min.id))
        .await
        .unwrap();
    events.cancel(host, event, Some("rain".into())).await.unwrap();
    drop(events);
    let kinds = [
        "event_created",
        "participant_joined",
        "participant_removed",
        "canceled",
    ];
    let unmarked = history(&dir, room)
        .iter()
        .filter(|(_, _, seq)| seq.is_none())
        .count();
    assert_eq!(unmarked, 2);
    assert_eq!(verified(&dir, room).await.len(), 2);

    let app = TestApp::start(
        dir,
        |config| config.room.sweep = Duration::from_millis(50),
        Overrides::default(),
    )
    .await;
    until("the facts", || async {
        let unmarked = history(&app.dir, room).iter().any(|(_, _, seq)| seq.is_none());
        (!unmarked).then_some(())
    })
    .await;
    assert_one_state(&app.dir, room, &kinds).await;
    let mut at_ada = again_connected(&app, &ada).await;
    at_ada.join(room).await;
    assert_eq!(at_ada.copy(room).facts(), kinds);
}
