//! What becomes of the nodes: each is killed, frozen, told to stop, cut off from the others or left without
//! answers from the log, again and again, and comes back.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::Shared;
use crate::harness::{
    cluster::{Stage, until_ready},
    process::Server,
    proxy::{Proxy, Way},
};

/// What every node runs with: nobody is slowed down, little is kept in memory, lost facts are looked for
/// often, and doubts come soon.
const SETTINGS: [(&str, &str); 8] = [
    ("TIMINGLE__LIMITS__PUBLISHES_PER_S", "1000000"),
    ("TIMINGLE__LIMITS__PUBLISH_BURST", "1000000"),
    ("TIMINGLE__LIMITS__INVITE_LOOKUPS_PER_ADDRESS", "1000000"),
    ("TIMINGLE__ROOM__TAIL_ENTRIES", "60"),
    ("TIMINGLE__ROOM__SWEEP", "500ms"),
    ("TIMINGLE__ROOM__IDLE_AFTER", "3s"),
    ("TIMINGLE__SCYLLA__APPEND_TIMEOUT", "1s"),
    ("TIMINGLE__LOG__FILTER", "warn"),
];

/// How often what was done.
#[derive(Default, Debug, Clone, Copy)]
pub(super) struct Deeds {
    pub(super) killed: usize,
    pub(super) frozen: usize,
    pub(super) stopped: usize,
    pub(super) cut_off: usize,
    pub(super) unanswered: usize,
}

impl std::ops::AddAssign for Deeds {
    fn add_assign(&mut self, other: Self) {
        self.killed += other.killed;
        self.frozen += other.frozen;
        self.stopped += other.stopped;
        self.cut_off += other.cut_off;
        self.unanswered += other.unanswered;
    }
}

/// A node, and what stands between it and the others.
pub(super) struct Node {
    number: usize,
    stage: Arc<Stage>,
    shared: Arc<Shared>,
    server: Server,
    hints: Proxy,
    log: Proxy,
    rng: StdRng,
    pub(super) deeds: Deeds,
}

impl Node {
    /// Node `number` of `stage`, once it is ready.
    pub(super) async fn start(number: usize, stage: Arc<Stage>, shared: Arc<Shared>, rng: StdRng) -> Self {
        let hints = Proxy::to(stage.places.nats).await;
        let log = Proxy::to(stage.places.cassandra[0]).await;
        let server = launch(&stage, &hints, &log).await;
        until_ready(server.address).await;
        shared.is_at(number, Some(server.address));
        Self {
            number,
            stage,
            shared,
            server,
            hints,
            log,
            rng,
            deeds: Deeds::default(),
        }
    }

    /// Lives until it is over. At most as many nodes as `troubles` has permits are in trouble at a time.
    pub(super) async fn live(mut self, troubles: Arc<Semaphore>) -> Self {
        loop {
            let at_peace = Duration::from_millis(self.rng.random_range(500..6_000));
            if !self.lasts(at_peace).await {
                return self;
            }
            let _permit = troubles.acquire().await.unwrap();
            match self.rng.random_range(0..100) {
                0..35 => self = self.meets_a_kill().await,
                35..50 => self.is_frozen().await,
                50..60 => self = self.meets_a_stop().await,
                60..75 => {
                    self.deeds.cut_off += 1;
                    self.note("is cut off from the others");
                    self.hints.cut();
                    self.lasts_up_to(6_000).await;
                    self.hints.heal();
                    self.note("hears the others again");
                }
                _ => self.is_unanswered().await,
            }
        }
    }

    /// Asks it to stop; how it ended.
    pub(super) async fn end(mut self) -> std::process::ExitStatus {
        self.server.terminate();
        self.server.wait().await
    }

    /// All that it and its predecessors logged.
    pub(super) fn log(&self) -> String {
        self.server.log()
    }

    async fn meets_a_kill(mut self) -> Self {
        self.deeds.killed += 1;
        self.note("is killed");
        self.shared.is_at(self.number, None);
        let Self {
            number,
            stage,
            shared,
            server,
            hints,
            log,
            rng,
            deeds,
        } = self;
        server.kill().await;
        let mut node = Self {
            server: launch(&stage, &hints, &log).await,
            number,
            stage,
            shared,
            hints,
            log,
            rng,
            deeds,
        };
        node.comes_back().await;
        node
    }

    async fn meets_a_stop(mut self) -> Self {
        self.deeds.stopped += 1;
        self.note("is told to stop");
        self.server.terminate();
        let status = self.server.wait().await;
        if !status.success() {
            self.note(format!("ended with {status}"));
            self.shared.fails(format!(
                "node {} was told to stop and ended with {status}",
                self.number
            ));
        }
        self.shared.is_at(self.number, None);
        self.server = launch(&self.stage, &self.hints, &self.log).await;
        self.comes_back().await;
        self
    }

    async fn comes_back(&mut self) {
        until_ready(self.server.address).await;
        self.note("is back");
        self.shared.is_at(self.number, Some(self.server.address));
    }

    async fn is_frozen(&mut self) {
        self.deeds.frozen += 1;
        self.note("is frozen");
        self.server.pause();
        self.lasts_up_to(7_000).await;
        self.server.resume();
        self.note("goes on");
    }

    /// What the node and the log tell each other does not arrive, and some of it never will: what the log
    /// was asked to do is done or not, and the node hears of neither.
    async fn is_unanswered(&mut self) {
        self.deeds.unanswered += 1;
        match self.rng.random_range(0..3) {
            0 => self.log.stall_one_way(Way::Requests),
            1 => self.log.stall_one_way(Way::Answers),
            _ => self.log.stall(),
        }
        self.note("and the log do not hear each other");
        self.lasts_up_to(5_000).await;
        if self.rng.random_ratio(2, 3) {
            self.log.drop_connections();
        }
        self.log.heal();
        self.note("and the log hear each other again");
    }

    async fn lasts_up_to(&mut self, millis: u64) {
        let time = Duration::from_millis(self.rng.random_range(200..millis));
        self.lasts(time).await;
    }

    /// Returns after `time`, or, with `false`, once it is over.
    async fn lasts(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.shared.is_over() {
            sleep(Duration::from_millis(20)).await;
        }
        !self.shared.is_over()
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.shared.journal.note(&format!("node {}", self.number), what);
    }
}

async fn launch(stage: &Stage, hints: &Proxy, log: &Proxy) -> Server {
    let (nats, hosts) = (format!("nats://{}", hints.address()), log.address().to_string());
    let mut env = SETTINGS.to_vec();
    env.extend([("NATS_URL", nats.as_str()), ("SCYLLA_HOSTS", hosts.as_str())]);
    stage.unready_process(&env).await
}
