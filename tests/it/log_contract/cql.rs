//! The same promises on Cassandra, and what is different there: rows hold many entries.

use std::sync::Arc;

use timingle::{
    adapters::cql_log::Tuning,
    domain::{entry::Entry, id::RoomId},
    ports::{ReadError, RoomLog},
};

use super::{append_all, every_promise, filled, sealed};
use crate::cql::{Raw, connected, tiny};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_cassandra_keeps_every_promise() {
    every_promise(Arc::new(connected(Tuning::default()).await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_cassandra_keeps_every_promise_across_buckets() {
    every_promise(Arc::new(connected(tiny(4)).await)).await;
}

#[tokio::test]
async fn long_logs_are_found_again_with_and_without_hints() {
    let (log, raw) = (connected(tiny(4)).await, Raw::shared().await);
    let (room, entries, tip) = filled(&log, 79).await;
    for hint in ["set bucket = 3", "set bucket = 19", "set bucket = 90", ""] {
        if hint.is_empty() {
            raw.run(&format!("DELETE FROM room_hint WHERE room = {}", room.0))
                .await;
        } else {
            raw.run(&format!("UPDATE room_hint {hint} WHERE room = {}", room.0))
                .await;
        }
        let fresh = connected(tiny(4)).await;
        assert_eq!(fresh.tip(room).await.unwrap(), tip, "{hint}");
        assert_eq!(fresh.read(room, 1, 100).await.unwrap(), entries.to_vec());
        assert_eq!(fresh.read_back(room, u64::MAX, 3).await.unwrap(), entries[76..]);
    }
}

#[tokio::test]
async fn erased_content_is_gone_and_no_other_erasure_brings_it_back() {
    let (log, raw) = (Arc::new(connected(tiny(8)).await), Raw::shared().await);
    let (room, entries, mut tip) = filled(&*log, 20).await;
    // Two at a time in one chunk: each must keep what the other took out.
    let both: Vec<_> = [vec![2, 4, 18], vec![3, 4, 5]]
        .into_iter()
        .map(|seqs| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.erase(room, &seqs).await.unwrap() })
        })
        .collect();
    let mut erased = 0;
    for one in both {
        erased += one.await.unwrap();
    }
    assert_eq!(erased, 5, "each of them counted once");
    assert_eq!(log.erase(room, &[2, 3, 18]).await.unwrap(), 0);
    assert!(log.erase(room, &[21]).await.is_err());

    let mut expected = entries.to_vec();
    for seq in [2, 3, 4, 5, 18] {
        expected[seq - 1].content = None;
    }
    assert_eq!(log.read(room, 1, 100).await.unwrap(), expected);
    let before = tip.head;
    let more = sealed(&mut tip, 1);
    append_all(&*log, room, before, &more).await.unwrap();
    let revs = raw.revs(room, 0).await;
    assert_eq!(revs.len(), 1);
    assert_eq!(revs[0], Some(2), "two rewritings of the first chunk");
}

/// Where in the bytes of a chunk the entry `index` (from 0) begins, behind its length.
fn place(chunk: &[u8], index: usize) -> usize {
    let mut at = 1;
    for _ in 0..index {
        at += 4 + u32::from_be_bytes(chunk[at..at + 4].try_into().unwrap()) as usize;
    }
    at + 4
}

#[tokio::test]
async fn damage_is_reported_with_its_seq_and_never_shown() {
    type Damage = fn(&mut Vec<u8>, usize);
    let (log, raw) = (connected(Tuning::default()).await, Raw::shared().await);
    let damages: [(&str, Damage); 8] = [
        ("the body", |chunk, at| chunk[at + 130 + 16 + 9] ^= 1),
        ("the salt", |chunk, at| chunk[at + 130] ^= 1),
        ("the kind", |chunk, at| chunk[at + 16] = 99),
        ("the author", |chunk, at| chunk[at + 15] ^= 3),
        ("the hash", |chunk, at| chunk[at + 97] ^= 1),
        ("the time", |chunk, at| chunk[at + 7] ^= 1),
        ("its length", |chunk, at| chunk[at - 1] ^= 1),
        ("all behind it", |chunk, at| chunk.truncate(at - 2)),
    ];
    for one_a_chunk in [false, true] {
        for (what, damage) in damages {
            let (room, entries, _) = in_chunks(&log, one_a_chunk).await;
            let (first, index) = if one_a_chunk { (6, 0) } else { (1, 5) };
            let mut chunk = raw.chunk(room, 0, first).await;
            let at = place(&chunk, index);
            damage(&mut chunk, at);
            raw.set_chunk(room, 0, first, &chunk).await;
            check(&log, room, &entries, 6, &format!("{what}, {one_a_chunk}")).await;
        }
    }
    let (room, entries, _) = in_chunks(&log, true).await;
    raw.run(&format!(
        "DELETE FROM room_log WHERE room = {} AND bucket = 0 AND first_seq = 6",
        room.0
    ))
    .await;
    check(&log, room, &entries, 6, "a lost chunk").await;
}

/// Ten entries, in one chunk or in ten.
async fn in_chunks(
    log: &dyn RoomLog,
    one_a_chunk: bool,
) -> (RoomId, Vec<Entry>, timingle::domain::chain::Tip) {
    let (room, entries, mut tip) = filled(log, if one_a_chunk { 1 } else { 10 }).await;
    let mut entries = entries.to_vec();
    while entries.len() < 10 {
        let before = tip.head;
        let next = sealed(&mut tip, 1);
        append_all(log, room, before, &next).await.unwrap();
        entries.extend_from_slice(&next);
    }
    (room, entries, tip)
}

async fn check(log: &dyn RoomLog, room: RoomId, entries: &[Entry], seq: u64, what: &str) {
    let at = |page: Result<Vec<Entry>, ReadError>| match page {
        Err(ReadError::Corrupt { room: found, seq }) if found == room => seq,
        other => panic!("{what}: {other:?}"),
    };
    assert_eq!(log.read(room, 1, 5).await.unwrap(), entries[..5], "{what}");
    assert_eq!(log.read_back(room, 6, 10).await.unwrap(), entries[..5], "{what}");
    assert_eq!(at(log.read(room, 1, 100).await), seq, "{what}");
    assert_eq!(at(log.read(room, 6, 1).await), seq, "{what}");
    assert_eq!(at(log.read_back(room, 100, 100).await), seq, "{what}");
    assert_eq!(at(log.read_back(room, 7, 1).await), seq, "{what}");
}

#[tokio::test]
async fn lost_chunks_are_noticed_wherever_a_page_begins_and_at_the_end() {
    let (log, raw) = (connected(tiny(4)).await, Raw::shared().await);
    let lose = async |room: RoomId, bucket: i32, first: u64| {
        raw.run(&format!(
            "DELETE FROM room_log WHERE room = {} AND bucket = {bucket} AND first_seq = {first}",
            room.0
        ))
        .await;
    };
    let (room, _, _) = in_chunks(&log, true).await;
    lose(room, 0, 1).await;
    lose(room, 1, 6).await;
    for page in [
        log.read(room, 1, 2).await,
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

    let (room, _, tip) = in_chunks(&log, true).await;
    lose(room, 2, 10).await;
    for page in [
        log.read(room, 9, 10).await,
        log.read_back(room, 11, 10).await,
        log.tip(room).await.map(|_| Vec::new()),
    ] {
        assert!(
            matches!(page, Err(ReadError::Corrupt { seq: 10, .. })),
            "{page:?}"
        );
    }
    lose(room, 2, 9).await;
    let page = log.read(room, 9, 10).await;
    assert!(
        matches!(page, Err(ReadError::Corrupt { seq: 9, .. })),
        "a whole bucket: {page:?}"
    );
    assert!(log.tip(room).await.is_err(), "{tip:?}");
}
