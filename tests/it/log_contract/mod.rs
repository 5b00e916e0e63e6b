//! What every `RoomLog` promises, on the embedded one and on Cassandra.

mod cql;
mod sqlite;

use std::sync::Arc;

use bytes::Bytes;
use timingle::{
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::{AppendError, RoomLog},
};
use uuid::Uuid;

/// All that the port says, one by one.
pub(crate) async fn every_promise(log: Arc<dyn RoomLog>) {
    append_from_any_other_head_conflicts(&*log).await;
    entries_that_break_the_chain_are_refused(&*log).await;
    repeat_of_what_was_written_succeeds_however_late(&*log).await;
    windows_are_exact_at_both_ends(&*log).await;
    entries_without_content_are_entries(&*log).await;
    of_two_who_race_on_a_head_one_wins(Arc::clone(&log)).await;
    rooms_do_not_mix_and_stay_gapless(log).await;
}

pub(crate) fn some_room() -> RoomId {
    RoomId(Uuid::new_v4())
}

/// `count` entries of every shape behind `tip`, which moves.
pub(crate) fn sealed(tip: &mut Tip, count: usize) -> Arc<[Entry]> {
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

/// Appends all of `entries` behind `expected`, however many are taken at a time; the head then.
pub(crate) async fn append_all(
    log: &dyn RoomLog,
    room: RoomId,
    mut expected: Head,
    entries: &[Entry],
) -> Result<Head, AppendError> {
    let mut left = entries;
    while !left.is_empty() {
        let appended = log.append(room, expected, left.into()).await?;
        assert!((1..=left.len()).contains(&appended.taken));
        assert_eq!(appended.head, left[appended.taken - 1].head());
        (expected, left) = (appended.head, &left[appended.taken..]);
    }
    Ok(expected)
}

/// A room with `count` entries: its id, them, and its end.
pub(crate) async fn filled(log: &dyn RoomLog, count: usize) -> (RoomId, Arc<[Entry]>, Tip) {
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let entries = sealed(&mut tip, count);
    assert_eq!(append_all(log, room, start, &entries).await.unwrap(), tip.head);
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

    for distance in 1..4 {
        let mut ahead = tip;
        sealed(&mut ahead, distance);
        let expected = ahead.head;
        let beyond = sealed(&mut ahead, 1);
        assert_eq!(conflict_head(log, room, expected, beyond).await, tip.head);
    }

    let unknown = some_room();
    let elsewhere = sealed(&mut tip.clone(), 1);
    assert_eq!(
        conflict_head(log, unknown, tip.head, elsewhere).await,
        Tip::empty(unknown).head
    );
    assert_eq!(log.tip(room).await.unwrap(), tip);
}

async fn entries_that_break_the_chain_are_refused(log: &dyn RoomLog) {
    let (room, _, tip) = filled(log, 2).await;
    let next = sealed(&mut tip.clone(), 3);
    let none: Arc<[Entry]> = Arc::new([]);
    assert_eq!(conflict_head(log, room, tip.head, none).await, tip.head);
    for broken in 0..3 {
        let mut entries = next.to_vec();
        entries[broken].key = Uuid::new_v4();
        assert_eq!(conflict_head(log, room, tip.head, entries.into()).await, tip.head);
    }
    let hole: Arc<[Entry]> = [next[0].clone(), next[2].clone()].into();
    assert_eq!(conflict_head(log, room, tip.head, hole).await, tip.head);
    assert_eq!(
        conflict_head(log, room, tip.head, next[1..].into()).await,
        tip.head
    );

    // A chain of another room.
    let empty = some_room();
    let foreign = sealed(&mut Tip::empty(room), 1);
    let head = Tip::empty(empty).head;
    assert_eq!(
        conflict_head(log, empty, Tip::empty(room).head, foreign).await,
        head
    );
    assert_eq!(log.tip(room).await.unwrap(), tip);
    assert_eq!(log.tip(empty).await.unwrap().head, head);
}

async fn entries_without_content_are_entries(log: &dyn RoomLog) {
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let mut entries = sealed(&mut tip, 3).to_vec();
    entries[0].content = None;
    entries[2].content = None;
    append_all(log, room, start, &entries).await.unwrap();
    assert_eq!(log.read(room, 1, 10).await.unwrap(), entries);
    assert_eq!(log.tip(room).await.unwrap(), tip);
    let before = tip.head;
    let more = sealed(&mut tip, 1);
    append_all(log, room, before, &more).await.unwrap();
    assert_eq!(
        log.read_back(room, 5, 2).await.unwrap(),
        [&entries[2..], &more].concat()
    );
}

async fn repeat_of_what_was_written_succeeds_however_late(log: &dyn RoomLog) {
    let (room, first, mut tip) = filled(log, 3).await;
    let middle = tip.head;
    let second = sealed(&mut tip, 2);
    append_all(log, room, middle, &second).await.unwrap();

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
                    let head = append_all(&*log, room, expected, &entries).await.unwrap();
                    assert_eq!(head, tip.head);
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
