//! The rooms' log in one SQLite file of its own, `chat.db`.
//!
//! - `file`: the schema, and connections that are set up right.
//! - `row`: an entry as a row, and back.
//! - `writer`: the one thread that appends, with group commit over all rooms.
//! - `read`: a few connections that read beside it.

mod file;
mod read;
mod row;
mod writer;

use std::{
    path::Path,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub use self::file::OpenError;
use self::{
    read::Readers,
    writer::{Append, Writer},
};
use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        id::RoomId,
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};

/// Appends that wait for the writer; more wait outside, without a thread.
///
/// A room has one append in flight, and the entries stay shared with it: the
/// queue itself holds no bytes of theirs.
const QUEUE: usize = 1_024;

/// How long an append waits for its answer, the wait for a place in the queue included.
const APPEND_DEADLINE: Duration = Duration::from_secs(10);

/// How long [`SqliteLog::close`] waits for the writer.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// The durable record of every room, in one file.
///
/// An append is answered when SQLite has synced its write-ahead log
/// (`synchronous=FULL`); a read never sees what is not synced.
pub struct SqliteLog {
    queue: Mutex<Option<mpsc::Sender<Append>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Readers>,
}

impl SqliteLog {
    /// Opens the log at `path`, creates it if there is none, and starts its writer.
    ///
    /// Blocks on the disk. One process at a time may append: the caller holds a lock.
    ///
    /// # Errors
    /// The file cannot be used, is of something else, or of a later version.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let conn = file::prepare(path)?;
        // A failure only leaves the file of the write-ahead log as long as it is.
        let _ = writer::checkpoint(&conn, "TRUNCATE");
        Self::start(path, conn)
    }

    /// Opens the log at `path` to read it, also beside a process that appends.
    ///
    /// Every append is answered [`AppendError::InDoubt`].
    ///
    /// # Errors
    /// As [`SqliteLog::open`]; also when there is no such file.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        file::check(path)?;
        Ok(Self {
            queue: Mutex::new(None),
            writer: Mutex::new(None),
            readers: Readers::new(path.to_owned()),
        })
    }

    fn start(path: &Path, conn: rusqlite::Connection) -> Result<Self, OpenError> {
        let (queue, appends) = mpsc::channel(QUEUE);
        let writer = Writer::new(path.to_owned(), conn, appends);
        let thread = thread::Builder::new()
            .name("room-log".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Io {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(thread)),
            readers: Readers::new(path.to_owned()),
        })
    }

    /// Takes no more appends, writes what waits, empties the write-ahead log and ends the writer.
    ///
    /// A second call returns at once. Without it the same happens in the background
    /// when the log is dropped.
    pub async fn close(&self) {
        drop(self.queue.lock().take());
        self.readers.close_idle();
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(move || writer.join().is_ok());
        match tokio::time::timeout(CLOSE_DEADLINE, joined).await {
            Ok(Ok(true)) => {}
            Ok(_) => tracing::error!("the log's writer had panicked"),
            Err(_) => tracing::error!("the log's writer did not finish in time"),
        }
    }
}

impl std::fmt::Debug for SqliteLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLog").finish_non_exhaustive()
    }
}

/// The log takes no appends: it is closed, or open for reading only.
#[derive(Debug, thiserror::Error)]
#[error("the log takes no appends")]
struct Closed;

#[async_trait]
impl RoomLog for SqliteLog {
    async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError> {
        let queue = self.queue.lock().clone();
        let work = async {
            let (answer, told) = oneshot::channel();
            let append = Append {
                room,
                expected,
                entries,
                answer,
            };
            queue.ok_or(Closed)?.send(append).await.map_err(|_| Closed)?;
            told.await.map_err(|_| Closed)
        };
        match tokio::time::timeout(APPEND_DEADLINE, work).await {
            Ok(Ok(told)) => told,
            Ok(Err(closed)) => Err(AppendError::InDoubt(Some(Box::new(closed)))),
            Err(elapsed) => Err(AppendError::InDoubt(Some(Box::new(elapsed)))),
        }
    }

    async fn read(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.readers
            .run(room, move |conn| read::forward(conn, room, from, limit))
            .await
    }

    async fn read_back(&self, room: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.readers
            .run(room, move |conn| read::backward(conn, room, before, limit))
            .await
    }

    async fn tip(&self, room: RoomId) -> Result<Tip, ReadError> {
        self.readers.run(room, move |conn| read::tip(conn, room)).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

#[cfg(test)]
mod tests;
