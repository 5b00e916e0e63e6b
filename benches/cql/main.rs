//! What the log on Cassandra costs, beside what its servers can do at all.
//!
//! `cargo bench --bench cql`: for one server and for three, one after the other in the same
//! moments: a bare conditional update of a row of the same size, an append through the log, and
//! a message from one client to another through a real server. Values depend on the machine;
//! their ratios say what is ours. Starts what it needs and takes about two minutes.

#![expect(clippy::expect_used, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "a benchmark shows its figures")]

mod talk;

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
};
use timingle::{
    adapters::cql_log::{CqlLog, create_keyspace},
    config::{Config, Scylla, Sources},
    domain::{
        chain::Tip,
        entry::{Draft, Entry, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::RoomLog as _,
};
use tokio::runtime::Handle;
use uuid::Uuid;

use self::talk::Talk;

/// Not measured: compilers and caches at the other end warm up.
const WARM_UP: usize = 200;

/// Measured, unless time ends before.
const ROUNDS: usize = 1_000;

/// How long one cluster is measured.
const TIME: Duration = Duration::from_secs(30);

/// Bytes of a message's text.
const TEXT: usize = 200;

/// Bytes of an append of one such message.
const ROW: usize = 370;

const SCRIPT: &str = ".ci/servers/servers";

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    servers(&["start", "postgres", "nats", "redis"]);
    for nodes in [1, 3] {
        let cluster = Cluster::start(nodes);
        runtime.block_on(measure(&cluster));
    }
}

/// Runs the script with the servers; what it printed.
fn servers(words: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
    let output = Command::new(script)
        .args(words)
        .stderr(Stdio::inherit())
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "servers {words:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Servers of Cassandra, gone with their data when dropped.
struct Cluster {
    dir: String,
    nodes: String,
    hosts: Vec<String>,
}

impl Cluster {
    fn start(nodes: u8) -> Self {
        let mut cluster = Self {
            dir: format!("target/servers/bench-{nodes}"),
            nodes: nodes.to_string(),
            hosts: Vec::new(),
        };
        let printed = cluster.run("start");
        let (_, list) = printed.trim().split_once('=').expect("addresses");
        cluster.hosts = list.split(',').map(str::to_owned).collect();
        cluster
    }

    fn run(&self, command: &str) -> String {
        let place = ["--dir", &self.dir, "--port", "cassandra=28042"];
        servers(&[&[command], &place[..], &["--nodes", &self.nodes, "cassandra"]].concat())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("wipe");
    }
}

async fn measure(cluster: &Cluster) {
    let sources = Sources {
        file: None,
        env: Vec::new(),
    };
    let mut config = Config::load(&sources).expect("the defaults").scylla;
    config.hosts.clone_from(&cluster.hosts);
    "bench".clone_into(&mut config.keyspace);
    let replicas = u8::try_from(cluster.hosts.len()).expect("few servers");
    create_keyspace(&config, replicas).await.expect("a keyspace");
    let mut bare = Bare::new(&config).await;
    let mut appends = Appends::new(&config).await;
    let mut talk = Talk::new(&config).await;

    let mut times: [Vec<Duration>; 3] = Default::default();
    let begin = Instant::now();
    for round in 0..WARM_UP + ROUNDS {
        let took = [
            timed(bare.update()).await,
            timed(appends.append()).await,
            timed(talk.say()).await,
        ];
        if round >= WARM_UP {
            for (times, took) in times.iter_mut().zip(took) {
                times.push(took);
            }
        }
        if begin.elapsed() > TIME && round > WARM_UP {
            break;
        }
    }
    let plain = quantile(&mut times[0], 0.5);
    println!(
        "{} server(s) of Cassandra, {} rounds",
        cluster.hosts.len(),
        times[0].len()
    );
    let names = ["bare conditional update", "append", "publish to deliver"];
    for (name, times) in names.iter().zip(&mut times) {
        let (middle, late) = (quantile(times, 0.5), quantile(times, 0.99));
        println!(
            "  {name:<24} p50 {:>7.2} ms  p99 {:>7.2} ms  {:>5.2} of the bare update's p50",
            middle.as_secs_f64() * 1e3,
            late.as_secs_f64() * 1e3,
            middle.as_secs_f64() / plain.as_secs_f64()
        );
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let begin = Instant::now();
    work.await;
    begin.elapsed()
}

fn quantile(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a short list"
    )]
    let index = ((times.len() - 1) as f64 * part) as usize;
    times[index]
}

/// One row, updated on the condition that nobody else has.
struct Bare {
    session: Session,
    update: PreparedStatement,
    row: Uuid,
    number: i64,
}

impl Bare {
    async fn new(config: &Scylla) -> Self {
        let session = SessionBuilder::new()
            .known_nodes(&config.hosts)
            .use_keyspace(&config.keyspace, false)
            .build()
            .await
            .expect("a session");
        for text in [
            "CREATE TABLE bare (id uuid PRIMARY KEY, number bigint, data blob)",
            "INSERT INTO bare (id, number) VALUES (00000000-0000-0000-0000-000000000001, 0) IF NOT EXISTS",
        ] {
            session.query_unpaged(text, ()).await.expect("a table");
        }
        let mut update = session
            .prepare("UPDATE bare SET number = ?, data = ? WHERE id = ? IF number = ?")
            .await
            .expect("a statement");
        update.set_consistency(Consistency::LocalQuorum);
        update.set_serial_consistency(Some(SerialConsistency::LocalSerial));
        Self {
            session,
            update,
            row: Uuid::from_u128(1),
            number: 0,
        }
    }

    async fn update(&mut self) {
        let data = vec![7_u8; ROW];
        let values = (self.number + 1, data, self.row, self.number);
        self.session
            .execute_unpaged(&self.update, values)
            .await
            .expect("an answer");
        self.number += 1;
    }
}

/// A room in the log.
struct Appends {
    log: CqlLog,
    room: RoomId,
    tip: Tip,
}

impl Appends {
    async fn new(config: &Scylla) -> Self {
        let log = CqlLog::open(config, &Handle::current()).expect("a log");
        let room = RoomId(Uuid::new_v4());
        while log.tip(room).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            log,
            room,
            tip: Tip::empty(room),
        }
    }

    async fn append(&mut self) {
        let draft = Draft {
            author: Some(UserId(7)),
            kind: Kind::Message,
            key: Uuid::new_v4(),
            reply_to: None,
            target: None,
            body: Bytes::from(format!("{{\"text\":\"{}\"}}", "x".repeat(TEXT))),
        };
        let before = self.tip.head;
        let entry = self.tip.seal(draft, Micros(1_890_000_000_000_000), [3; 16]);
        let entries: Arc<[Entry]> = Arc::new([entry]);
        self.log
            .append(self.room, before, entries)
            .await
            .expect("an append");
    }
}
