//! Where in the log a number is: buckets, and the search for the last of them.
//!
//! A bucket holds a fixed range of numbers, so a number says its bucket. A bucket whose head is
//! its last number is full and final; the next one begins with the head of the one before. As
//! they are filled in order, a search that doubles its steps finds the last one.

use std::time::Duration;

use super::{
    answer,
    read::ChunkRow,
    store::{Fault, Store},
};
use crate::domain::{
    chain::Tip,
    entry::{Entry, Head},
    id::RoomId,
};

/// How long a hint may hold up what matters.
const HINT_WAIT: Duration = Duration::from_millis(200);

/// A bucket's head, and the chunk that ends there.
pub(super) struct Newest {
    pub(super) head: Head,
    /// The last entry; `None` where the last chunk does not end in the head.
    pub(super) last: Option<Entry>,
}

impl Store {
    /// The bucket of the number `seq`, from 1 on; `None` beyond what the log can ever hold.
    pub(super) fn bucket_of(&self, seq: u64) -> Option<i32> {
        i32::try_from(seq.checked_sub(1)? / self.tuning.bucket).ok()
    }

    /// The first number of `bucket`.
    pub(super) fn first_of(&self, bucket: i32) -> u64 {
        u64::from(bucket.unsigned_abs()) * self.tuning.bucket + 1
    }

    /// The last number of `bucket`.
    pub(super) fn last_of(&self, bucket: i32) -> u64 {
        self.first_of(bucket) + self.tuning.bucket - 1
    }

    /// The head of `bucket`, exactly; `None` while nothing is written there.
    pub(super) async fn bucket_head(&self, room: RoomId, bucket: i32) -> Result<Option<Head>, Fault> {
        let rows = self.rows(&self.statements.head, (room.0, bucket)).await?;
        let row = rows
            .maybe_first_row::<(uuid::Uuid, i32, Option<i64>, Option<&[u8]>)>()
            .map_err(Fault::unavailable)?;
        self.head_in(bucket, row.and_then(|row| row.2.zip(row.3)))
    }

    /// The head of `bucket` and its last entry, exactly.
    pub(super) async fn newest(&self, room: RoomId, bucket: i32) -> Result<Option<Newest>, Fault> {
        let rows = self.rows(&self.statements.newest, (room.0, bucket)).await?;
        let row = rows
            .maybe_first_row::<ChunkRow<'_>>()
            .map_err(Fault::unavailable)?;
        let Some(row) = row else { return Ok(None) };
        let entries = row.entries()?;
        let Some(head) = self.head_in(bucket, row.head_seq.zip(row.head_hash))? else {
            return Err(Fault::Corrupt(self.first_of(bucket)));
        };
        let last = entries.into_iter().next_back();
        Ok(Some(Newest {
            head,
            last: last.filter(|entry| entry.head() == head),
        }))
    }

    /// Checks a head as it is stored.
    fn head_in(&self, bucket: i32, stored: Option<(i64, &[u8])>) -> Result<Option<Head>, Fault> {
        let Some((seq, hash)) = stored else {
            return Ok(None);
        };
        let (first, last) = (self.first_of(bucket), self.last_of(bucket));
        match answer::head(seq, hash) {
            Some(head) if (first..=last).contains(&head.seq) => Ok(Some(head)),
            _ => Err(Fault::Corrupt(first)),
        }
    }

    /// The end of the log.
    pub(super) async fn tip(&self, room: RoomId) -> Result<Tip, Fault> {
        // Most rooms stay in their first bucket: it is asked for beside the hint.
        let (hint, first) = tokio::join!(self.hint(room), self.newest(room, 0));
        let Some(mut end) = first? else {
            return Ok(Tip::empty(room));
        };
        let known = hint.unwrap_or(0);
        let (mut bucket, mut hint) = (0, known);
        let mut step = 1;
        while end.head.seq == self.last_of(bucket) {
            // The hint is one more place to look at: old, lost or wrong, it costs steps only.
            let probe = if hint > bucket {
                hint
            } else {
                bucket.saturating_add(step)
            };
            match self.newest(room, probe).await? {
                Some(found) => {
                    step = if hint > bucket { 1 } else { step.saturating_mul(2) };
                    (bucket, end) = (probe, found);
                }
                None if hint > bucket => {}
                None if step == 1 => break,
                None => step /= 2,
            }
            hint = 0;
        }
        if bucket > known {
            self.set_hint(room, bucket).await;
        }
        match end.last {
            Some(last) => Ok(Tip::of(&last)),
            None => Err(Fault::Corrupt(end.head.seq)),
        }
    }

    /// From the head of `bucket` to the log's.
    pub(super) async fn follow(&self, room: RoomId, mut bucket: i32, mut head: Head) -> Result<Head, Fault> {
        while head.seq == self.last_of(bucket) {
            bucket += 1;
            match self.bucket_head(room, bucket).await? {
                Some(next) => head = next,
                None => break,
            }
        }
        Ok(head)
    }

    async fn hint(&self, room: RoomId) -> Option<i32> {
        let rows = self.rows(&self.statements.hint, (room.0,)).await.ok()?;
        let (bucket,) = rows.maybe_first_row::<(Option<i32>,)>().ok()??;
        bucket.filter(|bucket| *bucket > 0)
    }

    /// Notes that the room has reached `bucket`. May fail: it is only a hint.
    pub(super) async fn set_hint(&self, room: RoomId, bucket: i32) {
        let values = (i64::from(bucket), bucket, room.0);
        let write = self.run(&self.statements.set_hint, values);
        let _ = tokio::time::timeout(HINT_WAIT, write).await;
    }
}
