//! Several nodes write one room as fast as they can; requests time out, writers vanish in the
//! middle of an append, servers are killed. Afterwards the log must be one valid chain that has
//! every acknowledged entry exactly once, where it was acknowledged.
//!
//! `TIMINGLE_RACE_SECONDS` says how long each race takes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng as _;
use timingle::{
    adapters::cql_log::{CqlLog, Tuning, create_keyspace},
    config::Scylla,
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::{AppendError, ReadError, RoomLog},
};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{open, settings, shared, tiny};
use crate::{
    harness::{servers::Private, soon, until},
    log_contract::some_room,
};

/// Entries of a bucket: a race goes through hundreds of them.
const BUCKET: u64 = 64;

/// What was said and heard of one writer's messages.
#[derive(Default)]
struct Told {
    /// Key and the head its author knew when it was first sent, until it is acknowledged.
    open: BTreeMap<Uuid, u64>,
    acknowledged: HashMap<Uuid, u64>,
}

#[derive(Default)]
struct Counts {
    conflicts: AtomicU64,
    doubts: AtomicU64,
    appends: AtomicU64,
    vanished: AtomicU64,
    resent: AtomicU64,
    acknowledged: AtomicU64,
}

/// One node that writes: its connection stays, its writers come and go.
struct Writer {
    log: Arc<CqlLog>,
    room: RoomId,
    told: Mutex<Told>,
    counts: Arc<Counts>,
}

/// Every fifth request is given less time than it can need.
fn hurried() -> Tuning {
    let absurd = || {
        let mut rng = rand::rng();
        rng.random_bool(0.2)
            .then(|| Duration::from_micros(rng.random_range(200..4_000)))
    };
    Tuning {
        timeout: Some(Arc::new(absurd)),
        ..tiny(BUCKET)
    }
}

fn seconds(default: u64) -> Duration {
    let asked = std::env::var("TIMINGLE_RACE_SECONDS").ok();
    Duration::from_secs(asked.map_or(default, |text| text.parse().unwrap()))
}

impl Writer {
    /// One writer after another, each ended at any moment, until `over`.
    async fn run(self: Arc<Self>, over: Arc<AtomicBool>) {
        while !over.load(Relaxed) {
            let life = Duration::from_millis(rand::rng().random_range(50..2_000));
            if timeout(life, self.live()).await.is_err() {
                self.counts.vanished.fetch_add(1, Relaxed);
            }
        }
    }

    /// A writer that remembers nothing but what it has to send again.
    async fn live(&self) {
        let mut pending: Vec<(Uuid, u64)> = self.told.lock().open.clone().into_iter().collect();
        self.counts.resent.fetch_add(pending.len() as u64, Relaxed);
        let mut known = self.tip().await;
        let mut from = pending
            .iter()
            .map(|(_, after)| *after)
            .min()
            .unwrap_or(known.head.seq);
        loop {
            // A key that is sent again can stand only behind what its author knew at first.
            while let Some(page) = self.read(from + 1).await {
                for entry in &page {
                    if let Some(index) = pending.iter().position(|(key, _)| *key == entry.key) {
                        let (key, after) = pending.remove(index);
                        assert!(entry.seq > after, "{key}");
                        self.acknowledge(key, entry.seq);
                    }
                }
                let Some(last) = page.last() else { break };
                from = last.seq;
                if from >= known.head.seq {
                    known = Tip::of(last);
                }
            }
            if from < known.head.seq {
                continue;
            }
            if pending.is_empty() {
                let count = rand::rng().random_range(1..12);
                let mut told = self.told.lock();
                for _ in 0..count {
                    let key = Uuid::new_v4();
                    told.open.insert(key, known.head.seq);
                    pending.push((key, known.head.seq));
                }
            }
            let mut tip = known;
            let entries: Arc<[Entry]> = pending.iter().map(|(key, _)| seal(&mut tip, *key)).collect();
            if let Some(taken) = self.append(known, &entries).await {
                for (key, _) in pending.drain(..taken) {
                    let entry = entries.iter().find(|entry| entry.key == key).unwrap();
                    self.acknowledge(key, entry.seq);
                }
                known = Tip::of(&entries[taken - 1]);
                from = known.head.seq;
            } else {
                known = self.tip().await;
            }
        }
    }

    /// How many were taken; `None` where somebody else was first. What is in doubt is said again.
    async fn append(&self, known: Tip, entries: &Arc<[Entry]>) -> Option<usize> {
        loop {
            match self.log.append(self.room, known.head, Arc::clone(entries)).await {
                Ok(appended) => {
                    self.counts.appends.fetch_add(1, Relaxed);
                    return Some(appended.taken);
                }
                Err(AppendError::Conflict { head }) => {
                    assert!(head.seq > known.head.seq, "{head:?} is not behind {known:?}");
                    self.counts.conflicts.fetch_add(1, Relaxed);
                    // As a room does it, so that each of them gets its turn.
                    let pause = rand::rng().random_range(0..20);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    return None;
                }
                Err(AppendError::InDoubt(_)) => self.counts.doubts.fetch_add(1, Relaxed),
            };
        }
    }

    fn acknowledge(&self, key: Uuid, seq: u64) {
        let mut told = self.told.lock();
        told.open.remove(&key);
        let before = told.acknowledged.insert(key, seq);
        assert!(
            before.is_none_or(|before| before == seq),
            "{key} at {before:?} and {seq}"
        );
        self.counts.acknowledged.fetch_add(1, Relaxed);
    }

    async fn tip(&self) -> Tip {
        loop {
            match self.log.tip(self.room).await {
                Ok(tip) => return tip,
                Err(error) => assert_away(&error),
            }
        }
    }

    async fn read(&self, from: u64) -> Option<Vec<Entry>> {
        loop {
            match self.log.read(self.room, from, 200).await {
                Ok(page) if page.is_empty() => return None,
                Ok(page) => return Some(page),
                Err(error) => assert_away(&error),
            }
        }
    }
}

/// A log that does not answer is part of the race; one that is damaged is not.
fn assert_away(error: &ReadError) {
    assert!(matches!(error, ReadError::Unavailable(_)), "{error:?}");
}

fn seal(tip: &mut Tip, key: Uuid) -> Entry {
    let draft = Draft {
        author: Some(UserId(1)),
        kind: Kind::Message,
        key,
        reply_to: None,
        target: None,
        body: Bytes::from(format!("{{\"text\":\"{}\"}}", format!("{key} ").repeat(4))),
    };
    tip.seal(draft, Micros(1_890_000_000_000_000), [7; 16])
}

/// Runs `count` writers for `time` while `meanwhile` does something to the servers, and checks.
async fn race(config: &Scylla, count: usize, time: Duration, meanwhile: impl AsyncFnOnce(&Counts)) {
    let (room, counts) = (some_room(), Arc::new(Counts::default()));
    let mut writers = Vec::new();
    for _ in 0..count {
        let log = CqlLog::open_tuned(config, &tokio::runtime::Handle::current(), hurried()).unwrap();
        writers.push(Arc::new(Writer {
            log: Arc::new(log),
            room,
            told: Mutex::default(),
            counts: Arc::clone(&counts),
        }));
    }
    let over = Arc::new(AtomicBool::new(false));
    let running: Vec<_> = writers
        .iter()
        .map(|writer| tokio::spawn(Arc::clone(writer).run(Arc::clone(&over))))
        .collect();
    tokio::join!(tokio::time::sleep(time), meanwhile(&counts));
    over.store(true, Relaxed);
    for writer in running {
        soon("a writer's end", writer).await.unwrap();
    }

    let log = open(config, tiny(BUCKET)).await;
    let end = until("a tip", || async { log.tip(room).await.ok() }).await;
    let (mut tip, mut places) = (Tip::empty(room), HashMap::new());
    while tip.head.seq < end.head.seq {
        let page = log.read(room, tip.head.seq + 1, 500).await.unwrap();
        for entry in page {
            tip.follow(&entry).unwrap();
            assert!(
                places.insert(entry.key, entry.seq).is_none(),
                "{} twice",
                entry.key
            );
        }
    }
    let mut acknowledged = 0;
    for writer in &writers {
        for (key, seq) in &writer.told.lock().acknowledged {
            assert_eq!(places.get(key), Some(seq), "acknowledged {key}");
            acknowledged += 1;
        }
    }
    let (mut unanswered, mut late) = (0, 0);
    for writer in &writers {
        let doubts = writer.log.doubts();
        unanswered += doubts.unanswered;
        late += doubts.late;
    }
    let get = |count: &AtomicU64| count.load(Relaxed);
    eprintln!(
        "{} entries in {} buckets, {acknowledged} acknowledged, all once and in place; {} appends, {} conflicts, \
         {unanswered} writes unanswered, {late} of them applied after an exact read had not seen them, \
         {} calls in doubt; {} writers vanished, {} messages sent again",
        places.len(),
        tip.head.seq.div_ceil(BUCKET),
        get(&counts.appends),
        get(&counts.conflicts),
        get(&counts.doubts),
        get(&counts.vanished),
        get(&counts.resent),
    );
    assert!(acknowledged > 100, "hardly a race");
    assert!(unanswered > 0 && get(&counts.conflicts) > 0 && get(&counts.vanished) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_is_valid_after_a_race_of_writers_that_time_out_and_vanish() {
    race(&shared().await, 4, seconds(15), async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_is_valid_after_a_race_on_three_servers_of_which_one_is_killed() {
    let cluster = Private::cassandra(3).await;
    let config = settings(&cluster.addresses(), "log_race");
    create_keyspace(&config, 3).await.unwrap();
    open(&config, Tuning::default()).await;
    race(&config, 4, seconds(10), async |counts| {
        let more = async |what: &str| {
            let (before, since) = (counts.acknowledged.load(Relaxed), Instant::now());
            let grown = async {
                while counts.acknowledged.load(Relaxed) < before + 50 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            // A server that is gone is asked until the others have noticed.
            let noticed = timeout(Duration::from_secs(60), grown).await;
            assert!(noticed.is_ok(), "{what} did not come");
            eprintln!("50 {what} in {:.1} s", since.elapsed().as_secs_f32());
        };
        more("messages on three servers").await;
        cluster.node(2).kill().await;
        more("messages on two servers").await;
        cluster.node(2).start().await;
        more("messages on three servers again").await;
    })
    .await;
}
