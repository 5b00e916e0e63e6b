//! Reads stretches of the log.
//!
//! A plain read of a majority sees all that is acknowledged, and nothing that could vanish. But
//! two servers that answer at slightly different moments may together show an entry without the one
//! before. So what does not fit is read once more, exactly; only what is wrong then is damage.

use std::ops::RangeInclusive;

use super::{
    append::whole,
    chunk,
    store::{Fault, Store},
};
use crate::domain::{chain::Tip, entry::Entry, id::RoomId};

/// Chunks asked for at once.
const ROWS: usize = 128;

/// How well a read has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// All that is acknowledged.
    Well,
    /// All that is decided, in one moment for each bucket.
    Exactly,
}

/// A chunk as it is stored, beside the head of its bucket.
#[derive(scylla::DeserializeRow)]
pub(super) struct ChunkRow<'a> {
    pub(super) head_seq: Option<i64>,
    pub(super) head_hash: Option<&'a [u8]>,
    pub(super) first_seq: Option<i64>,
    pub(super) rev: Option<i32>,
    pub(super) hash: Option<&'a [u8]>,
    pub(super) chunk: Option<&'a [u8]>,
}

impl ChunkRow<'_> {
    /// The bucket's head.
    fn head(&self) -> u64 {
        number(self.head_seq).unwrap_or(0)
    }

    /// The chunk's entries; a head without a chunk is damage.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Fault> {
        match (number(self.first_seq), self.chunk) {
            (Some(first), Some(chunk)) => Ok(chunk::decode(first, chunk)),
            (first, _) => Err(Fault::Corrupt(first.unwrap_or_else(|| self.head()))),
        }
    }
}

fn number(column: Option<i64>) -> Option<u64> {
    column.and_then(|seq| u64::try_from(seq).ok())
}

impl Store {
    /// See [`crate::ports::RoomLog::read`].
    pub(super) async fn forward(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, Fault> {
        let from = from.max(1);
        let last = from.saturating_add(limit as u64 - u64::from(limit > 0));
        if limit == 0 {
            return Ok(Vec::new());
        }
        // One more than asked for, the entry before, from which the first one must follow.
        let before = (from - 1).max(1);
        let mut entries = self.checked(room, before..=last).await?;
        if from > 1 && !entries.is_empty() {
            entries.remove(0);
        }
        Ok(entries)
    }

    /// See [`crate::ports::RoomLog::read_back`].
    pub(super) async fn backward(
        &self,
        room: RoomId,
        before: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, Fault> {
        let mut last = before.saturating_sub(1);
        if limit == 0 || last == 0 {
            return Ok(Vec::new());
        }
        let first = |last: u64| last.saturating_sub(limit as u64).max(1);
        let mut entries = self.checked(room, first(last)..=last).await?;
        if entries.last().is_none_or(|entry| entry.seq < last) {
            // The log ends before: there the page ends too, and begins as much earlier.
            last = self.tip(room).await?.head.seq.min(last);
            if last == 0 {
                return Ok(Vec::new());
            }
            entries = self.checked(room, first(last)..=last).await?;
        }
        let surplus = entries.len().saturating_sub(limit);
        entries.drain(..surplus);
        Ok(entries)
    }

    /// The entries of `range` that the log has, in order and checked.
    async fn checked(&self, room: RoomId, range: RangeInclusive<u64>) -> Result<Vec<Entry>, Fault> {
        match self.checked_once(room, range.clone(), How::Well).await {
            Err(Fault::Corrupt(_)) => self.checked_once(room, range, How::Exactly).await,
            told => told,
        }
    }

    async fn checked_once(
        &self,
        room: RoomId,
        range: RangeInclusive<u64>,
        how: How,
    ) -> Result<Vec<Entry>, Fault> {
        let first = *range.start();
        let (entries, hole) = self.load(room, range, how).await?;
        let entries = follow(room, first, entries)?;
        match hole {
            Some(seq) => Err(Fault::Corrupt(seq)),
            None => Ok(entries),
        }
    }

    /// The entries of `range` that the log has, and the number at which it has a hole behind them.
    async fn load(
        &self,
        room: RoomId,
        range: RangeInclusive<u64>,
        how: How,
    ) -> Result<(Vec<Entry>, Option<u64>), Fault> {
        let (mut from, last) = range.into_inner();
        let mut entries: Vec<Entry> = Vec::new();
        while from <= last
            && let Some(bucket) = self.bucket_of(from)
        {
            let end = last.min(self.last_of(bucket));
            let (found, head) = self.load_bucket(room, bucket, from..=end, how).await?;
            let next = found.last().map_or(from, |entry| entry.seq.saturating_add(1));
            entries.extend(found);
            if next <= end.min(head) {
                return Ok((entries, Some(next)));
            }
            if next <= end {
                break;
            }
            from = next;
        }
        Ok((entries, None))
    }

    /// The entries of `range` in `bucket`, and up to where the bucket is known to be filled.
    async fn load_bucket(
        &self,
        room: RoomId,
        bucket: i32,
        range: RangeInclusive<u64>,
        how: How,
    ) -> Result<(Vec<Entry>, u64), Fault> {
        let (from, last) = range.clone().into_inner();
        let (mut entries, head);
        match how {
            How::Well => {
                // The chunk that holds the first one may begin before it.
                let cover = self.cover(room, bucket, from, how);
                let after = self.after(room, bucket, from, last, how);
                let ((covering, covered), (rest, newer)) = tokio::try_join!(cover, after)?;
                entries = covering;
                entries.extend(rest);
                head = newer.or(covered);
            }
            How::Exactly => {
                // One after the other, each from where the one before has ended: what is
                // appended in between is no hole, for the head is older than all of it.
                head = Some(self.filled_to(room, bucket).await?);
                entries = self.cover(room, bucket, from, how).await?.0;
                let end = entries.last().map_or(0, |entry| entry.seq).max(from - 1);
                entries.extend(self.after(room, bucket, end, last, how).await?.0);
            }
        }
        let head = match head {
            Some(head) => head,
            // No row is no sign of an empty bucket where rows can be lost.
            None => self.filled_to(room, bucket).await?,
        };
        entries.retain(|entry| range.contains(&entry.seq));
        Ok((entries, head))
    }

    /// The last number in `bucket`, exactly; 0 while it is empty.
    async fn filled_to(&self, room: RoomId, bucket: i32) -> Result<u64, Fault> {
        let head = self.bucket_head(room, bucket).await?;
        Ok(head.map_or(0, |head| head.seq))
    }

    /// The entries of the chunk of `bucket` that begins at `seq` or before, and the bucket's head.
    pub(super) async fn cover(
        &self,
        room: RoomId,
        bucket: i32,
        seq: u64,
        how: How,
    ) -> Result<(Vec<Entry>, Option<u64>), Fault> {
        let statement = &self.statements.cover[how as usize];
        let rows = self.rows(statement, (room.0, bucket, whole(seq))).await?;
        let row = rows
            .maybe_first_row::<ChunkRow<'_>>()
            .map_err(Fault::unavailable)?;
        match row {
            Some(row) => Ok((row.entries()?, Some(row.head()))),
            None => Ok((Vec::new(), None)),
        }
    }

    /// The entries of the chunks of `bucket` that begin behind `seq` up to `last`, and the
    /// bucket's head, unless there are none.
    async fn after(
        &self,
        room: RoomId,
        bucket: i32,
        mut seq: u64,
        last: u64,
        how: How,
    ) -> Result<(Vec<Entry>, Option<u64>), Fault> {
        let statement = &self.statements.after[how as usize];
        let (mut entries, mut head) = (Vec::new(), None);
        while seq < last {
            // A chunk has at least one entry.
            let limit = usize::try_from(last - seq).map_or(ROWS, |left| left.min(ROWS));
            let values = (
                room.0,
                bucket,
                whole(seq),
                whole(last),
                i32::try_from(limit).unwrap_or(i32::MAX),
            );
            let rows = self.rows(statement, values).await?;
            for row in rows.rows::<ChunkRow<'_>>().map_err(Fault::unavailable)? {
                let row = row.map_err(Fault::unavailable)?;
                head = Some(row.head());
                seq = number(row.first_seq).unwrap_or(last);
                entries.extend(row.entries()?);
            }
            if rows.rows_num() < limit {
                break;
            }
        }
        Ok((entries, head))
    }
}

/// Checks that `entries` are the stretch of the room's chain from `first` on. Where that is not
/// the chain's beginning, the first of them can only be followed.
fn follow(room: RoomId, first: u64, entries: Vec<Entry>) -> Result<Vec<Entry>, Fault> {
    let Some(start) = entries.first() else {
        return Ok(entries);
    };
    if start.seq != first {
        return Err(Fault::Corrupt(first));
    }
    let (mut tip, unchecked) = match first {
        1 => (Tip::empty(room), &entries[..]),
        _ => (Tip::of(start), &entries[1..]),
    };
    for entry in unchecked {
        let expected = tip.head.seq + 1;
        tip.follow(entry).map_err(|_| Fault::Corrupt(expected))?;
    }
    Ok(entries)
}
