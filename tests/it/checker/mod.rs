//! Three nodes under everything that can go wrong with them, and whether their promises held.
//!
//! Speakers, listeners, guests who come, talk and are put out, people who change their minds and makers of
//! events talk to whichever node they like; nodes are killed, frozen, stopped, cut off from each other and
//! from the log's answers, all by a seed that is printed. Every operation and its outcome is noted. Then all
//! comes to rest, and what was shown, promised, refused and answered is compared with the logs.
//!
//! `TIMINGLE_CHECKER_SECONDS=3600 TIMINGLE_CHECKER_SEED=7 cargo test --test it checker:: -- --nocapture`
//! (A seed repeats the choices of an earlier run; clocks and the network make others.)
//!
//! - [`fates`]: what becomes of the nodes.
//! - [`client`]: who listens; [`speaker`]: who talks; [`guest`]: who comes and goes; [`changes`]: who changes.
//! - [`journal`]: what was done; [`rows`]: the relational store. [`verdict`]: the comparison, by [`crate::ledger`].
//!
//! `.ci/faults` has faults that this must find.

mod changes;
mod client;
mod fates;
mod guest;
mod journal;
mod rows;
mod speaker;
mod verdict;

use std::{
    net::SocketAddr,
    panic::resume_unwind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use self::{
    changes::{Answering, Maker},
    client::{Client, Until},
    fates::{Deeds, Node},
    guest::Guest,
    journal::Journal,
    speaker::Speaker,
};
use crate::harness::{PATIENCE, User, cluster::Stage};

const NODES: usize = 3;
const ROOMS: usize = 2;
const SPEAKERS: usize = 6;
const LISTENERS: usize = 3;

/// Nodes in trouble at a time.
const TROUBLES: usize = 2;

/// The longest that one world lives before it is compared: what it remembers has to fit into memory.
const LIFE: Duration = Duration::from_secs(60);

/// How long everything may take to come to rest.
const REST: Duration = Duration::from_secs(60);

/// What everybody in a world knows.
struct Shared {
    nodes: Mutex<[Option<SocketAddr>; NODES]>,
    over: AtomicBool,
    failures: Mutex<Vec<String>>,
    journal: Journal,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Node `number` is there from now on, or nowhere.
    fn is_at(&self, number: usize, address: Option<SocketAddr>) {
        self.nodes.lock().unwrap()[number] = address;
    }

    /// Some node that was not seen to be away.
    fn some_node(&self, rng: &mut StdRng) -> Option<(usize, SocketAddr)> {
        let nodes = *self.nodes.lock().unwrap();
        let there = nodes.into_iter().enumerate();
        there
            .filter_map(|(number, address)| Some((number, address?)))
            .choose(rng)
    }

    fn fails(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }
}

/// Everybody and everything.
struct World {
    shared: Arc<Shared>,
    stage: Arc<Stage>,
    nodes: Vec<Node>,
    listeners: Vec<Client>,
    speakers: Vec<Speaker>,
    guests: Vec<Guest>,
    answering: Vec<Answering>,
    makers: Vec<Maker>,
}

/// What a run came to.
#[derive(Default, Debug)]
struct Totals {
    deeds: Deeds,
    violations: usize,
    acknowledged: usize,
    refused: usize,
    /// Messages sent again because it was not known what had become of them ...
    resent: u64,
    /// ... and of those, so many had been in the log already.
    known: u64,
    /// Acknowledged messages that were asked for again.
    asked_again: u64,
    /// Entries shown, each time to somebody.
    shown: u64,
    sockets: u64,
    entries: usize,
    facts: u64,
    /// Neighbours in a log that were acknowledged by different nodes.
    handovers: usize,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is not a number: {text}"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_keep_their_promises_whatever_becomes_of_them() {
    let mut left = Duration::from_secs(number("TIMINGLE_CHECKER_SECONDS").unwrap_or(60));
    let seed = number("TIMINGLE_CHECKER_SEED").unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut totals = Totals::default();
    while !left.is_zero() {
        let life = left.min(LIFE);
        left -= life;
        let dir = tempfile::tempdir().unwrap();
        let violations = World::run(&dir, life, &mut rng, &mut totals).await;
        eprintln!("{left:?} left, {totals:?}");
        if violations > 0 {
            let kept = dir.keep();
            panic!(
                "seed {seed}: {violations} violations, see above; the journal and the nodes' logs are in {kept:?}"
            );
        }
    }
    eprintln!("seed {seed}: {totals:?}");
    // Else nothing was tried.
    assert!(totals.deeds.killed > 0, "{totals:?}");
    assert!(totals.acknowledged > 100 && totals.known > 0, "{totals:?}");
}

impl World {
    /// Lives for `life`, comes to rest, is compared; how much was wrong.
    async fn run(dir: &TempDir, life: Duration, rng: &mut StdRng, totals: &mut Totals) -> usize {
        let mut world = Self::settle(dir, rng).await;
        let mut violations = world.live(life).await;
        violations.append(&mut world.rest().await);
        violations.append(&mut world.check(totals).await);
        violations.append(&mut world.shared.failures.lock().unwrap());
        for (number, node) in std::mem::take(&mut world.nodes).into_iter().enumerate() {
            totals.deeds += node.deeds;
            std::fs::write(dir.path().join(format!("node-{number}.log")), node.log()).unwrap();
            let status = node.end().await;
            if !status.success() {
                violations.push(format!("nodes stop in order: node {number} ended with {status}"));
            }
        }
        totals.violations += violations.len();
        verdict::report(&violations, &world.shared.journal);
        violations.len()
    }

    /// Starts the nodes, signs everybody in, and brings them into the rooms.
    async fn settle(dir: &TempDir, rng: &mut StdRng) -> Self {
        let shared = Arc::new(Shared {
            nodes: Mutex::default(),
            over: AtomicBool::new(false),
            failures: Mutex::default(),
            journal: Journal::at(&dir.path().join("journal")),
        });
        let stage = Arc::new(Stage::new().await);
        let starts = (0..NODES).map(|number| {
            let rng = StdRng::seed_from_u64(rng.random());
            Node::start(number, Arc::clone(&stage), Arc::clone(&shared), rng)
        });
        let nodes = futures_util::future::join_all(starts).await;
        let (_, address) = shared.some_node(rng).unwrap();

        let host = User::register(address, "host").await;
        let mut rooms = Vec::new();
        let mut codes = Vec::new();
        for number in 0..ROOMS {
            let event = json!({
                "title": format!("Room {number}"),
                "start_time": "2030-05-01T10:00:00Z",
                "end_time": "2030-05-01T11:00:00Z",
                "confirm_rule": "quorum",
                "quorum": 3,
            });
            let (status, event) = host.call(Method::POST, "/events", Some(event)).await;
            assert!(status.is_success(), "{event}");
            let room = event["id"].as_i64().unwrap();
            rooms.push(room);
            codes.push(host.invite(room).await);
        }
        let mut client = |user: &User, rooms: Vec<i64>, in_parts: bool| {
            let rng = StdRng::seed_from_u64(rng.random());
            Client::new(user.clone(), rooms, in_parts, rng, Arc::clone(&shared))
        };
        let (mut listeners, mut speakers, mut answering, mut guests) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for number in 0..LISTENERS {
            let user = User::register(address, &format!("listener-{number}")).await;
            for code in &codes {
                user.join_by(code).await;
            }
            listeners.push(client(&user, rooms.clone(), false));
        }
        for number in 0..SPEAKERS {
            let user = User::register(address, &format!("speaker-{number}")).await;
            for (room, code) in rooms.iter().zip(&codes) {
                user.join_by(code).await;
                answering.push(Answering::new(client(&user, Vec::new(), false), *room));
            }
            speakers.push(Speaker::new(client(&user, rooms.clone(), false)));
        }
        for (number, room) in rooms.iter().enumerate() {
            let user = User::register(address, &format!("guest-{number}")).await;
            let speaker = Speaker::new(client(&user, vec![*room], true));
            let (host, mover) = (client(&host, Vec::new(), false), client(&user, Vec::new(), false));
            guests.push(Guest::new(*room, host, mover, speaker));
        }
        let makers = vec![Maker::new(client(&host, Vec::new(), false))];
        // Who came in up to now.
        for guest in &mut guests {
            let room = guest.story.event;
            let speakers = speakers.iter().map(|speaker| &speaker.client);
            for client in listeners.iter().chain(speakers) {
                if client.rooms.contains(&room) {
                    guest
                        .story
                        .add(("participant_joined", Some(client.user.id)), true);
                }
            }
        }
        Self {
            shared,
            stage,
            nodes,
            listeners,
            speakers,
            guests,
            answering,
            makers,
        }
    }

    /// Everything happens at once, for `life`.
    async fn live(&mut self, life: Duration) -> Vec<String> {
        let troubles = Arc::new(Semaphore::new(TROUBLES));
        let nodes = all(self.nodes.drain(..).map(|node| node.live(Arc::clone(&troubles))));
        let listeners = all(self.listeners.drain(..).map(Client::listen));
        let speakers = all(self.speakers.drain(..).map(Speaker::talk));
        let guests = all(self.guests.drain(..).map(Guest::come_and_go));
        let answering = all(self.answering.drain(..).map(Answering::answer));
        let makers = all(self.makers.drain(..).map(Maker::make));
        sleep(life).await;
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.journal.note("world", "comes to rest");
        let mut fallen = Vec::new();
        self.nodes = back(nodes, &mut fallen).await;
        self.listeners = back(listeners, &mut fallen).await;
        self.speakers = back(speakers, &mut fallen).await;
        self.guests = back(guests, &mut fallen).await;
        self.answering = back(answering, &mut fallen).await;
        self.makers = back(makers, &mut fallen).await;
        fallen
    }

    /// Every node is back: what is open is answered, and everybody hears what they missed.
    async fn rest(&mut self) -> Vec<String> {
        let mut fallen = Vec::new();
        let deadline = Instant::now() + REST;
        let until = Until::Deadline(deadline);
        let answering = all(self.answering.drain(..).map(|one| one.settle(until)));
        let makers = all(self.makers.drain(..).map(|one| one.settle(until)));
        let guests = all(self.guests.drain(..).map(|one| one.settle(deadline)));
        let speakers = all(self.speakers.drain(..).map(|one| one.settle(deadline)));
        self.answering = back(answering, &mut fallen).await;
        self.makers = back(makers, &mut fallen).await;
        self.guests = back(guests, &mut fallen).await;
        self.speakers = back(speakers, &mut fallen).await;
        let sql = self.stage.database.connect().await;
        let given_up = Instant::now() + PATIENCE;
        while rows::unmarked(&sql).await > 0 && Instant::now() < given_up {
            sleep(Duration::from_millis(50)).await;
        }
        // Nothing is said any more.
        let listeners = all(self.listeners.drain(..).map(|one| one.catch_up(deadline)));
        self.listeners = back(listeners, &mut fallen).await;
        fallen
    }
}

type Tasks<T> = Vec<JoinHandle<T>>;

/// Runs them at the same time.
fn all<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Tasks<T> {
    futures.map(tokio::spawn).collect()
}

/// Waits for them, and gives what they gave, in their order. One that fell, because what it was told broke
/// a rule of the protocol, is a violation.
async fn back<T>(tasks: Tasks<T>, fallen: &mut Vec<String>) -> Vec<T> {
    let mut outcomes = Vec::new();
    for mut task in tasks {
        let Ok(outcome) = timeout(3 * REST, &mut task).await else {
            task.abort();
            fallen.push("clients are served: one does not come back".to_owned());
            continue;
        };
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => match error.try_into_panic() {
                Ok(reason) => {
                    let text = reason
                        .downcast_ref::<String>()
                        .cloned()
                        .or_else(|| reason.downcast_ref::<&str>().map(ToString::to_string));
                    match text {
                        Some(text) => fallen.push(format!("every frame is as the protocol says: {text}")),
                        None => resume_unwind(reason),
                    }
                }
                Err(error) => panic!("{error}"),
            },
        }
    }
    outcomes
}
