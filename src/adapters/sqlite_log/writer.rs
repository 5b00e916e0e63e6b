//! The one thread that appends, with group commit over all rooms.
//!
//! It takes what has come meanwhile, writes it in one transaction, and answers
//! when COMMIT has returned, which is after the write-ahead log is on disk.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use rusqlite::{Connection, ErrorCode as SqliteCode, OptionalExtension, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    file,
    read::tip,
    row::{self, Fault},
};
use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Hash, Head},
        id::RoomId,
    },
    ports::{AppendError, Appended, ReadError},
};

/// Appends of one transaction.
const MAX_APPENDS: usize = 1_024;

/// Bytes of one transaction; the append that passes the mark is still in it.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Rooms whose tip is kept in memory; about 100 bytes each.
const MAX_TIPS: usize = 65_536;

/// Pages in the write-ahead log from which on it is emptied when nothing waits (4 MiB) ...
const CHECKPOINT_IDLE: i64 = 1_024;

/// ... and when something does (64 MiB).
const CHECKPOINT_BUSY: i64 = 16_384;

/// An append on its way to the writer.
pub(super) struct Append {
    pub(super) room: RoomId,
    pub(super) expected: Head,
    pub(super) entries: Arc<[Entry]>,
    pub(super) answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// What a transaction says to one append, to be told once it is committed.
enum Verdict {
    /// All of it is in the log now.
    Written,
    /// All of it was in the log before.
    Held,
    /// None of it will ever be.
    Conflict(Head),
    /// The log's end, at this seq, cannot be understood; nothing was written.
    Damaged(u64),
}

/// The state of the thread.
pub(super) struct Writer {
    path: PathBuf,
    queue: mpsc::Receiver<Append>,
    conn: Connection,
    /// Ends of logs as committed; a room that is not in it is looked up.
    tips: HashMap<RoomId, Tip>,
    /// Whether the last transaction failed: a spell of failures is logged once.
    failing: bool,
}

impl Writer {
    pub(super) fn new(path: PathBuf, conn: Connection, queue: mpsc::Receiver<Append>) -> Self {
        Self {
            path,
            queue,
            conn,
            tips: HashMap::new(),
            failing: false,
        }
    }

    /// Serves until every sender is gone and the queue is empty.
    pub(super) fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let batch = self.gather(first);
            if !batch.is_empty() {
                self.serve(batch);
                self.checkpoint_if_due();
            }
        }
        // Leaves one file behind; what it cannot empty now, the next start does.
        let _ = checkpoint(&self.conn, "TRUNCATE");
    }

    /// `first` and what waits behind it, without those whose caller has given up.
    fn gather(&mut self, first: Append) -> Vec<Append> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(append) = next {
            if !append.answer.is_closed() {
                bytes += append.entries.iter().map(Entry::weight).sum::<usize>();
                batch.push(append);
            }
            if batch.len() >= MAX_APPENDS || bytes >= MAX_BYTES {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        batch
    }

    fn serve(&mut self, batch: Vec<Append>) {
        match self.commit(&batch) {
            Ok((verdicts, tips)) => {
                if self.tips.len() + tips.len() > MAX_TIPS {
                    self.tips.clear();
                }
                self.tips.extend(tips);
                for (append, verdict) in batch.into_iter().zip(verdicts) {
                    answer(append, &verdict);
                }
                if self.failing {
                    self.failing = false;
                    tracing::info!("the log takes appends again");
                }
            }
            Err(error) => self.fail(batch, error),
        }
    }

    /// Writes `batch` in one transaction. What it returns is true only because it is committed.
    fn commit(&mut self, batch: &[Append]) -> rusqlite::Result<(Vec<Verdict>, HashMap<RoomId, Tip>)> {
        let tx = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tips = HashMap::new();
        let mut verdicts = Vec::with_capacity(batch.len());
        for append in batch {
            let known = tips.get(&append.room).or_else(|| self.tips.get(&append.room));
            let end = match known.map_or_else(|| tip(&tx, append.room), |end| Ok(*end)) {
                Ok(end) => end,
                Err(Fault::Sqlite(error)) => return Err(error),
                Err(Fault::Corrupt(seq)) => {
                    verdicts.push(Verdict::Damaged(seq));
                    continue;
                }
            };
            let (verdict, end) = judge(&tx, end, append)?;
            if let Verdict::Written = verdict {
                for entry in append.entries.iter() {
                    row::insert(&tx, append.room, entry)?;
                }
            }
            tips.insert(append.room, end);
            verdicts.push(verdict);
        }
        tx.commit()?;
        Ok((verdicts, tips))
    }

    /// Answers a transaction that was not committed, or perhaps was.
    fn fail(&mut self, batch: Vec<Append>, error: rusqlite::Error) {
        if !self.failing {
            self.failing = true;
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the log cannot append: {error}"
            );
        }
        for append in &batch {
            self.tips.remove(&append.room);
        }
        let sound = matches!(
            error.sqlite_error_code(),
            Some(SqliteCode::DiskFull | SqliteCode::DatabaseBusy | SqliteCode::ConstraintViolation)
        );
        // The new connection is open before the old one is closed: with none open, the
        // next one would take up again what a failed sync has left in the write-ahead log.
        if (!sound || !self.conn.is_autocommit())
            && let Ok(conn) = file::writer(&self.path)
        {
            self.conn = conn;
        }
        let error = Arc::new(error);
        for append in batch {
            let source = Box::new(Arc::clone(&error));
            // Nobody listens any more: as good as told.
            let _ = append.answer.send(Err(AppendError::InDoubt(Some(source))));
        }
        // On a full disk the write-ahead log cannot grow: emptied, its space can be used again.
        let _ = checkpoint(&self.conn, "PASSIVE");
    }

    /// Empties the write-ahead log into the file when it has grown, after everyone is
    /// answered: who appends meanwhile waits, who reads does not.
    fn checkpoint_if_due(&self) {
        let due = if self.queue.is_empty() {
            CHECKPOINT_IDLE
        } else {
            CHECKPOINT_BUSY
        };
        let Ok(pending) = checkpoint(&self.conn, "NOOP") else {
            return;
        };
        if pending >= due
            && let Err(error) = checkpoint(&self.conn, "PASSIVE")
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                pages = pending,
                "the log's write-ahead file cannot be emptied: {error}"
            );
        }
    }
}

/// What becomes of `append` on a log that ends at `end`, and where the log ends then.
fn judge(conn: &Connection, end: Tip, append: &Append) -> rusqlite::Result<(Verdict, Tip)> {
    let Some(last) = append.entries.last() else {
        return Ok((Verdict::Conflict(end.head), end));
    };
    if end.head == append.expected {
        let mut next = end;
        let fits = append
            .entries
            .iter()
            .all(|entry| row::is_storable(entry) && next.follow(entry).is_ok());
        if fits {
            return Ok((Verdict::Written, next));
        }
        // A fault of the caller. Written, it would make the room unreadable for good.
        tracing::error!(
            room.id = %append.room,
            seq = last.seq,
            "entries that break the chain of room {} were refused",
            append.room
        );
    } else if append.expected.seq < last.seq
        && last.seq <= end.head.seq
        && stored_hash(conn, append.room, last.seq)? == Some(last.hash)
    {
        // The hash covers every byte up to there: these very entries were written before.
        return Ok((Verdict::Held, end));
    }
    Ok((Verdict::Conflict(end.head), end))
}

fn answer(append: Append, verdict: &Verdict) {
    let told = match (verdict, append.entries.last()) {
        (Verdict::Conflict(head), _) => Err(AppendError::Conflict { head: *head }),
        (Verdict::Damaged(seq), _) => {
            let damaged = ReadError::Corrupt {
                room: append.room,
                seq: *seq,
            };
            Err(AppendError::InDoubt(Some(Box::new(damaged))))
        }
        (Verdict::Written | Verdict::Held, Some(last)) => Ok(Appended {
            head: last.head(),
            taken: append.entries.len(),
        }),
        (Verdict::Written | Verdict::Held, None) => Err(AppendError::Conflict {
            head: append.expected,
        }),
    };
    // Nobody listens any more: the caller asks again with the same entries.
    let _ = append.answer.send(told);
}

fn stored_hash(conn: &Connection, room: RoomId, seq: u64) -> rusqlite::Result<Option<Hash>> {
    conn.prepare_cached("SELECT hash FROM entries WHERE room = ?1 AND seq = ?2")?
        .query_row(params![room.0.as_bytes(), row::whole(seq)], |row| row.get(0))
        .optional()
        .map(|hash| hash.map(Hash))
}

/// Runs a checkpoint; how many pages of the write-ahead log are not in the file behind it.
pub(super) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<i64> {
    conn.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
        .query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}
