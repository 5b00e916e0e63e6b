//! Compare-and-append: one conditional UPDATE of one chunk row.
//!
//! An answer that does not come says nothing: the write may have been done, may still be done
//! by a server that has the request, or never. An exact read that shows the expected head does
//! not end the doubt, for the write may come after it. So the very same write is said again until
//! the head has moved; whichever of the twins is applied, the same row stands there, and the
//! others find that the head is not theirs any more.

use std::sync::atomic::Ordering::Relaxed;

use scylla::errors::ExecutionError;
use tokio::time::{Duration, Instant, sleep};

use super::{
    answer::{self, Outcome, Unintelligible},
    chunk,
    link::jittered,
    read::How,
    store::{Fault, Store, never_ran},
};
use crate::{
    domain::{
        chain::{Tip, genesis, link},
        entry::{Entry, Hash, Head},
        id::RoomId,
    },
    ports::{AppendError, Appended},
};

/// Entries of one chunk.
const MAX_ENTRIES: usize = 1_024;

/// Bytes of one chunk, but for a first entry that is larger by itself: what the servers agree
/// on is written three times over while they do, and large ones spoil the latency of all.
const MAX_BYTES: usize = 512 * 1024;

/// The pause before something is said again; it grows from the first to the second.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// An append on its way.
struct Write {
    room: RoomId,
    bucket: i32,
    /// What the bucket's head must be; `None` opens the bucket.
    held: Option<Head>,
    expected: Head,
    new: Head,
    chunk: Vec<u8>,
}

/// The error that an append ends with when nobody knows better.
fn in_doubt(error: impl std::error::Error + Send + Sync + 'static) -> AppendError {
    AppendError::InDoubt(Some(Box::new(error)))
}

fn not_read(room: RoomId) -> impl Fn(Fault) -> AppendError {
    move |fault| in_doubt(fault.of(room))
}

/// Why nothing is known of a conditional write.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error(transparent)]
    Driver(Box<ExecutionError>),
    #[error(transparent)]
    Unintelligible(#[from] Unintelligible),
}

/// What was to be appended cannot be written down.
#[derive(Debug, thiserror::Error)]
#[error("the log of room {0} holds no more")]
struct Full(RoomId);

/// The head has not moved within the time there was.
#[derive(Debug, thiserror::Error)]
#[error("nobody can say yet whether the log of room {0} has it")]
struct Undecided(RoomId);

impl Store {
    /// See [`crate::ports::RoomLog::append`].
    pub(super) async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: &[Entry],
    ) -> Result<Appended, AppendError> {
        let deadline = Instant::now() + self.patience;
        if !continues(room, expected, entries) {
            if let Some(first) = entries.first() {
                // A fault of the caller. Written, it would make the room unreadable for good.
                tracing::error!(
                    room.id = %room,
                    seq = first.seq,
                    "entries that break the chain of room {room} were refused"
                );
            }
            return self.conflict(room).await;
        }
        let bucket = self
            .bucket_of(expected.seq + 1)
            .ok_or_else(|| in_doubt(Full(room)))?;
        let taken = self.fitting(bucket, entries);
        let Some((chunk, last)) = chunk::encode(taken).zip(taken.last()) else {
            return Err(in_doubt(Full(room)));
        };
        let opens = expected.seq + 1 == self.first_of(bucket);
        if opens && bucket > 0 {
            // An empty bucket says nothing about where its first entry belongs: the full one does.
            let before = self.bucket_head(room, bucket - 1).await;
            if before.map_err(not_read(room))? != Some(expected) {
                return self.conflict(room).await;
            }
        }
        let write = Write {
            room,
            bucket,
            held: (!opens).then_some(expected),
            expected,
            new: last.head(),
            chunk,
        };
        self.write(&write, deadline).await?;
        if opens && bucket > 0 {
            self.set_hint(room, bucket).await;
        }
        Ok(Appended {
            head: write.new,
            taken: taken.len(),
        })
    }

    /// Says `write` until it is known to be written or never to be.
    async fn write(&self, write: &Write, deadline: Instant) -> Result<(), AppendError> {
        let mut pause = PAUSE.0;
        let mut doubted = false;
        let mut unmoved = false;
        loop {
            let found = match self.say(write, doubted).await {
                Ok(Outcome::Applied) => return Ok(()),
                Ok(Outcome::Refused(found)) => found,
                Err(Unheard::Driver(error)) if never_ran(&error) => {
                    tracing::error!(room.id = %write.room, error = %error, "the servers refuse an append: {error}");
                    return Err(in_doubt(error));
                }
                Err(error) => {
                    doubted = true;
                    self.doubted();
                    match self.head_until(write, deadline).await {
                        Some(found) => found,
                        None => return Err(in_doubt(error)),
                    }
                }
            };
            if found != write.held {
                let decided = self.decide(write, found, doubted).await;
                if decided.is_ok() && unmoved {
                    self.counts.late.fetch_add(1, Relaxed);
                }
                return decided;
            }
            unmoved = true;
            if Instant::now() + pause >= deadline {
                return Err(in_doubt(Undecided(write.room)));
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Sends the conditional write once.
    async fn say(&self, write: &Write, again: bool) -> Result<Outcome, Unheard> {
        let hash = &write.new.hash.0[..];
        let values = (
            whole(write.new.seq),
            hash,
            hash,
            &write.chunk[..],
            write.room.0,
            write.bucket,
            whole(write.expected.seq + 1),
            write.held.map(|head| whole(head.seq)),
            write.held.as_ref().map(|head| &head.hash.0[..]),
        );
        let statement = &self.statements.append[usize::from(again)];
        let told = self.run(statement, values).await;
        let told = told.map_err(|error| Unheard::Driver(Box::new(error)))?;
        Ok(answer::outcome(told)?)
    }

    /// The head of the bucket, exactly, asked for until `deadline`.
    async fn head_until(&self, write: &Write, deadline: Instant) -> Option<Option<Head>> {
        let mut pause = PAUSE.0;
        loop {
            match self.bucket_head(write.room, write.bucket).await {
                Ok(found) => return Some(found),
                Err(_) if Instant::now() + pause < deadline => sleep(jittered(pause)).await,
                Err(_) => return None,
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// What became of `write`, now that `found` is the head of its bucket and not what it expects.
    async fn decide(&self, write: &Write, found: Option<Head>, doubted: bool) -> Result<(), AppendError> {
        let room = write.room;
        let head = match found {
            Some(head) if head.seq >= write.new.seq => {
                if head == write.new || self.hash_at(write).await? == write.new.hash {
                    return Ok(());
                }
                head
            }
            Some(head) if head.seq >= write.expected.seq => head,
            // The caller's head lies ahead of the log. If others append up to there, what is
            // still on its way could be applied after all.
            _ if doubted => return Err(in_doubt(Undecided(room))),
            _ => return self.conflict(room).await,
        };
        // Not ours, and final: the head of the bucket has passed what is expected. Where it went
        // from there is only told as well as it can be.
        let end = self.follow(room, write.bucket, head).await;
        Err(AppendError::Conflict {
            head: end.unwrap_or(head),
        })
    }

    /// The hash of the entry that stands where the last one of `write` would.
    async fn hash_at(&self, write: &Write) -> Result<Hash, AppendError> {
        let seq = write.new.seq;
        let chunk = self.cover(write.room, write.bucket, seq, How::Exactly).await;
        let (entries, _) = chunk.map_err(not_read(write.room))?;
        let entry = entries.iter().find(|entry| entry.seq == seq);
        entry
            .map(|entry| entry.hash)
            .ok_or_else(|| not_read(write.room)(Fault::Corrupt(seq)))
    }

    async fn conflict<T>(&self, room: RoomId) -> Result<T, AppendError> {
        let tip = self.tip(room).await.map_err(not_read(room))?;
        Err(AppendError::Conflict { head: tip.head })
    }

    /// How many of `entries` go into one chunk of `bucket`: at least one. Always the same for the
    /// same entries, so that what is said again is the same.
    fn fitting<'a>(&self, bucket: i32, entries: &'a [Entry]) -> &'a [Entry] {
        let last = self.last_of(bucket);
        let mut bytes = 1;
        let count = entries
            .iter()
            .take(MAX_ENTRIES)
            .take_while(|entry| {
                bytes += chunk::size(entry);
                entry.seq <= last && bytes <= MAX_BYTES
            })
            .count();
        &entries[..count.clamp(1, entries.len())]
    }
}

/// Whether `entries` are a stretch of a chain, and can follow `expected`.
fn continues(room: RoomId, expected: Head, entries: &[Entry]) -> bool {
    let Some((first, rest)) = entries.split_first() else {
        return false;
    };
    if expected.seq == 0 {
        // Of a log's first entry everything is known.
        let mut tip = Tip::empty(room);
        return expected.hash == genesis(room) && entries.iter().all(|entry| tip.follow(entry).is_ok());
    }
    let mut tip = Tip::of(first);
    Some(first.seq) == expected.seq.checked_add(1)
        && i64::try_from(entries.len()).is_ok_and(|count| first.seq <= (i64::MAX - count).unsigned_abs())
        && link(expected.hash, first) == first.hash
        && rest.iter().all(|entry| tip.follow(entry).is_ok())
}

/// `seq` for CQL; beyond its range the largest, which no log reaches.
pub(super) fn whole(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
