//! Takes content out of chunks that are already written.
//!
//! A chunk is rewritten only if nobody has rewritten it meanwhile (`rev`) and it is the chunk that
//! was read (`hash`): so of two who rewrite one chunk neither brings back what the other took
//! out, and no row comes to be where there was none.

use tokio::time::{Instant, sleep};

use super::{
    answer,
    append::{PAUSE, whole},
    chunk,
    link::jittered,
    read::{ChunkRow, How},
    store::{Fault, Store},
};
use crate::domain::{entry::Entry, id::RoomId};

/// The servers do not say whether a chunk was rewritten, or others do so all the time.
#[derive(Debug, thiserror::Error)]
#[error("nobody can say yet whether what was to be erased is gone")]
struct Undecided;

/// A chunk, and what its next rewriting depends on.
struct Chunk {
    first: u64,
    rev: Option<i32>,
    hash: Vec<u8>,
    entries: Vec<Entry>,
}

impl Store {
    /// Takes out the content of `seqs`; how many of them had any.
    pub(super) async fn erase(&self, room: RoomId, seqs: &[u64]) -> Result<usize, Fault> {
        let deadline = Instant::now() + self.patience;
        let mut left: Vec<u64> = seqs.to_vec();
        left.sort_unstable();
        left.dedup();
        let mut erased = 0;
        let mut pause = PAUSE.0;
        while let Some(seq) = left.first().copied() {
            let bucket = self.bucket_of(seq).ok_or(Fault::Corrupt(seq))?;
            let mut chunk = self.chunk_of(room, bucket, seq).await?;
            let mut taken = 0;
            for entry in &mut chunk.entries {
                if left.binary_search(&entry.seq).is_ok() && entry.content.take().is_some() {
                    taken += 1;
                }
            }
            // Nothing to take out any more, or it was done now: else it is read and tried again.
            if taken == 0 || self.rewrite(room, bucket, &chunk).await == Some(true) {
                let last = chunk.entries.last().map_or(seq, |entry| entry.seq);
                left.retain(|seq| *seq > last);
                erased += taken;
                pause = PAUSE.0;
                continue;
            }
            if Instant::now() + pause >= deadline {
                return Err(Fault::unavailable(Undecided));
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
        Ok(erased)
    }

    /// The chunk that holds `seq`.
    async fn chunk_of(&self, room: RoomId, bucket: i32, seq: u64) -> Result<Chunk, Fault> {
        let statement = &self.statements.cover[How::Exactly as usize];
        let rows = self.rows(statement, (room.0, bucket, whole(seq))).await?;
        let row = rows
            .maybe_first_row::<ChunkRow<'_>>()
            .map_err(Fault::unavailable)?;
        let row = row.ok_or(Fault::Corrupt(seq))?;
        let entries = row.entries()?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(Fault::Corrupt(seq));
        };
        // What is not understood to its end must not be written anew.
        if last.seq < seq || Some(&last.hash.0[..]) != row.hash {
            return Err(Fault::Corrupt(seq));
        }
        Ok(Chunk {
            first: first.seq,
            rev: row.rev,
            hash: last.hash.0.to_vec(),
            entries,
        })
    }

    /// Writes `chunk` in the place of the one it was read as. `None`: nobody knows.
    async fn rewrite(&self, room: RoomId, bucket: i32, chunk: &Chunk) -> Option<bool> {
        let bytes = chunk::encode(&chunk.entries)?;
        let rev = chunk.rev.unwrap_or(0).checked_add(1)?;
        let values = (
            bytes,
            rev,
            room.0,
            bucket,
            whole(chunk.first),
            chunk.rev,
            &chunk.hash[..],
        );
        let result = self.run(&self.statements.rewrite, values).await.ok()?;
        answer::is_applied(result)
    }
}
