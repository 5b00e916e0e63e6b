//! An installation that has been lived in, and what stands in its files.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::Method;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use timingle::{
    adapters::{
        sql::{Sql, migrate::migrate},
        sqlite_log::SqliteLog,
    },
    app::copy::Place,
    domain::{
        entry::{Draft, Entry, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::RoomLog,
};
use uuid::Uuid;

use crate::harness::{Socket, TestApp, User};

/// What was made in an installation.
pub(super) struct Lived {
    pub(super) dir: Arc<TempDir>,
    pub(super) ada: User,
    /// In Ada's lesson from the beginning.
    pub(super) min: User,
    pub(super) lesson: i64,
    /// All events with a record.
    pub(super) events: Vec<i64>,
}

impl Lived {
    /// Two people, three events, an account that is gone, an answer kept under a key, words
    /// in two languages, and one event's number given out and taken back.
    pub(super) async fn embedded() -> Self {
        let app = TestApp::spawn().await;
        let (ada, min, gone) = (
            app.user("Ada").await,
            app.user("민").await,
            app.user("Gone").await,
        );
        let lesson = ada.create_event("Lesson").await;
        ada.bring(&min, lesson).await;
        ada.bring(&gone, lesson).await;
        let dinner = min.create_event("저녁").await;
        let made = ada
            .call_with(
                Method::POST,
                "/events",
                &[("idempotency-key", "kept")],
                Some(json!({
                    "title": "Kept",
                    "start_time": "2031-05-01T10:00:00Z",
                    "end_time": "2031-05-01T11:00:00Z",
                })),
            )
            .await;
        let kept = made.body["id"].as_i64().unwrap();
        let mut at_ada = ada.connect().await;
        let mut at_min = min.connect().await;
        at_ada.join(lesson).await;
        at_min.join(lesson).await;
        at_min.join(dinner).await;
        for number in 0..5 {
            at_ada.publish(lesson, &format!("word {number}")).await;
            at_min.publish(dinner, &format!("말 {number} 🙂")).await;
        }
        said(&mut at_min, lesson).await;
        let (status, answer) = gone.call(Method::DELETE, "/users/me", None).await;
        assert!(status.is_success(), "{answer}");
        ada.cancel(kept, "because").await;
        at_ada.close().await;
        at_min.close().await;
        let dir = app.stop().await;
        let conn = open(&dir, "app.db");
        conn.execute("UPDATE sqlite_sequence SET seq = seq + 3", [])
            .unwrap();
        Self {
            dir,
            ada,
            min,
            lesson,
            events: vec![lesson, dinner, kept],
        }
    }

    /// Takes the words of every third message away, as an erasure does.
    pub(super) fn erase(&self) -> usize {
        open(&self.dir, "chat.db")
            .execute(
                "UPDATE entries SET salt = NULL, body = NULL WHERE kind = 1 AND msg_no % 3 = 0",
                [],
            )
            .unwrap()
    }

    /// Appends `entries` messages to each room in turn.
    pub(super) async fn talk(&self, entries: usize) {
        let place = place(self.dir.path()).await;
        let rooms: Vec<RoomId> = {
            let conn = open(&self.dir, "app.db");
            let mut rows = conn.prepare("SELECT room FROM events").unwrap();
            let rows = rows.query_map([], |row| row.get(0)).unwrap();
            rows.map(|room| RoomId(Uuid::from_bytes(room.unwrap()))).collect()
        };
        let each = entries / rooms.len();
        for room in rooms {
            say(&*place.log, room, UserId(self.ada.id), each).await;
        }
        place.log.close().await;
    }
}

async fn said(socket: &mut Socket, room: i64) {
    let reply = socket
        .ask("read", json!({ "room": room, "seq": socket.copy(room).seq }))
        .await;
    assert!(reply.get("error").is_none(), "{reply}");
}

/// Appends `count` messages of about 100 bytes to the log of `room`.
pub(super) async fn say(log: &dyn RoomLog, room: RoomId, author: UserId, count: usize) {
    let mut tip = log.tip(room).await.unwrap();
    let mut left = count;
    while left > 0 {
        let expected = tip.head;
        let batch: Vec<Entry> = (0..left.min(500))
            .map(|number| {
                let body = json!({ "text": format!("{left}/{number} {}", "of many words ".repeat(5)) });
                let draft = Draft {
                    author: Some(author),
                    kind: Kind::Message,
                    key: Uuid::new_v4(),
                    reply_to: None,
                    target: None,
                    body: Bytes::from(body.to_string()),
                };
                tip.seal(draft, Micros(0), *Uuid::new_v4().as_bytes())
            })
            .collect();
        left -= batch.len();
        let mut rest = &batch[..];
        let mut head = expected;
        while !rest.is_empty() {
            let appended = log.append(room, head, rest.into()).await.unwrap();
            head = appended.head;
            rest = &rest[appended.taken..];
        }
    }
}

/// A database of a data directory.
pub(super) fn open(dir: &TempDir, name: &str) -> Connection {
    let conn = Connection::open(dir.path().join(name)).unwrap();
    conn.busy_timeout(Duration::from_secs(5)).unwrap();
    conn
}

/// The stores of the data directory `dir`, made if they are not there.
pub(super) async fn place(dir: &Path) -> Place {
    let app_db = dir.join("app.db");
    migrate(&app_db).await.unwrap();
    Place {
        sql: Sql::open(&app_db, 4, Duration::from_secs(10)).await.unwrap(),
        log: Arc::new(SqliteLog::open(&dir.join("chat.db")).unwrap()),
    }
}

/// Every row of every table of a data directory, the log's included, as text.
pub(super) fn contents(dir: &TempDir) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, tables) in [
        (
            "app.db",
            &[
                "users",
                "sessions",
                "refresh_tokens",
                "events",
                "participants",
                "event_history",
                "invites",
                "idempotency_keys",
                "sqlite_sequence",
            ][..],
        ),
        ("chat.db", &["entries"]),
    ] {
        let conn = open(dir, name);
        for table in tables {
            let mut rows = conn
                .prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))
                .unwrap();
            let names: Vec<String> = rows.column_names().into_iter().map(str::to_owned).collect();
            let columns = names.len();
            let rows = rows
                .query_map([], |row| {
                    let values = (0..columns).map(|at| {
                        let value: rusqlite::types::Value = row.get(at).unwrap();
                        match value {
                            // Spaces and the order of members are not the content.
                            rusqlite::types::Value::Text(text)
                                if matches!(
                                    (*table, &*names[at]),
                                    ("event_history", "payload") | ("idempotency_keys", "answer")
                                ) =>
                            {
                                serde_json::from_str::<Value>(&text).unwrap().to_string()
                            }
                            value => format!("{value:?}"),
                        }
                    });
                    Ok(format!("{table}: {}", values.collect::<Vec<_>>().join(" | ")))
                })
                .unwrap();
            lines.extend(rows.map(Result::unwrap));
        }
    }
    lines
}
