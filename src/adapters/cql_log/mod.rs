//! The rooms' log in `ScyllaDB` or Cassandra.
//!
//! A room's entries lie in buckets of a fixed number of entries, each a partition; an append is
//! one row of it, a chunk, and one conditional UPDATE that moves the bucket's head as well. There
//! is no leader: of two nodes that append behind the same head one succeeds.
//!
//! - `link`: connects, for ever, and says what is missing until then.
//! - `connect`: a session of the driver, and how each kind of request is sent.
//! - `schema`: the tables, and what the first start settles for all the later ones.
//! - `store`: the statements, prepared.
//! - `append`, `buckets`, `read`, `erase`: the log itself.
//! - `answer`, `chunk`: what stands in answers and in cells.

mod answer;
mod append;
mod buckets;
mod chunk;
mod connect;
mod erase;
mod link;
mod read;
mod schema;
mod store;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use scylla::policies::address_translator::AddressTranslator;
use tokio::{
    runtime,
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::timeout,
};

pub use self::{
    link::Refusal,
    schema::{CreateKeyspaceError, create_keyspace},
};
use self::{
    link::{Link, LinkError},
    store::{Counts, Fault},
};
use crate::{
    adapters::tls::TlsError,
    config::Scylla,
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        id::RoomId,
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};

/// Entries of a bucket. Part of what is stored: it never changes.
const BUCKET: u64 = 4_096;

/// Appends at a time; more wait. A room has one in flight.
const APPENDS: usize = 1_024;

/// Reads at a time; more wait.
const READS: usize = 256;

/// How long [`CqlLog::close`] waits for the appends it has taken.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Why a log cannot even be tried to open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The certificates cannot be used.
    #[error("scylla.tls_ca cannot be used")]
    Tls(#[from] TlsError),
}

/// What a test may change, to see in seconds what takes days.
#[derive(Clone)]
pub struct Tuning {
    /// Entries of a bucket. Rooms written with one number cannot be read with another.
    pub bucket: u64,
    /// The time of the next request, where it is not to be that of its kind.
    pub timeout: Option<Arc<dyn Fn() -> Option<Duration> + Send + Sync>>,
    /// Where servers are reached instead of where they say they are.
    pub addresses: Option<Arc<dyn AddressTranslator>>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            bucket: BUCKET,
            timeout: None,
            addresses: None,
        }
    }
}

/// How often appends were in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubts {
    /// Conditional writes that were not answered.
    pub unanswered: u64,
    /// Appends that were found written after an exact read had not seen them.
    pub late: u64,
}

/// The durable record of every room, in `ScyllaDB` or Cassandra.
///
/// An append is answered when a majority of replicas has it. Until the log is connected, and
/// whenever there is no majority, appends are in doubt and reads unavailable.
pub struct CqlLog {
    link: watch::Receiver<Link>,
    keeper: JoinHandle<()>,
    appends: Semaphore,
    reads: Semaphore,
    patience: Duration,
    counts: Arc<Counts>,
}

impl CqlLog {
    /// A log where `config` says, connected by a task on `background` that goes on trying for
    /// ever. Returns at once.
    ///
    /// # Errors
    /// The certificates that `config` names cannot be used.
    pub fn open(config: &Scylla, background: &runtime::Handle) -> Result<Self, OpenError> {
        Self::open_tuned(config, background, Tuning::default())
    }

    /// As [`CqlLog::open`], for tests.
    ///
    /// # Errors
    /// As [`CqlLog::open`].
    pub fn open_tuned(
        config: &Scylla,
        background: &runtime::Handle,
        tuning: Tuning,
    ) -> Result<Self, OpenError> {
        let settings = connect::Settings::new(config, tuning)?;
        let counts = Arc::clone(&settings.counts);
        let (link, told) = watch::channel(Err(Arc::new(LinkError::Connecting)));
        let renew = Arc::new(Notify::new());
        Ok(Self {
            link: told,
            keeper: background.spawn(link::keep(settings, link, renew)),
            appends: Semaphore::new(APPENDS),
            reads: Semaphore::new(READS),
            // An append's own patience ends first, unless it waits for its turn.
            patience: config.append_timeout * 4,
            counts,
        })
    }

    /// Waits, at most for `within`, until the first try to connect has ended, and says whether
    /// a setting is wrong. Servers that are away are no error: the log goes on trying.
    ///
    /// # Errors
    /// A setting is wrong that only people can put right.
    pub async fn first_try(&self, within: Duration) -> Result<(), Refusal> {
        let mut link = self.link.clone();
        let ended = link.wait_for(|link| match link {
            Ok(_) => true,
            Err(error) => !matches!(**error, LinkError::Connecting | LinkError::TablesBeingMade),
        });
        let Ok(Ok(link)) = timeout(within, ended).await else {
            return Ok(());
        };
        match &*link {
            Err(error) => match &**error {
                LinkError::Refused(refusal) => Err(refusal.clone()),
                _ => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }

    /// How often appends of this log were in doubt so far.
    pub fn doubts(&self) -> Doubts {
        Doubts {
            unanswered: self.counts.doubts.load(Relaxed),
            late: self.counts.late.load(Relaxed),
        }
    }

    /// Takes the content of the entries `seqs` of `room` out of what is stored; their digests
    /// stay, and with them the chain. How many of them had content.
    ///
    /// # Errors
    /// It could not be done to all of them, now: done again, it does the rest.
    pub async fn erase(&self, room: RoomId, seqs: &[u64]) -> Result<usize, ReadError> {
        self.reading(room, async |store| store.erase(room, seqs).await)
            .await
    }

    fn store(&self) -> Link {
        self.link.borrow().clone()
    }

    async fn reading<T>(
        &self,
        room: RoomId,
        read: impl AsyncFnOnce(&store::Store) -> Result<T, Fault>,
    ) -> Result<T, ReadError> {
        let work = async {
            let _turn = self.reads.acquire().await.map_err(Fault::unavailable)?;
            let store = self.store().map_err(Fault::unavailable)?;
            read(&store).await
        };
        let told = timeout(self.patience, work).await;
        told.map_err(Fault::unavailable)
            .flatten()
            .map_err(|fault| fault.of(room))
    }
}

impl Drop for CqlLog {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl std::fmt::Debug for CqlLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CqlLog").finish_non_exhaustive()
    }
}

#[async_trait]
impl RoomLog for CqlLog {
    async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError> {
        fn in_doubt(error: impl std::error::Error + Send + Sync + 'static) -> AppendError {
            AppendError::InDoubt(Some(Box::new(error)))
        }
        let work = async {
            let _turn = self.appends.acquire().await;
            let _turn = _turn.map_err(|_| in_doubt(LinkError::Closed))?;
            let store = self.store().map_err(in_doubt)?;
            store.append(room, expected, &entries).await
        };
        timeout(self.patience, work).await.map_err(in_doubt).flatten()
    }

    async fn read(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.reading(room, async |store| store.forward(room, from, limit).await)
            .await
    }

    async fn read_back(&self, room: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.reading(room, async |store| store.backward(room, before, limit).await)
            .await
    }

    async fn tip(&self, room: RoomId) -> Result<Tip, ReadError> {
        self.reading(room, async |store| store.tip(room).await).await
    }

    async fn close(&self) {
        let all = u32::try_from(APPENDS).unwrap_or(u32::MAX);
        let done = timeout(CLOSE_DEADLINE, self.appends.acquire_many(all)).await;
        if done.is_err() {
            tracing::warn!("appends were left in doubt when the log was closed");
        }
        self.appends.close();
    }
}
