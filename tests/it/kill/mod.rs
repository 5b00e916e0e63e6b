//! The real server, killed again and again in mid-sentence.
//!
//! 8 writers and 8 readers talk over 4 rooms while events change; SIGKILL falls at a random
//! moment, also into the start; the next server runs on the same directory, writers resend what
//! was not acknowledged, readers resume. After *every* kill all that anybody was shown, promised
//! or answered is compared with what lies on the disk.
//!
//! Ten thousand kills, with a running count:
//! `TIMINGLE_KILLS=10000 cargo test --release --test it kill:: -- --nocapture`
//! (`TIMINGLE_SEED` repeats the choices of an earlier run, as far as clocks let it.)
//!
//! - [`watcher`]: who listens; [`writer`]: who talks; [`story`]: who changes events.
//! - [`check`]: the comparison; [`rows`]: the relational side of it.

mod check;
mod rows;
mod story;
mod watcher;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use self::{
    check::Ledger,
    story::{Guest, Planner},
    watcher::{Life, Watcher},
    writer::Writer,
};
use crate::{
    harness::{
        PATIENCE, User,
        process::{Launch, Server},
        soon,
    },
    ledger::story::Story,
};

const ROOMS: usize = 4;
const WRITERS: usize = 8;
const READERS: usize = 8;

/// Kills of one data directory; then everything is brought to rest, compared as a whole, and begun anew.
const KILLS_A_WORLD: usize = 25;

/// What the servers run with: nobody is slowed down, and lost facts are looked for at once.
const SETTINGS: [(&str, &str); 4] = [
    ("TIMINGLE__LIMITS__PUBLISHES_PER_S", "1000000"),
    ("TIMINGLE__LIMITS__PUBLISH_BURST", "1000000"),
    ("TIMINGLE__ROOM__SWEEP", "100ms"),
    ("TIMINGLE__LOG__FILTER", "warn"),
];

/// Everybody and everything on one data directory.
struct World {
    dir: TempDir,
    readers: Vec<Watcher>,
    writers: Vec<Writer>,
    guests: Vec<Guest>,
    planners: Vec<Planner>,
    ledger: Ledger,
}

/// What a run came to.
#[derive(Default, Debug)]
struct Totals {
    kills: usize,
    violations: usize,
    acknowledged: usize,
    /// Entries shown, each time to somebody.
    shown: u64,
    /// Messages sent again because a kill took their acknowledgement ...
    resent: u64,
    /// ... and of those, so many had been in the log already.
    known: u64,
    entries: usize,
    facts: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_keeps_all_it_promised_and_shows_nothing_it_loses() {
    let kills = usize::try_from(number("TIMINGLE_KILLS").unwrap_or(100)).unwrap();
    let seed = number("TIMINGLE_SEED").unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (begun, mut totals) = (Instant::now(), Totals::default());
    let mut kept = Vec::new();
    while totals.kills < kills {
        let count = KILLS_A_WORLD.min(kills - totals.kills);
        let before = totals.violations;
        let dir = World::run(count, &mut rng, &mut totals).await;
        eprintln!("kills {}/{kills} violations {}", totals.kills, totals.violations);
        if totals.violations > before {
            kept.push(dir.keep());
        }
    }
    eprintln!("seed {seed}, {:.0?}: {totals:?}", begun.elapsed());
    assert_eq!(totals.violations, 0, "see above; the data is kept in {kept:?}");
    if kills >= KILLS_A_WORLD {
        // Else the kills fell where nothing could be lost.
        assert!(
            totals.acknowledged > kills * 10,
            "there was hardly any load: {totals:?}"
        );
        assert!(
            totals.resent > totals.known && totals.known > 0,
            "the kills hit no publish: {totals:?}"
        );
    }
}

impl World {
    /// Lives and dies `kills` times.
    async fn run(kills: usize, rng: &mut StdRng, totals: &mut Totals) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let server = launch(dir.path()).await;
        let mut world = Self::settle(dir, &server, rng).await;
        server.kill().await;
        for _ in 0..kills {
            let violations = world.live_and_die(rng, totals).await;
            totals.kills += 1;
            report(&violations, totals);
        }
        let violations = world.rest(totals).await;
        report(&violations, totals);
        totals.entries += world.ledger.entries();
        totals.facts += world.ledger.facts();
        for writer in &world.writers {
            totals.acknowledged += writer.acknowledged.len();
            totals.resent += writer.resent;
            totals.known += writer.known;
        }
        world.dir
    }

    /// Signs everybody in, and brings them into the rooms by links.
    async fn settle(dir: TempDir, server: &Server, rng: &mut StdRng) -> Self {
        let host = User::register(server.address, "host").await;
        let mut stories = Vec::new();
        for number in 0..ROOMS {
            stories.push(Story::new(host.create_event(&format!("Room {number}")).await));
        }
        let rooms: Vec<i64> = stories.iter().map(|story| story.event).collect();
        let mut codes = Vec::new();
        for room in &rooms {
            codes.push(host.invite(*room).await);
        }
        let mut enter = async |user: &User, number: usize| {
            user.join_by(&codes[number]).await;
            stories[number].add(("participant_joined", Some(user.id)), true);
        };
        let (mut readers, mut writers) = (Vec::new(), Vec::new());
        for number in 0..READERS {
            let user = User::register(server.address, &format!("reader-{number}")).await;
            for room in 0..ROOMS {
                enter(&user, room).await;
            }
            readers.push(Watcher::new(user, rooms.clone()));
        }
        for number in 0..WRITERS {
            let user = User::register(server.address, &format!("writer-{number}")).await;
            let own = [number % ROOMS, (number + 1) % ROOMS];
            for room in own {
                enter(&user, room).await;
            }
            let watcher = Watcher::new(user, own.map(|room| rooms[room]).to_vec());
            writers.push(Writer::new(watcher, StdRng::seed_from_u64(rng.random())));
        }
        let mut guests = Vec::new();
        for story in stories {
            let guest = User::register(server.address, "guest").await;
            guests.push(Guest::new(story, host.clone(), guest));
        }
        Self {
            dir,
            readers,
            writers,
            guests,
            planners: vec![Planner::new(host)],
            ledger: Ledger::default(),
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn meet(&mut self, server: &Server) -> Arc<Life> {
        let life = Arc::default();
        let writers = self.writers.iter_mut().map(|writer| &mut writer.watcher);
        for watcher in self.readers.iter_mut().chain(writers) {
            watcher.meet(server.address, &life);
        }
        for guest in &mut self.guests {
            guest.meet(server.address);
        }
        for planner in &mut self.planners {
            planner.meet(server.address);
        }
        life
    }

    /// A server starts, all talk, it is killed, and what it left is looked at.
    async fn live_and_die(&mut self, rng: &mut StdRng, totals: &mut Totals) -> Vec<String> {
        let server = launch(self.dir.path()).await;
        let life = self.meet(&server);
        let readers = all(self.readers.drain(..).map(|reader| reader.listen(false)));
        let writers = all(self.writers.drain(..).map(|writer| writer.talk(false)));
        let guests = all(self
            .guests
            .drain(..)
            .map(|guest| guest.come_and_go(Arc::clone(&life), false)));
        let planners = all(self.planners.drain(..).map(|planner| planner.plan(false)));

        if rng.random_ratio(3, 4) {
            soon("the first acknowledgement", life.acknowledged.notified()).await;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(5..=400))).await;
        life.killed.store(true, Ordering::SeqCst);
        server.kill().await;

        (self.readers, self.writers, self.guests) =
            (back(readers).await, back(writers).await, back(guests).await);
        self.planners = back(planners).await;
        totals.shown += life.shown.load(Ordering::Relaxed);
        self.check(false).await
    }

    /// A last server answers everything that is open, and stops as it should.
    async fn rest(&mut self, totals: &mut Totals) -> Vec<String> {
        let mut server = launch(self.dir.path()).await;
        let life = self.meet(&server);
        self.planners = back(all(self.planners.drain(..).map(|planner| planner.plan(true)))).await;
        self.guests = back(all(self
            .guests
            .drain(..)
            .map(|guest| guest.come_and_go(Arc::clone(&life), true))))
        .await;
        self.writers = back(all(self.writers.drain(..).map(|writer| writer.talk(true)))).await;
        self.readers = back(all(self.readers.drain(..).map(|reader| reader.listen(true)))).await;
        self.writers = back(all(self.writers.drain(..).map(Writer::catch_up))).await;
        all_marked(&self.data()).await;
        totals.shown += life.shown.load(Ordering::Relaxed);
        server.terminate();
        let status = server.wait().await;
        let mut violations = self.check(true).await;
        if !status.success() {
            violations.push(format!("the server ended with {status}"));
        }
        violations
    }

    async fn check(&mut self, at_rest: bool) -> Vec<String> {
        let data = self.data();
        let stories: Vec<&Story> = self
            .guests
            .iter()
            .map(|guest| &guest.story)
            .chain(self.planners.iter().flat_map(|planner| &planner.stories))
            .collect();
        let mut violations = self
            .ledger
            .check(&data, &mut self.readers, &mut self.writers, &stories, at_rest)
            .await;
        for planner in &mut self.planners {
            violations.append(&mut planner.complaints);
        }
        for guest in &mut self.guests {
            violations.append(&mut guest.complaints);
        }
        violations
    }
}

async fn launch(dir: &Path) -> Server {
    Server::launch(Launch {
        dir,
        env: &SETTINGS,
        through: &[],
    })
    .await
}

/// Gives the sweeper time to find a place for every fact, also for those nobody asks for.
/// Whether it did, the check says.
async fn all_marked(data: &Path) {
    let sql = rusqlite::Connection::open(data.join("app.db")).unwrap();
    let query = "SELECT count(*) FROM event_history WHERE seq IS NULL";
    let given_up = Instant::now() + PATIENCE;
    while sql.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap() > 0 && Instant::now() < given_up {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Tasks<T> = Vec<JoinHandle<T>>;

/// Runs them at the same time.
fn all<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Tasks<T> {
    futures.map(tokio::spawn).collect()
}

/// Waits for them, and gives what they gave, in their order.
async fn back<T>(tasks: Tasks<T>) -> Vec<T> {
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(soon("a client's end", task).await.unwrap());
    }
    outcomes
}

fn report(violations: &[String], totals: &mut Totals) {
    totals.violations += violations.len();
    for violation in violations.iter().take(10) {
        eprintln!("after kill {}: {violation:.1000}", totals.kills);
    }
    if violations.len() > 10 {
        eprintln!("after kill {}: and {} more", totals.kills, violations.len() - 10);
    }
}
