//! What every `RoomLog` promises, on the embedded one.
//!
//! The promises are functions of the port: a log on other machines has to keep them too.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use timingle::{
    adapters::sqlite_log::SqliteLog,
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::{AppendError, ReadError, RoomLog},
};
use uuid::Uuid;

fn some_room() -> RoomId {
    RoomId(Uuid::new_v4())
}

/// `count` entries of every shape behind `tip`, which moves.
fn sealed(tip: &mut Tip, count: usize) -> Arc<[Entry]> {
    (0..count)
        .map(|_| {
            let seq = tip.head.seq + 1;
            let (kind, target) = match seq % 4 {
                0 => (Kind::React, Some(seq - 1)),
                1 => (Kind::Fact, None),
                _ => (Kind::Message, None),
            };
            let draft = Draft {
                author: (!seq.is_multiple_of(3)).then_some(UserId((1 << 53) - 1)),
                kind,
                key: Uuid::new_v4(),
                reply_to: (seq > 2).then(|| seq - 2),
                target,
                body: Bytes::from(format!("{{\"text\":\"{seq} 번째 말\"}}")),
            };
            tip.seal(
                draft,
                Micros(1_790_000_000_000_000),
                [u8::try_from(seq % 256).unwrap(); 16],
            )
        })
        .collect()
}

/// A room with `count` entries: its id, them, and its end.
async fn filled(log: &dyn RoomLog, count: usize) -> (RoomId, Arc<[Entry]>, Tip) {
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let entries = sealed(&mut tip, count);
    let appended = log.append(room, start, Arc::clone(&entries)).await.unwrap();
    assert_eq!((appended.head, appended.taken), (tip.head, count));
    (room, entries, tip)
}

async fn conflict_head(log: &dyn RoomLog, room: RoomId, expected: Head, entries: Arc<[Entry]>) -> Head {
    match log.append(room, expected, entries).await {
        Err(AppendError::Conflict { head }) => head,
        other => panic!("no conflict: {other:?}"),
    }
}

async fn append_from_any_other_head_conflicts(log: &dyn RoomLog) {
    let (room, _, tip) = filled(log, 3).await;
    let behind = sealed(&mut Tip::empty(room), 1);
    assert_eq!(
        conflict_head(log, room, Tip::empty(room).head, behind).await,
        tip.head
    );

    let mut forked = tip;
    forked.head.hash.0[31] ^= 1;
    let expected = forked.head;
    let fork = sealed(&mut forked, 1);
    assert_eq!(
        conflict_head(log, room, expected, fork).await,
        tip.head,
        "same seq, other hash"
    );

    let mut ahead = tip;
    sealed(&mut ahead, 2);
    let expected = ahead.head;
    let beyond = sealed(&mut ahead, 1);
    assert_eq!(conflict_head(log, room, expected, beyond).await, tip.head);

    let unknown = some_room();
    let elsewhere = sealed(&mut tip.clone(), 1);
    assert_eq!(
        conflict_head(log, unknown, tip.head, elsewhere).await,
        Tip::empty(unknown).head
    );
    assert_eq!(log.tip(room).await.unwrap(), tip);
}

async fn repeat_of_what_was_written_succeeds_however_late(log: &dyn RoomLog) {
    let (room, first, mut tip) = filled(log, 3).await;
    let middle = tip.head;
    let second = sealed(&mut tip, 2);
    log.append(room, middle, second).await.unwrap();

    let again = log
        .append(room, Tip::empty(room).head, Arc::clone(&first))
        .await
        .unwrap();
    assert_eq!((again.head, again.taken), (middle, 3));
    let part: Arc<[Entry]> = first[1..].into();
    let again = log.append(room, first[0].head(), part).await.unwrap();
    assert_eq!((again.head, again.taken), (middle, 2));

    let others = sealed(&mut Tip::empty(room), 3);
    assert_eq!(
        conflict_head(log, room, Tip::empty(room).head, others).await,
        tip.head
    );
    assert_eq!(log.read(room, 1, 100).await.unwrap().len(), 5, "nothing doubled");
}

async fn of_two_who_race_on_a_head_one_wins(log: Arc<dyn RoomLog>) {
    for _ in 0..50 {
        let (room, _, tip) = filled(&*log, 1).await;
        let racers: Vec<_> = (0..2)
            .map(|_| {
                let (log, mut mine) = (Arc::clone(&log), tip);
                let entries = sealed(&mut mine, 2);
                tokio::spawn(async move { (log.append(room, tip.head, entries).await, mine) })
            })
            .collect();
        let (mut won, mut told) = (Vec::new(), Vec::new());
        for racer in racers {
            match racer.await.unwrap() {
                (Ok(appended), mine) => {
                    assert_eq!(appended.head, mine.head);
                    won.push(mine);
                }
                (Err(AppendError::Conflict { head }), _) => told.push(head),
                (Err(other), _) => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(told, vec![won[0].head]);
        assert_eq!(log.tip(room).await.unwrap(), won[0]);
    }
}

async fn windows_are_exact_at_both_ends(log: &dyn RoomLog) {
    let (room, entries, tip) = filled(log, 10).await;
    let all = entries.to_vec();
    for from in 0..=12_u64 {
        for limit in [0, 1, 2, 9, 10, 11, usize::MAX] {
            let first = usize::try_from((from.max(1) - 1).min(10)).unwrap();
            let last = first.saturating_add(limit).min(10);
            let page = log.read(room, from, limit).await.unwrap();
            assert_eq!(page, all[first..last], "from {from}, {limit}");

            let end = usize::try_from(from.saturating_sub(1).min(10)).unwrap();
            let page = log.read_back(room, from, limit).await.unwrap();
            assert_eq!(
                page,
                all[end.saturating_sub(limit)..end],
                "before {from}, {limit}"
            );
        }
    }
    assert_eq!(log.read_back(room, u64::MAX, 3).await.unwrap(), all[7..]);
    assert!(log.read(room, u64::MAX, 3).await.unwrap().is_empty());
    assert_eq!(log.tip(room).await.unwrap(), tip);

    let unknown = some_room();
    assert_eq!(log.tip(unknown).await.unwrap(), Tip::empty(unknown));
    assert!(log.read(unknown, 1, 10).await.unwrap().is_empty());
    assert!(log.read_back(unknown, 10, 10).await.unwrap().is_empty());
}

async fn rooms_do_not_mix_and_stay_gapless(log: Arc<dyn RoomLog>) {
    const ROOMS: usize = 64;
    const APPENDS: usize = 20;
    let writers: Vec<_> = (0..ROOMS)
        .map(|number| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let room = some_room();
                let mut tip = Tip::empty(room);
                for step in 0..APPENDS {
                    let expected = tip.head;
                    let entries = sealed(&mut tip, 1 + (number + step) % 3);
                    let appended = log.append(room, expected, entries).await.unwrap();
                    assert_eq!(appended.head, tip.head);
                    // What is acknowledged can be read at once.
                    assert_eq!(log.tip(room).await.unwrap(), tip);
                }
                (room, tip)
            })
        })
        .collect();
    for writer in writers {
        let (room, tip) = writer.await.unwrap();
        let mut reader = Tip::empty(room);
        for entry in log.read(room, 1, 1_000).await.unwrap() {
            reader.follow(&entry).unwrap();
        }
        assert_eq!(reader, tip);
    }
}

fn open(dir: &Path) -> SqliteLog {
    SqliteLog::open(&dir.join("chat.db")).unwrap()
}

#[tokio::test]
async fn log_keeps_the_promises_of_its_port() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append_from_any_other_head_conflicts(&log).await;
    repeat_of_what_was_written_succeeds_however_late(&log).await;
    windows_are_exact_at_both_ends(&log).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_keeps_its_promises_to_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log: Arc<dyn RoomLog> = Arc::new(open(dir.path()));
    of_two_who_race_on_a_head_one_wins(Arc::clone(&log)).await;
    rooms_do_not_mix_and_stay_gapless(log).await;
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
