//! Real servers: PostgreSQL, Cassandra, NATS and Redis.
//!
//! [`postgres`], [`cassandra`], [`nats`] and [`redis`] give the address of an instance that all tests
//! share; the first test that asks starts it. It outlives the tests (`.ci/servers/servers stop` ends it).
//! A test that hurts its server takes a [`Private`] one. [`Database`] is a fresh one in PostgreSQL.

use std::{
    collections::HashSet,
    fs::{Permissions, create_dir_all, set_permissions},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock},
    thread,
};

use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use super::database::Database;

/// The ports of private servers: below those that the system gives to clients, so that nobody takes the
/// port of a server that is down.
const PORTS: std::ops::Range<u16> = 11_000..24_000;

/// Private Cassandra clusters at a time: each takes two gigabytes.
static CASSANDRAS: Semaphore = Semaphore::const_new(1);

/// What can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Cassandra,
    Nats,
    Redis,
}

impl Engine {
    /// As the script calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Cassandra => "cassandra",
            Self::Nats => "nats",
            Self::Redis => "redis",
        }
    }
}

/// The shared PostgreSQL (user `postgres`, no password). Take a [`Database`] of your own there.
pub(crate) async fn postgres() -> SocketAddr {
    static SHARED: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    shared(Engine::Postgres, &SHARED).await
}

/// The shared Cassandra, of one node (datacenter `datacenter1`, no password).
pub(crate) async fn cassandra() -> SocketAddr {
    static SHARED: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    shared(Engine::Cassandra, &SHARED).await
}

/// The shared NATS. Take a prefix of your own.
pub(crate) async fn nats() -> SocketAddr {
    static SHARED: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    shared(Engine::Nats, &SHARED).await
}

/// The shared Redis (no password). Take a prefix of your own, and flush nothing.
pub(crate) async fn redis() -> SocketAddr {
    static SHARED: OnceLock<Result<SocketAddr, String>> = OnceLock::new();
    shared(Engine::Redis, &SHARED).await
}

/// Started once in this process. A failure is remembered too, so that the other tests fail at once.
async fn shared(engine: Engine, cell: &'static OnceLock<Result<SocketAddr, String>>) -> SocketAddr {
    let started = tokio::task::spawn_blocking(move || {
        cell.get_or_init(|| {
            let printed = script(&["start", engine.name()])?;
            let address = printed
                .trim()
                .split_once('=')
                .map(|(_, list)| list.split(',').next());
            let address = address.flatten().and_then(|address| address.parse().ok());
            address.ok_or_else(|| format!("`servers start {}` printed {printed:?}", engine.name()))
        })
    });
    match started.await.unwrap() {
        Ok(address) => *address,
        Err(error) => panic!("the tests' {} does not start:\n{error}", engine.name()),
    }
}

/// Runs `.ci/servers/servers` and gives back what it printed, or else what it complained about.
/// Its own limits of time end it.
fn script(words: &[&str]) -> Result<String, String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/servers/servers");
    let output = Command::new(&program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let words = words.join(" ");
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "`servers {words}` ended with {}:\n{stderr}",
            output.status
        ))
    }
}

/// A server, or a cluster of Cassandra, for one test alone, on a port that it keeps through every restart.
/// Dropped, it is killed and its data are removed.
///
/// ```ignore
/// let redis = Private::redis().await;
/// redis.kill().await;
/// redis.start().await;
/// let cluster = Private::cassandra(3).await;
/// cluster.node(2).kill().await;
/// ```
pub(crate) struct Private {
    engine: Engine,
    port: u16,
    nodes: u8,
    dir: TempDir,
    _turn: Option<SemaphorePermit<'static>>,
}

impl Private {
    /// A running PostgreSQL.
    pub(crate) async fn postgres() -> Self {
        Self::started(Engine::Postgres, 1).await
    }

    /// A running Cassandra of `nodes` nodes (1 to 3), all in sight of each other. Waits until no other
    /// test has one; a test that wants a second one while it has the first waits for ever.
    pub(crate) async fn cassandra(nodes: u8) -> Self {
        Self::started(Engine::Cassandra, nodes).await
    }

    /// A running NATS.
    pub(crate) async fn nats() -> Self {
        Self::started(Engine::Nats, 1).await
    }

    /// A running Redis.
    pub(crate) async fn redis() -> Self {
        Self::started(Engine::Redis, 1).await
    }

    /// One that does not run yet, but has its address: for what starts before its servers.
    pub(crate) async fn down(engine: Engine, nodes: u8) -> Self {
        assert!(engine == Engine::Cassandra || nodes == 1, "one {engine:?}");
        let turn = match engine {
            Engine::Cassandra => Some(CASSANDRAS.acquire().await.unwrap()),
            Engine::Postgres | Engine::Nats | Engine::Redis => None,
        };
        let home = directory().join("private");
        create_dir_all(&home).unwrap();
        let dir = tempfile::tempdir_in(home).unwrap();
        // PostgreSQL does not run as root.
        set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self {
            engine,
            port: free_port(nodes),
            nodes,
            dir,
            _turn: turn,
        }
    }

    async fn started(engine: Engine, nodes: u8) -> Self {
        let server = Self::down(engine, nodes).await;
        server.start().await;
        server
    }

    /// Where it listens; of a cluster, its first node.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses()[0]
    }

    /// Where each node listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        (1..=self.nodes)
            .map(|node| (host(node), self.port).into())
            .collect()
    }

    /// The folder of all that its first node keeps.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join(self.engine.name()).join("node1/data")
    }

    /// Starts what does not run, with the data it had, and waits until it answers.
    pub(crate) async fn start(&self) {
        self.run("start", None).await;
    }

    /// Ends it in order; its data stay.
    pub(crate) async fn stop(&self) {
        self.run("stop", None).await;
    }

    /// SIGKILL, for all its processes; its data stay. When this returns, they are gone.
    pub(crate) async fn kill(&self) {
        self.run("kill", None).await;
    }

    /// SIGSTOP, for all its processes: its connections stay open, and nothing is answered.
    pub(crate) async fn pause(&self) {
        self.run("pause", None).await;
    }

    /// SIGCONT: it goes on where it was paused.
    pub(crate) async fn resume(&self) {
        self.run("resume", None).await;
    }

    /// One node of a cluster, counted from 1.
    pub(crate) fn node(&self, node: u8) -> Node<'_> {
        assert!((1..=self.nodes).contains(&node), "there is no node {node}");
        Node { server: self, node }
    }

    async fn run(&self, command: &'static str, node: Option<u8>) {
        let words = self.words(command, node);
        let done = tokio::task::spawn_blocking(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            script(&words)
        });
        if let Err(error) = done.await.unwrap() {
            panic!("a test's own {}: {error}", self.engine.name());
        }
    }

    fn words(&self, command: &str, node: Option<u8>) -> Vec<String> {
        let name = self.engine.name();
        let dir = self.dir.path().to_str().unwrap().to_owned();
        let mut words = vec![command.to_owned(), "--dir".to_owned(), dir];
        words.extend(["--port".to_owned(), format!("{name}={}", self.port)]);
        if self.engine == Engine::Cassandra {
            words.extend(["--nodes".to_owned(), self.nodes.to_string()]);
        }
        if let Some(node) = node {
            words.extend(["--node".to_owned(), node.to_string()]);
        }
        words.push(name.to_owned());
        words
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let words = self.words("wipe", None);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Err(error) = script(&words) {
            // `servers wipe` finds it there.
            self.dir.disable_cleanup(true);
            // A test that fails anyway tells its own story.
            assert!(
                thread::panicking(),
                "a test's own {} is left behind: {error}",
                self.engine.name()
            );
        }
    }
}

/// One node of a private cluster.
pub(crate) struct Node<'a> {
    server: &'a Private,
    node: u8,
}

impl Node<'_> {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        (host(self.node), self.server.port).into()
    }

    /// As [`Private::start`]; it then sees all the other nodes that run.
    pub(crate) async fn start(&self) {
        self.server.run("start", Some(self.node)).await;
    }

    /// As [`Private::stop`].
    pub(crate) async fn stop(&self) {
        self.server.run("stop", Some(self.node)).await;
    }

    /// As [`Private::kill`].
    pub(crate) async fn kill(&self) {
        self.server.run("kill", Some(self.node)).await;
    }

    /// As [`Private::pause`].
    pub(crate) async fn pause(&self) {
        self.server.run("pause", Some(self.node)).await;
    }

    /// As [`Private::resume`].
    pub(crate) async fn resume(&self) {
        self.server.run("resume", Some(self.node)).await;
    }
}

/// Where the script keeps the shared servers, by the same rule.
fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("servers")
}

fn host(node: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, node).into()
}

/// A port (and the one after it) that is free on the first `nodes` addresses and that no other test has.
fn free_port(nodes: u8) -> u16 {
    static GIVEN: OnceLock<Mutex<HashSet<u16>>> = OnceLock::new();
    let mut given = GIVEN.get_or_init(Mutex::default).lock().unwrap();
    loop {
        // Two processes with tests start at different places.
        let port = rand::random_range(PORTS.start / 2..PORTS.end / 2) * 2;
        let free = (1..=nodes)
            .flat_map(|node| [(host(node), port), (host(node), port + 1)])
            .all(|address| TcpListener::bind(address).is_ok());
        if free && given.insert(port) {
            return port;
        }
    }
}
