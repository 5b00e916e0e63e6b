//! A log that does what the real one cannot be brought to do.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use timingle::{
    app::Overrides,
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Head},
        id::RoomId,
        time::{Clock, Micros},
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};
use tokio::sync::Semaphore;

/// What an append does instead of appending.
pub(crate) enum Trick {
    /// Falls before it writes.
    Panic,
    /// Falls after it has written.
    PanicWritten,
    /// Is in doubt and has not written.
    Doubt,
    /// Is in doubt and has written.
    DoubtWritten,
    /// Waits at a gate, then appends.
    Hold(Gate),
    /// Appends after somebody else has appended these, so dated.
    After(Vec<Draft>, Micros),
}

/// What a question for the log's end does instead of answering.
pub(crate) enum TipTrick {
    /// Says that the log does not answer.
    Fail,
    /// Waits at a gate, then answers.
    Hold(Gate),
}

/// Where one who passes waits until it is opened. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate(Arc<(Semaphore, Semaphore)>);

impl Gate {
    pub(crate) fn closed() -> Self {
        Self(Arc::new((Semaphore::new(0), Semaphore::new(0))))
    }

    /// Returns once somebody waits at the gate.
    pub(crate) async fn reached(&self) {
        super::soon("somebody at the gate", self.0.0.acquire())
            .await
            .unwrap()
            .forget();
    }

    /// Lets everyone pass from now on.
    pub(crate) fn open(&self) {
        self.0.1.close();
    }

    async fn pass(&self) {
        self.0.0.add_permits(1);
        // Closed means open.
        let _ = self.0.1.acquire().await;
    }
}

/// The tricks of one server's log. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Tricks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    appends: Mutex<Vec<(String, Trick)>>,
    tips: Mutex<VecDeque<TipTrick>>,
    reads: Mutex<Option<Gate>>,
    tails: Mutex<HashMap<RoomId, usize>>,
    /// What was left in doubt: the next append to that room must be the very same.
    doubted: Mutex<HashMap<RoomId, Arc<[Entry]>>>,
    other_after_doubt: AtomicUsize,
    fired: AtomicUsize,
}

impl Tricks {
    /// A server's overrides with this log, and the machine's clock.
    pub(crate) fn overrides(&self) -> Overrides {
        let tricks = self.clone();
        Overrides {
            wrap_log: Box::new(move |log| Arc::new(TrickLog { log, tricks })),
            ..Overrides::default()
        }
    }

    /// The next append with `marker` in some body does `trick` instead, once.
    pub(crate) fn arm(&self, marker: &str, trick: Trick) {
        self.0.appends.lock().push((marker.to_owned(), trick));
    }

    /// The next question for some log's end does `trick` instead, once.
    pub(crate) fn arm_tip(&self, trick: TipTrick) {
        self.0.tips.lock().push_back(trick);
    }

    /// From now on reads from a given seq on wait at this gate before they answer.
    pub(crate) fn hold_reads(&self, gate: Gate) {
        *self.0.reads.lock() = Some(gate);
    }

    /// How many tricks were played.
    pub(crate) fn fired(&self) -> usize {
        self.0.fired.load(Ordering::SeqCst)
    }

    /// How often an append in doubt was followed by another one than itself.
    pub(crate) fn other_after_doubt(&self) -> usize {
        self.0.other_after_doubt.load(Ordering::SeqCst)
    }

    fn doubt(&self, room: RoomId, entries: Arc<[Entry]>) -> AppendError {
        self.0.doubted.lock().insert(room, entries);
        AppendError::InDoubt(None)
    }

    /// How often the tail of each log was read: whenever its room starts, and hardly ever
    /// while it lives.
    pub(crate) fn tails_read(&self) -> HashMap<RoomId, usize> {
        self.0.tails.lock().clone()
    }

    fn trick_for(&self, entries: &[Entry]) -> Option<Trick> {
        let mut armed = self.0.appends.lock();
        let index = armed.iter().position(|(marker, _)| {
            entries.iter().any(|entry| {
                let body = entry.body().map_or(&b""[..], |body| body);
                body.windows(marker.len())
                    .any(|window| window == marker.as_bytes())
            })
        })?;
        self.0.fired.fetch_add(1, Ordering::SeqCst);
        Some(armed.remove(index).1)
    }
}

struct TrickLog {
    log: Arc<dyn RoomLog>,
    tricks: Tricks,
}

#[async_trait]
impl RoomLog for TrickLog {
    async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError> {
        let doubted = self.tricks.0.doubted.lock().remove(&room);
        if doubted.is_some_and(|doubted| doubted != entries) {
            self.tricks.0.other_after_doubt.fetch_add(1, Ordering::SeqCst);
        }
        match self.tricks.trick_for(&entries) {
            None => {}
            Some(Trick::Panic) => panic!("a trick: the log falls before it writes"),
            Some(Trick::PanicWritten) => {
                self.log.append(room, expected, entries).await.unwrap();
                panic!("a trick: the log falls after it has written");
            }
            Some(Trick::Doubt) => return Err(self.tricks.doubt(room, entries)),
            Some(Trick::DoubtWritten) => {
                self.log
                    .append(room, expected, Arc::clone(&entries))
                    .await
                    .unwrap();
                return Err(self.tricks.doubt(room, entries));
            }
            Some(Trick::Hold(gate)) => gate.pass().await,
            Some(Trick::After(drafts, at)) => {
                let mut tip = self.log.tip(room).await.unwrap();
                let head = tip.head;
                let others: Vec<Entry> = drafts
                    .into_iter()
                    .map(|draft| tip.seal(draft, at, [7; 16]))
                    .collect();
                self.log.append(room, head, others.into()).await.unwrap();
            }
        }
        self.log.append(room, expected, entries).await
    }

    async fn read(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let gate = self.tricks.0.reads.lock().clone();
        if let Some(gate) = gate {
            gate.pass().await;
        }
        self.log.read(room, from, limit).await
    }

    async fn read_back(&self, room: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        *self.tricks.0.tails.lock().entry(room).or_default() += 1;
        self.log.read_back(room, before, limit).await
    }

    async fn tip(&self, room: RoomId) -> Result<Tip, ReadError> {
        let trick = self.tricks.0.tips.lock().pop_front();
        if trick.is_some() {
            self.tricks.0.fired.fetch_add(1, Ordering::SeqCst);
        }
        match trick {
            None => {}
            Some(TipTrick::Fail) => {
                return Err(ReadError::Unavailable("a trick: the log does not answer".into()));
            }
            Some(TipTrick::Hold(gate)) => gate.pass().await,
        }
        self.log.tip(room).await
    }
}

/// The machine's time.
pub(crate) fn now() -> Micros {
    Clock::system().now()
}
