//! The rooms' logs: copied and compared entry by entry, several rooms at a time.
//!
//! Which rooms there are, the relational store says: a log that no event names is not
//! copied, as nobody could read it in the target either.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rand::Rng as _;
use tokio::time::Instant;

use super::{Copied, CopyError, Difference, Place, Progress, Side};
use crate::{
    adapters::sql::tables,
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        id::{EventId, RoomId},
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};

/// Rooms at a time.
const ROOMS: usize = 8;

/// Events asked for in one go.
const EVENTS: i64 = 200;

/// Entries read in one go.
const PAGE: usize = 256;

/// Bytes of one append; an entry that is heavier goes alone.
const APPEND_BYTES: usize = 256 * 1024;

/// How long a log that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Entries between two reports.
const REPORT: u64 = 10_000;

/// A room on its way.
#[derive(Clone, Copy)]
struct Record {
    event: EventId,
    room: RoomId,
}

/// Makes sure that whatever `to` has of each record is the beginning of that of `from`.
pub(super) async fn check(from: &Place, to: &Place) -> Result<(), CopyError> {
    let counts = Counts::new(&|_| {});
    each(from, &counts, async |record| {
        common(from, to, record).await.map(|_| ())
    })
    .await
}

/// Appends what the target lacks of every room; how many entries that were.
pub(super) async fn copy(
    from: &Place,
    to: &Place,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<u64, CopyError> {
    let counts = Counts::new(tell);
    each(from, &counts, async |record| {
        copy_room(from, to, record, &counts).await
    })
    .await?;
    Ok(counts.new.into_inner())
}

/// Reads every room from both sides, follows its chain and compares entry by entry.
pub(super) async fn compare(
    from: &Place,
    to: &Place,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Copied, CopyError> {
    let counts = Counts::new(tell);
    each(from, &counts, async |record| {
        compare_room(from, to, record, &counts).await
    })
    .await?;
    Ok(Copied {
        rooms: counts.rooms.into_inner(),
        entries: counts.entries.into_inner(),
        erased: counts.erased.into_inner(),
        ..Copied::default()
    })
}

/// Does `work` with every room that `place` names; the first failure ends it.
async fn each(
    place: &Place,
    counts: &Counts<'_>,
    work: impl AsyncFn(Record) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let mut after = EventId(0);
    loop {
        let page = {
            let mut conn = place
                .sql
                .get()
                .await
                .map_err(|error| CopyError::Store(Side::Source, error))?;
            tables::rooms_after(&mut conn, after, EVENTS)
                .await
                .map_err(|error| CopyError::Store(Side::Source, error))?
        };
        let Some((last, _)) = page.last() else { break };
        after = *last;
        stream::iter(page)
            .map(|(event, room)| work(Record { event, room }))
            .buffer_unordered(ROOMS)
            .try_for_each(async |()| {
                counts.rooms.fetch_add(1, Relaxed);
                Ok(())
            })
            .await?;
    }
    counts.report();
    Ok(())
}

async fn copy_room(from: &Place, to: &Place, record: Record, counts: &Counts<'_>) -> Result<(), CopyError> {
    let Record { event, room } = record;
    let end = patiently(Side::Source, || from.log.tip(room)).await?;
    let mut at = common(from, to, record).await?;
    while at.head.seq < end.head.seq {
        let page = patiently(Side::Source, || from.log.read(room, at.head.seq + 1, PAGE)).await?;
        let mut checked = at;
        for entry in &page {
            follow(&mut checked, entry, Side::Source, event)?;
        }
        let mut rest = &page[..];
        if rest.is_empty() {
            // The tip was there a moment ago.
            let seq = at.head.seq + 1;
            return Err(CopyError::Differs(Difference::Entry { event, seq }));
        }
        while !rest.is_empty() {
            let batch: Arc<[Entry]> = rest[..fitting(rest)].into();
            let taken = append(&*to.log, record, at.head, batch).await?.taken;
            let (done, left) = rest.split_at(taken.min(rest.len()));
            at = done.last().map_or(at, Tip::of);
            rest = left;
            counts.add(taken);
            counts.new.fetch_add(taken as u64, Relaxed);
        }
    }
    Ok(())
}

/// Where the target's record ends, which has to be a place on the source's chain: its hash
/// covers everything before it.
async fn common(from: &Place, to: &Place, Record { event, room }: Record) -> Result<Tip, CopyError> {
    let at = patiently(Side::Target, || to.log.tip(room)).await?;
    let seq = at.head.seq;
    let there = if seq == 0 {
        Tip::empty(room)
    } else {
        let entries = patiently(Side::Source, || from.log.read(room, seq, 1)).await?;
        entries.first().map_or_else(|| Tip::empty(room), Tip::of)
    };
    if at == there {
        Ok(at)
    } else {
        Err(CopyError::Foreign(Difference::Entry { event, seq }))
    }
}

async fn compare_room(
    from: &Place,
    to: &Place,
    record: Record,
    counts: &Counts<'_>,
) -> Result<(), CopyError> {
    let Record { event, room } = record;
    let mut at = Tip::empty(room);
    loop {
        let next = at.head.seq + 1;
        let (ours, theirs) = tokio::try_join!(
            patiently(Side::Source, || from.log.read(room, next, PAGE)),
            patiently(Side::Target, || to.log.read(room, next, PAGE)),
        )?;
        if ours.is_empty() && theirs.is_empty() {
            break;
        }
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if ours != theirs {
                let seq = at.head.seq + 1;
                return Err(CopyError::Differs(Difference::Entry { event, seq }));
            }
            follow(&mut at, theirs, Side::Target, event)?;
            counts
                .erased
                .fetch_add(u64::from(theirs.content.is_none()), Relaxed);
        }
        let both = ours.len().min(theirs.len());
        counts.add(both);
        if both == 0 {
            let seq = next;
            return Err(CopyError::Differs(Difference::Entry { event, seq }));
        }
    }
    for (side, place) in [(Side::Source, from), (Side::Target, to)] {
        if patiently(side, || place.log.tip(room)).await? != at {
            let seq = at.head.seq + 1;
            return Err(CopyError::Differs(Difference::Entry { event, seq }));
        }
    }
    Ok(())
}

fn follow(at: &mut Tip, entry: &Entry, side: Side, event: EventId) -> Result<(), CopyError> {
    let seq = at.head.seq + 1;
    at.follow(entry).map_err(|source| CopyError::Damaged {
        side,
        event,
        seq,
        source,
    })
}

/// How many of `entries` go into one append: at least one.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fit = entries.iter().take_while(|entry| {
        bytes += entry.weight();
        bytes <= APPEND_BYTES
    });
    fit.count().max(1)
}

/// Appends, repeating the very same call while it is in doubt.
async fn append(
    log: &dyn RoomLog,
    Record { event, room }: Record,
    expected: Head,
    entries: Arc<[Entry]>,
) -> Result<Appended, CopyError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match log.append(room, expected, Arc::clone(&entries)).await {
            Ok(appended) => return Ok(appended),
            Err(AppendError::InDoubt(_)) if Instant::now() < give_up => pause().await,
            Err(source) => return Err(CopyError::Append { event, source }),
        }
    }
}

/// Reads, again while the log does not answer.
async fn patiently<T, F: Future<Output = Result<T, ReadError>>>(
    side: Side,
    read: impl Fn() -> F,
) -> Result<T, CopyError> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match read().await {
            Ok(found) => return Ok(found),
            Err(ReadError::Unavailable(_)) if Instant::now() < give_up => pause().await,
            Err(error) => return Err(CopyError::Log(side, error)),
        }
    }
}

async fn pause() {
    let ms = rand::rng().random_range(100..400);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

struct Counts<'a> {
    rooms: AtomicU64,
    entries: AtomicU64,
    erased: AtomicU64,
    new: AtomicU64,
    tell: &'a (dyn Fn(Progress) + Sync),
}

impl<'a> Counts<'a> {
    fn new(tell: &'a (dyn Fn(Progress) + Sync)) -> Self {
        Self {
            rooms: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            erased: AtomicU64::new(0),
            new: AtomicU64::new(0),
            tell,
        }
    }

    fn add(&self, entries: usize) {
        let entries = entries as u64;
        let before = self.entries.fetch_add(entries, Relaxed);
        if before / REPORT != (before + entries) / REPORT {
            self.report();
        }
    }

    fn report(&self) {
        (self.tell)(Progress::Logs {
            rooms: self.rooms.load(Relaxed),
            entries: self.entries.load(Relaxed),
        });
    }
}
