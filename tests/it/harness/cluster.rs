//! Nodes on production engines.
//!
//! A [`Stage`] is one installation: a database, a keyspace, and prefixes in NATS and Redis that nobody
//! else has. Any number of nodes run on it, in this process or as processes of their own.
//!
//! With `TIMINGLE_TEST_ENGINES=production` every [`TestApp`] is a node on a stage that lives as long as
//! the app's directory, so that a restart on the same directory finds the same data.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::StatusCode;
use scylla::client::{session::Session, session_builder::SessionBuilder};
use serde_json::Value;
use tempfile::TempDir;
use timingle::{
    app::Overrides,
    config::{Config, Sources},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    TestApp, app,
    process::{Launch, Server},
    servers::{self, Database},
    until,
};

/// The key of every node's access tokens.
const JWT_SECRET: &str = "only-for-tests-0123456789-0123456789";

/// Whether every server of the tests in this process is to run on production engines.
pub(crate) fn everywhere() -> bool {
    std::env::var_os("TIMINGLE_TEST_ENGINES").is_some_and(|engines| engines == "production")
}

/// Where the servers are that a stage stands on.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) postgres: SocketAddr,
    /// Every node of the cluster; each entry is kept by so many of them, at most three.
    pub(crate) cassandra: Vec<SocketAddr>,
    pub(crate) nats: SocketAddr,
    pub(crate) redis: SocketAddr,
}

impl Places {
    /// The servers that all tests share.
    pub(crate) async fn shared() -> Self {
        Self {
            postgres: servers::postgres().await,
            cassandra: vec![servers::cassandra().await],
            nats: servers::nats().await,
            redis: servers::redis().await,
        }
    }
}

/// One installation, on which nodes can be started.
pub(crate) struct Stage {
    /// Where nodes look for the servers. A test may put a proxy in before it starts a node.
    pub(crate) places: Places,
    /// The relational store, for looks below the rules.
    pub(crate) database: Database,
    /// Keyspace of the room logs; other stages have rooms in it too.
    pub(crate) keyspace: String,
    prefix: String,
    dir: Arc<TempDir>,
    nodes: AtomicUsize,
}

impl Stage {
    /// An installation on the shared servers.
    pub(crate) async fn new() -> Self {
        Self::in_dir(Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn in_dir(dir: Arc<TempDir>) -> Self {
        static KEYSPACE: OnceCell<String> = OnceCell::const_new();
        static SWEPT: OnceCell<()> = OnceCell::const_new();
        let places = Places::shared().await;
        SWEPT
            .get_or_init(async || forget_databases(places.postgres).await)
            .await;
        let keyspace = KEYSPACE
            .get_or_init(async || {
                // One for all: making one takes Cassandra a while, and rooms never meet.
                let session = session(&places.cassandra).await;
                forget_keyspaces(&session).await;
                let name = format!("it_{}", std::process::id());
                create_keyspace(&session, &name, 1).await;
                name
            })
            .await;
        Self::made(places, keyspace.clone(), dir).await
    }

    /// An installation on these servers, which must run now, with a keyspace of its own.
    pub(crate) async fn on(places: Places) -> Self {
        let keyspace = format!("it_{}", Uuid::new_v4().simple());
        let session = session(&places.cassandra).await;
        create_keyspace(&session, &keyspace, places.cassandra.len()).await;
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::made(places, keyspace, dir).await
    }

    async fn made(places: Places, keyspace: String, dir: Arc<TempDir>) -> Self {
        Self {
            database: Database::on(places.postgres).await,
            places,
            keyspace,
            prefix: format!("it-{}", Uuid::new_v4().simple()),
            dir,
            nodes: AtomicUsize::new(0),
        }
    }

    /// The stage that belongs to `dir`: the same one each time, until `dir` is gone.
    pub(super) async fn of(dir: &Arc<TempDir>) -> Arc<Self> {
        type Stages = HashMap<PathBuf, (Weak<TempDir>, Arc<Stage>)>;
        static STAGES: Mutex<Option<Stages>> = Mutex::new(None);
        let (found, gone): (_, Vec<_>) = {
            let mut stages = STAGES.lock().unwrap();
            let stages = stages.get_or_insert_default();
            (
                stages.get(dir.path()).map(|(_, stage)| Arc::clone(stage)),
                stages.extract_if(|_, (dir, _)| dir.strong_count() == 0).collect(),
            )
        };
        // Their databases are dropped, which takes a while.
        tokio::task::spawn_blocking(move || drop(gone)).await.unwrap();
        if let Some(found) = found {
            return found;
        }
        // A directory of its own, else it would keep `dir` alive.
        let stage = Arc::new(Self::in_dir(Arc::new(tempfile::tempdir().unwrap())).await);
        let entry = (Arc::downgrade(dir), Arc::clone(&stage));
        let mut stages = STAGES.lock().unwrap();
        stages
            .get_or_insert_default()
            .insert(dir.path().to_owned(), entry);
        stage
    }

    /// What makes a server a node of this installation, as its environment says it.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        let Places {
            postgres,
            cassandra,
            nats,
            redis,
        } = &self.places;
        let hosts: Vec<String> = cassandra.iter().map(ToString::to_string).collect();
        [
            ("TIMINGLE_PROFILE", "production".to_owned()),
            // Nobody has to prove a number here.
            ("TIMINGLE__SERVER__HOST", "127.0.0.1".to_owned()),
            ("JWT_SECRET", JWT_SECRET.to_owned()),
            ("POSTGRES_HOST", postgres.ip().to_string()),
            ("POSTGRES_PORT", postgres.port().to_string()),
            ("POSTGRES_USER", "postgres".to_owned()),
            ("POSTGRES_DB", self.database.name().to_owned()),
            ("SCYLLA_HOSTS", hosts.join(",")),
            ("SCYLLA_KEYSPACE", self.keyspace.clone()),
            ("NATS_URL", format!("nats://{nats}")),
            ("TIMINGLE__NATS__PREFIX", self.prefix.clone()),
            ("REDIS_HOST", redis.ip().to_string()),
            ("REDIS_PORT", redis.port().to_string()),
            ("TIMINGLE__REDIS__PREFIX", format!("{}:", self.prefix)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The settings of a node in this process, whose own files, if it has any, are in `dir`.
    pub(crate) fn config(&self, dir: &Path) -> Config {
        let mut env = app::env(dir);
        env.extend(self.env());
        Config::load(&Sources { file: None, env }).unwrap()
    }

    /// A node in this process, once it is ready.
    pub(crate) async fn node(&self) -> TestApp {
        self.node_with(|_| {}, Overrides::default()).await
    }

    /// As [`Stage::node`], with some settings changed and perhaps something real replaced.
    pub(crate) async fn node_with(&self, change: impl FnOnce(&mut Config), overrides: Overrides) -> TestApp {
        let node = self.unready_node(change, overrides).await;
        until_ready(node.address).await;
        node
    }

    /// As [`Stage::node_with`], once it listens: its engines may be away.
    pub(crate) async fn unready_node(
        &self,
        change: impl FnOnce(&mut Config),
        overrides: Overrides,
    ) -> TestApp {
        let mut config = self.config(&self.next_dir());
        change(&mut config);
        TestApp::run(Arc::clone(&self.dir), config, overrides).await
    }

    /// A node that is a process of its own with these settings, once it is ready.
    pub(crate) async fn process_with(&self, env: &[(&str, &str)]) -> Server {
        let server = self.unready_process(env).await;
        until_ready(server.address).await;
        server
    }

    /// As [`Stage::process_with`], once it listens: its engines may be away.
    pub(crate) async fn unready_process(&self, env: &[(&str, &str)]) -> Server {
        let dir = self.next_dir();
        std::fs::create_dir(&dir).unwrap();
        let own = self.env();
        let mut all: Vec<(&str, &str)> = own
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.extend(env);
        Server::launch(Launch {
            dir: &dir,
            env: &all,
            through: &[],
        })
        .await
    }

    fn next_dir(&self) -> PathBuf {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed);
        self.dir.path().join(format!("node-{number}"))
    }
}

/// What the server there says of its readiness: the status, and what is missing.
pub(crate) async fn readiness(address: SocketAddr) -> (StatusCode, Vec<String>) {
    let answer = reqwest::get(format!("http://{address}/readyz")).await.unwrap();
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    let missing = body["details"]["failing"].as_array().into_iter().flatten();
    let missing = missing.map(|name| name.as_str().unwrap().to_owned());
    (status, missing.collect())
}

/// Returns once the server there can serve.
pub(crate) async fn until_ready(address: SocketAddr) {
    until("a ready server", || async {
        (readiness(address).await.0 == StatusCode::OK).then_some(())
    })
    .await;
}

async fn session(nodes: &[SocketAddr]) -> Session {
    let mut session = SessionBuilder::new();
    for node in nodes {
        session = session.known_node_addr(*node);
    }
    let session = session.build().await;
    session.unwrap_or_else(|error| panic!("no session with Cassandra at {nodes:?}: {error}"))
}

async fn create_keyspace(session: &Session, name: &str, replicas: usize) {
    let replicas = replicas.min(3);
    let statement = format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'datacenter1': {replicas}}}"
    );
    session.query_unpaged(statement, ()).await.unwrap();
}

/// Drops the keyspaces of processes that have ended: they would fill the shared server's memory.
async fn forget_keyspaces(session: &Session) {
    let names = session
        .query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces", ())
        .await
        .unwrap()
        .into_rows_result()
        .unwrap();
    for row in names.rows::<(String,)>().unwrap() {
        let (name,) = row.unwrap();
        let process: Option<u32> = name.strip_prefix("it_").and_then(|pid| pid.parse().ok());
        if process
            .is_some_and(|pid| pid == std::process::id() || !Path::new(&format!("/proc/{pid}")).exists())
        {
            // Fails where another process does the same.
            let _ = session
                .query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ())
                .await;
        }
    }
}

/// Drops the databases that ended processes left behind: those that nobody uses and that are older than
/// an hour.
async fn forget_databases(server: SocketAddr) {
    let url = format!("postgres://postgres@{server}/postgres?connect_timeout=5");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let old = "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' \
               AND (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification < now() - interval '1 hour'";
    for row in client.query(old, &[]).await.unwrap() {
        let name: String = row.get(0);
        // Fails where somebody is connected.
        let _ = client
            .batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))
            .await;
    }
}
