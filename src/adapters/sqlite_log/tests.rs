use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    OpenError, SqliteLog, file,
    writer::{Append, Writer},
};
use crate::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};

type Answer = Result<Appended, AppendError>;

fn room(number: u128) -> RoomId {
    RoomId(Uuid::from_u128(number))
}

fn sealed(tip: &mut Tip, count: usize, bytes: usize) -> Arc<[Entry]> {
    (0..count)
        .map(|_| {
            let draft = Draft {
                author: Some(UserId(7)),
                kind: Kind::Message,
                key: Uuid::new_v4(),
                reply_to: None,
                target: None,
                body: Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(bytes))),
            };
            tip.seal(draft, Micros(1_000), [5; 16])
        })
        .collect()
}

/// A directory with the path of a log in it; the directory goes with the first value.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chat.db");
    (dir, path)
}

/// Puts these appends into one transaction and returns the answers.
fn one_transaction(path: &Path, appends: Vec<(RoomId, Head, Arc<[Entry]>)>) -> Vec<Answer> {
    let conn = file::prepare(path).unwrap();
    let (queue, receiver) = mpsc::channel(appends.len());
    let answers: Vec<_> = appends
        .into_iter()
        .map(|(room, expected, entries)| {
            let (answer, told) = oneshot::channel();
            assert!(
                queue
                    .try_send(Append {
                        room,
                        expected,
                        entries,
                        answer
                    })
                    .is_ok()
            );
            told
        })
        .collect();
    drop(queue);
    Writer::new(path.to_owned(), conn, receiver).run();
    answers
        .into_iter()
        .map(|told| told.blocking_recv().unwrap())
        .collect()
}

#[test]
fn append_that_conflicts_does_not_fail_its_neighbours() {
    let (_dir, path) = place();
    let mut a = Tip::empty(room(1));
    let start = a.head;
    let first = sealed(&mut a, 2, 10);
    let rival = sealed(&mut Tip::empty(room(1)), 1, 10);
    let middle = a.head;
    let second = sealed(&mut a, 1, 10);
    let mut b = Tip::empty(room(2));
    let other = sealed(&mut b, 1, 10);
    let nothing: Arc<[Entry]> = Arc::new([]);

    let answers = one_transaction(
        &path,
        vec![
            (room(1), start, Arc::clone(&first)),
            (room(1), start, rival),
            (room(1), middle, second),
            (room(1), start, first),
            (room(2), Tip::empty(room(2)).head, other),
            (room(3), Tip::empty(room(3)).head, nothing),
        ],
    );
    assert!(
        matches!(answers[0], Ok(Appended { head, taken: 2 }) if head == middle),
        "{:?}",
        answers[0]
    );
    assert!(
        matches!(answers[1], Err(AppendError::Conflict { head }) if head == middle),
        "{:?}",
        answers[1]
    );
    assert!(
        matches!(answers[2], Ok(Appended { head, taken: 1 }) if head == a.head),
        "{:?}",
        answers[2]
    );
    assert!(
        matches!(answers[3], Ok(Appended { head, taken: 2 }) if head == middle),
        "{:?}",
        answers[3]
    );
    assert!(
        matches!(answers[4], Ok(Appended { head, taken: 1 }) if head == b.head),
        "{:?}",
        answers[4]
    );
    assert!(
        matches!(answers[5], Err(AppendError::Conflict { head }) if head.seq == 0),
        "{:?}",
        answers[5]
    );
}

#[test]
fn entries_that_break_the_chain_are_refused_and_their_neighbours_are_not() {
    let (_dir, path) = place();
    let mut tip = Tip::empty(room(1));
    let start = tip.head;
    let mut broken = sealed(&mut tip, 3, 10).to_vec();
    broken[1].at = Micros(999);
    let mut beyond = sealed(&mut Tip::empty(room(3)), 1, 10).to_vec();
    beyond[0].reply_to = Some(u64::MAX);
    beyond[0].hash = crate::domain::chain::link(Tip::empty(room(3)).head.hash, &beyond[0]);
    let good = sealed(&mut Tip::empty(room(2)), 1, 10);

    let answers = one_transaction(
        &path,
        vec![
            (room(1), start, broken.into()),
            (room(3), Tip::empty(room(3)).head, beyond.into()),
            (room(2), Tip::empty(room(2)).head, good),
        ],
    );
    assert!(
        matches!(answers[0], Err(AppendError::Conflict { head }) if head == start),
        "{:?}",
        answers[0]
    );
    assert!(
        matches!(answers[1], Err(AppendError::Conflict { .. })),
        "{:?}",
        answers[1]
    );
    assert!(answers[2].is_ok(), "{:?}", answers[2]);
}

#[test]
fn damaged_end_of_one_room_does_not_fail_the_others() {
    let (_dir, path) = place();
    let mut tip = Tip::empty(room(1));
    let start = tip.head;
    let entries = sealed(&mut tip, 2, 10);
    assert!(one_transaction(&path, vec![(room(1), start, entries)])[0].is_ok());
    let raw = Connection::open(&path).unwrap();
    assert_eq!(
        raw.execute("UPDATE entries SET kind = 99 WHERE seq = 2", [])
            .unwrap(),
        1
    );

    let before = tip.head;
    let next = sealed(&mut tip, 1, 10);
    let good = sealed(&mut Tip::empty(room(2)), 1, 10);
    let answers = one_transaction(
        &path,
        vec![(room(1), before, next), (room(2), Tip::empty(room(2)).head, good)],
    );
    let Err(AppendError::InDoubt(Some(source))) = &answers[0] else {
        panic!("{:?}", answers[0])
    };
    assert!(
        matches!(source.downcast_ref(), Some(ReadError::Corrupt { seq: 2, .. })),
        "{source:?}"
    );
    assert!(answers[1].is_ok(), "{:?}", answers[1]);
}

#[tokio::test]
async fn full_disk_is_in_doubt_for_all_and_over_when_there_is_space() {
    let (_dir, path) = place();
    let conn = file::prepare(&path).unwrap();
    conn.pragma_update_and_check(None, "max_page_count", 64, |_| Ok(()))
        .unwrap();
    let log = SqliteLog::start(&path, conn).unwrap();

    let ballast = room(1);
    let mut tip = Tip::empty(ballast);
    let (stuck_at, stuck) = loop {
        let before = tip;
        let entries = sealed(&mut tip, 1, 3_000);
        match log.append(ballast, before.head, Arc::clone(&entries)).await {
            Ok(appended) => assert_eq!(appended.head, tip.head),
            Err(AppendError::InDoubt(Some(_))) => break (before, entries),
            Err(other) => panic!("{other:?}"),
        }
    };
    let other = room(2);
    let start = Tip::empty(other).head;
    let waiting = sealed(&mut Tip::empty(other), 4, 3_000);
    for _ in 0..3 {
        let again = log.append(other, start, Arc::clone(&waiting)).await;
        assert!(matches!(again, Err(AppendError::InDoubt(Some(_)))), "{again:?}");
    }
    assert_eq!(
        log.tip(ballast).await.unwrap(),
        stuck_at,
        "nothing unlogged is visible"
    );
    assert_eq!(log.tip(other).await.unwrap().head.seq, 0);
    assert_eq!(
        log.read(ballast, 1, 1_000).await.unwrap().len() as u64,
        stuck_at.head.seq
    );

    // Space: the last twenty entries of the ballast go (its own log is cut by that).
    Connection::open(&path)
        .unwrap()
        .execute(
            "DELETE FROM entries WHERE seq > (SELECT max(seq) FROM entries) - 20",
            [],
        )
        .unwrap();
    let taken = log.append(other, start, Arc::clone(&waiting)).await.unwrap();
    assert_eq!((taken.head.seq, taken.taken), (4, 4));
    assert_eq!(log.read(other, 1, 10).await.unwrap(), waiting.to_vec());
    let cut = log.append(ballast, stuck_at.head, stuck).await;
    assert!(
        matches!(cut, Err(AppendError::Conflict { .. })),
        "the failed room's end was looked up anew"
    );
    log.close().await;
}

#[tokio::test]
async fn rows_that_another_process_wrote_are_noticed() {
    let (_dir, path) = place();
    let log = SqliteLog::open(&path).unwrap();
    let mut tip = Tip::empty(room(1));
    let start = tip.head;
    let ours = sealed(&mut tip, 1, 10);
    log.append(room(1), start, ours).await.unwrap();
    let theirs = {
        let mut theirs = tip;
        let entries = sealed(&mut theirs, 1, 10);
        let rival = SqliteLog::open(&path).unwrap();
        rival.append(room(1), tip.head, entries).await.unwrap();
        rival.close().await;
        theirs.head
    };
    let before = tip.head;
    let next = sealed(&mut tip, 1, 10);
    let first = log.append(room(1), before, Arc::clone(&next)).await;
    assert!(matches!(first, Err(AppendError::InDoubt(Some(_)))), "{first:?}");
    let second = log.append(room(1), before, next).await;
    assert!(
        matches!(second, Err(AppendError::Conflict { head }) if head == theirs),
        "{second:?}"
    );
}

#[tokio::test]
async fn reader_beside_a_running_writer_sees_what_is_committed_and_appends_nothing() {
    let (_dir, path) = place();
    let log = SqliteLog::open(&path).unwrap();
    let reader = SqliteLog::open_read_only(&path).unwrap();
    let mut tip = Tip::empty(room(1));
    let start = tip.head;
    let entries = sealed(&mut tip, 3, 10);
    log.append(room(1), start, Arc::clone(&entries)).await.unwrap();
    assert_eq!(reader.read(room(1), 1, 10).await.unwrap(), entries.to_vec());
    let refused = reader.append(room(1), start, entries).await;
    assert!(matches!(refused, Err(AppendError::InDoubt(Some(_)))));

    log.close().await;
    drop(log);
    let alone = SqliteLog::open_read_only(&path).unwrap();
    assert_eq!(
        alone.tip(room(1)).await.unwrap(),
        tip,
        "also when nothing else has it open"
    );
    assert!(SqliteLog::open_read_only(&path.with_file_name("none.db")).is_err());
}

#[tokio::test]
async fn close_writes_what_waits_leaves_no_write_ahead_log_and_refuses_what_follows() {
    let (_dir, path) = place();
    let log = Arc::new(SqliteLog::open(&path).unwrap());
    let waiting: Vec<_> = (0..50)
        .map(|number| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let entries = sealed(&mut Tip::empty(room(number)), 1, 100);
                log.append(room(number), Tip::empty(room(number)).head, entries)
                    .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    log.close().await;
    let mut written = 0;
    for (number, answer) in waiting.into_iter().enumerate() {
        let held = log.tip(room(number as u128)).await.unwrap().head.seq;
        match answer.await.unwrap() {
            Ok(_) => written += 1,
            Err(error) => assert!(held == 0 && matches!(error, AppendError::InDoubt(_)), "{error:?}"),
        }
        assert!(held <= 1);
    }
    let wal = path.with_file_name("chat.db-wal");
    assert!(std::fs::metadata(wal).map_or(0, |wal| wal.len()) == 0);
    let late = log
        .append(
            room(99),
            Tip::empty(room(99)).head,
            sealed(&mut Tip::empty(room(99)), 1, 1),
        )
        .await;
    assert!(matches!(late, Err(AppendError::InDoubt(Some(_)))));
    log.close().await;
    let stored: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM entries", [], |row| row.get(0))
        .unwrap();
    assert_eq!(stored, written);
}

#[test]
fn files_of_others_and_of_later_versions_are_refused() {
    let (_dir, path) = place();
    std::fs::write(
        &path,
        "not a database, and longer than its header would be".repeat(9),
    )
    .unwrap();
    assert!(matches!(SqliteLog::open(&path), Err(OpenError::Sqlite(_))));

    let (_dir, path) = place();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE mine (a)")
        .unwrap();
    assert!(matches!(SqliteLog::open(&path), Err(OpenError::Foreign(_))));
    assert!(matches!(
        SqliteLog::open_read_only(&path),
        Err(OpenError::Foreign(_))
    ));

    let (_dir, path) = place();
    drop(SqliteLog::open(&path).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        SqliteLog::open(&path),
        Err(OpenError::Newer { found: 99, .. })
    ));
}

#[cfg(unix)]
#[test]
fn file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_dir, path) = place();
    let _log = SqliteLog::open(&path).unwrap();
    for name in ["chat.db", "chat.db-wal"] {
        let mode = std::fs::metadata(path.with_file_name(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn commits_are_synced_and_never_checkpointed_before_their_answer() {
    let (_dir, path) = place();
    let conn = file::prepare(&path).unwrap();
    let pragma = |name| {
        conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!((pragma("synchronous"), pragma("wal_autocheckpoint")), (2, 0));
    let mode: String = conn
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}
