//! What only the log in a file promises.

use std::{path::Path, sync::Arc};

use timingle::{
    adapters::sqlite_log::SqliteLog,
    domain::entry::Entry,
    ports::{ReadError, RoomLog},
};

use super::{every_promise, filled, sealed};

fn open(dir: &Path) -> SqliteLog {
    SqliteLog::open(&dir.join("chat.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_a_file_keeps_every_promise() {
    let dir = tempfile::tempdir().unwrap();
    every_promise(Arc::new(open(dir.path()))).await;
}

#[tokio::test]
async fn log_is_the_same_after_it_was_closed_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (room, entries, mut tip) = filled(&log, 5).await;
    log.close().await;
    drop(log);

    let log = open(dir.path());
    assert_eq!(log.read(room, 1, 100).await.unwrap(), entries.to_vec());
    let before = tip.head;
    let more = sealed(&mut tip, 2);
    log.append(room, before, Arc::clone(&more)).await.unwrap();
    drop(log);

    let log = open(dir.path());
    assert_eq!(log.tip(room).await.unwrap(), tip);
    assert_eq!(log.append(room, before, more).await.unwrap().head, tip.head);
}

#[tokio::test]
async fn erased_content_is_gone_and_the_log_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (room, entries, mut tip) = filled(&log, 4).await;
    raw(
        dir.path(),
        "UPDATE entries SET salt = NULL, body = NULL WHERE seq IN (2, 4)",
    );

    let mut expected = entries.to_vec();
    expected[1].content = None;
    expected[3].content = None;
    assert_eq!(log.read(room, 1, 10).await.unwrap(), expected);
    assert_eq!(log.read_back(room, 5, 2).await.unwrap(), expected[2..]);
    let before = tip.head;
    let more = sealed(&mut tip, 1);
    log.append(room, before, more).await.unwrap();
}

#[tokio::test]
async fn damage_is_reported_with_its_seq_and_never_shown() {
    for (damage, seq) in [
        (
            "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), '말', '글') AS BLOB) WHERE seq = 6",
            6,
        ),
        ("UPDATE entries SET kind = 99 WHERE seq = 6", 6),
        ("UPDATE entries SET author = 8 WHERE seq = 6", 6),
        ("UPDATE entries SET hash = zeroblob(32) WHERE seq = 6", 6),
        ("UPDATE entries SET key = zeroblob(3) WHERE seq = 6", 6),
        ("UPDATE entries SET at = at - 1 WHERE seq = 6", 6),
        ("DELETE FROM entries WHERE seq = 6", 6),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (room, entries, _) = filled(&log, 10).await;
        raw(dir.path(), damage);

        let at = |page: Result<Vec<Entry>, ReadError>| match page {
            Err(ReadError::Corrupt { room: found, seq }) if found == room => seq,
            other => panic!("{damage}: {other:?}"),
        };
        assert_eq!(log.read(room, 1, 5).await.unwrap(), entries[..5], "{damage}");
        assert_eq!(
            log.read_back(room, 6, 10).await.unwrap(),
            entries[..5],
            "{damage}"
        );
        assert_eq!(at(log.read(room, 1, 100).await), seq, "{damage}");
        assert_eq!(at(log.read(room, 6, 1).await), seq, "{damage}");
        assert_eq!(at(log.read_back(room, 100, 100).await), seq, "{damage}");
        assert_eq!(at(log.read_back(room, 7, 1).await), seq, "{damage}");
    }
}

#[tokio::test]
async fn hole_before_a_page_is_noticed_too() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (room, _, _) = filled(&log, 10).await;
    raw(dir.path(), "DELETE FROM entries WHERE seq IN (1, 6)");
    for page in [
        log.read(room, 7, 2).await,
        log.read(room, 2, 2).await,
        log.read_back(room, 9, 2).await,
        log.read_back(room, 4, 10).await,
    ] {
        assert!(
            matches!(page, Err(ReadError::Corrupt { seq: 1 | 6, .. })),
            "{page:?}"
        );
    }
}

fn raw(dir: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(dir.join("chat.db")).unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
}
