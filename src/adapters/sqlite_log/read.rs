//! Reads the log on a few connections of its own, beside the writer.
//!
//! What is returned was checked: it is gapless, each body matches its digest, and
//! each hash follows from the one before it, also from that of the entry before the page.

use std::{path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::Semaphore;

use super::{
    file,
    row::{self, Fault, columns},
};
use crate::{
    domain::{chain::Tip, entry::Entry, id::RoomId},
    ports::ReadError,
};

/// Reads at a time; more wait.
const CONNECTIONS: usize = 4;

/// How long a read may take, its wait for a connection included.
const DEADLINE: Duration = Duration::from_secs(5);

const FORWARD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM entries WHERE room = ?1 AND seq >= ?2 ORDER BY seq LIMIT ?3"
);
const BACKWARD: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM entries WHERE room = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3"
);
const LAST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM entries WHERE room = ?1 ORDER BY seq DESC LIMIT 1"
);
const ANY_FROM: &str = "SELECT 1 FROM entries WHERE room = ?1 AND seq >= ?2 LIMIT 1";

/// The reading side of a log.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Connections to the file at `path` are opened when they are needed.
    pub(super) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            idle: Mutex::new(Vec::with_capacity(CONNECTIONS)),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
        })
    }

    /// Closes the connections nobody uses at the moment.
    pub(super) fn close_idle(&self) {
        self.idle.lock().clear();
    }

    /// Runs `job` on a connection, on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        room: RoomId,
        job: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ReadError> {
        let this = Arc::clone(self);
        let work = async move {
            let permit = Arc::clone(&this.permits)
                .acquire_owned()
                .await
                .map_err(unavailable)?;
            tokio::task::spawn_blocking(move || {
                // Given back when the job ends, not when its caller stops waiting.
                let _permit = permit;
                this.on_connection(room, job)
            })
            .await
            .map_err(unavailable)?
        };
        tokio::time::timeout(DEADLINE, work).await.map_err(unavailable)?
    }

    fn on_connection<T>(
        &self,
        room: RoomId,
        job: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        let idle = self.idle.lock().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => file::reader(&self.path).map_err(unavailable)?,
        };
        match job(&conn) {
            Ok(found) => {
                self.idle.lock().push(conn);
                Ok(found)
            }
            Err(Fault::Corrupt(seq)) => {
                self.idle.lock().push(conn);
                tracing::error!(room.id = %room, seq, "the log of room {room} is damaged at seq {seq}");
                Err(ReadError::Corrupt { room, seq })
            }
            // The connection may be what is broken: the next read opens another one.
            Err(Fault::Sqlite(error)) => Err(unavailable(error)),
        }
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::Unavailable(Box::new(error))
}

/// Entries from `from` on, at most `limit`.
pub(super) fn forward(conn: &Connection, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, Fault> {
    let from = from.max(1);
    if limit == 0 {
        return Ok(Vec::new());
    }
    // One more than asked for, the entry before, from which the first one must follow.
    let before = (from - 1).max(1);
    let extra = usize::from(from > 1);
    let rows = select(conn, FORWARD, room, before, limit.saturating_add(extra))?;
    match rows.first() {
        Some(first) if first.seq != before => Err(Fault::Corrupt(before)),
        _ => follow(room, rows, extra == 1),
    }
}

/// The last `limit` entries before `before`, ascending.
pub(super) fn backward(
    conn: &Connection,
    room: RoomId,
    before: u64,
    limit: usize,
) -> Result<Vec<Entry>, Fault> {
    if limit == 0 || before <= 1 {
        return Ok(Vec::new());
    }
    let mut rows = select(conn, BACKWARD, room, before, limit.saturating_add(1))?;
    rows.reverse();
    let last = rows.last().map_or(0, |entry| entry.seq);
    if last + 1 < before && any_from(conn, room, before)? {
        return Err(Fault::Corrupt(last + 1));
    }
    let full = rows.len() > limit;
    match rows.first() {
        Some(first) if !full && first.seq != 1 => Err(Fault::Corrupt(first.seq - 1)),
        _ => follow(room, rows, full),
    }
}

/// The end of the log.
pub(super) fn tip(conn: &Connection, room: RoomId) -> Result<Tip, Fault> {
    let mut statement = conn.prepare_cached(LAST)?;
    let mut rows = statement.query([room.0.as_bytes()])?;
    match rows.next()? {
        Some(row) => Ok(Tip::of(&row::entry(row)?)),
        None => Ok(Tip::empty(room)),
    }
}

/// Checks that `rows` are a stretch of the room's chain. With `after_first` the first
/// one was only fetched to be followed; else it must be the log's first.
fn follow(room: RoomId, mut rows: Vec<Entry>, after_first: bool) -> Result<Vec<Entry>, Fault> {
    let mut tip = Tip::empty(room);
    if after_first && !rows.is_empty() {
        tip = Tip::of(&rows.remove(0));
    }
    for entry in &rows {
        let expected = tip.head.seq + 1;
        tip.follow(entry).map_err(|_| Fault::Corrupt(expected))?;
    }
    Ok(rows)
}

fn select(conn: &Connection, sql: &str, room: RoomId, seq: u64, limit: usize) -> Result<Vec<Entry>, Fault> {
    let mut statement = conn.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![room.0.as_bytes(), row::whole(seq), limit])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(row::entry(row)?);
    }
    Ok(entries)
}

fn any_from(conn: &Connection, room: RoomId, seq: u64) -> Result<bool, Fault> {
    let found = conn
        .prepare_cached(ANY_FROM)?
        .query_row(params![room.0.as_bytes(), row::whole(seq)], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}
