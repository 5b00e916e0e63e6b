//! The log in Cassandra: what a start finds and settles, races, and servers that fail.

mod faults;
mod majority;
mod race;
mod start;

use std::{net::SocketAddr, path::Path, time::Duration};

use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    value::CqlValue,
};
use timingle::{
    adapters::cql_log::{CqlLog, Tuning, create_keyspace},
    config::{Scylla, Sources},
    domain::id::RoomId,
    ports::RoomLog,
};
use tokio::{runtime::Handle, sync::OnceCell};

use crate::harness::{servers, until};

/// Settings for the servers at `nodes`.
pub(crate) fn settings(nodes: &[SocketAddr], keyspace: &str) -> Scylla {
    let sources = Sources {
        file: None,
        env: Vec::new(),
    };
    let mut config = timingle::config::Config::load(&sources).unwrap().scylla;
    config.hosts = nodes.iter().map(ToString::to_string).collect();
    keyspace.clone_into(&mut config.keyspace);
    config
}

/// Settings for the shared Cassandra, with a keyspace that the tests of this process share.
pub(crate) async fn shared() -> Scylla {
    static MADE: OnceCell<Scylla> = OnceCell::const_new();
    let make = async || {
        let node = servers::cassandra().await;
        let config = settings(&[node], &format!("log_{}", std::process::id()));
        forget_keyspaces(&Raw::to(node, "system").await).await;
        create_keyspace(&config, 1).await.unwrap();
        config
    };
    MADE.get_or_init(make).await.clone()
}

/// Drops the keyspaces that ended processes left behind.
async fn forget_keyspaces(raw: &Raw) {
    let text = "SELECT keyspace_name FROM system_schema.keyspaces";
    let rows = raw.session.query_unpaged(text, ()).await.unwrap();
    for row in rows.into_rows_result().unwrap().rows::<(String,)>().unwrap() {
        let (name,) = row.unwrap();
        let process: Option<u32> = name.strip_prefix("log_").and_then(|pid| pid.parse().ok());
        if process.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Fails where another process does the same.
            let _ = raw
                .session
                .query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ())
                .await;
        }
    }
}

/// Buckets so small that every test crosses many.
pub(crate) fn tiny(bucket: u64) -> Tuning {
    Tuning {
        bucket,
        ..Tuning::default()
    }
}

/// A log on the shared Cassandra, connected.
pub(crate) async fn connected(tuning: Tuning) -> CqlLog {
    open(&shared().await, tuning).await
}

/// A log as `config` says, connected.
pub(crate) async fn open(config: &Scylla, tuning: Tuning) -> CqlLog {
    let log = CqlLog::open_tuned(config, &Handle::current(), tuning).unwrap();
    until("a connected log", || async {
        log.tip(RoomId(uuid::Uuid::nil())).await.ok()
    })
    .await;
    log
}

/// A session of the driver, to see and to spoil what is stored.
pub(crate) struct Raw {
    pub(crate) session: Session,
}

impl Raw {
    /// On the keyspace of [`shared`].
    pub(crate) async fn shared() -> Self {
        let config = shared().await;
        Self::to(config.hosts[0].parse().unwrap(), &config.keyspace).await
    }

    pub(crate) async fn to(node: SocketAddr, keyspace: &str) -> Self {
        let session = SessionBuilder::new()
            .known_node_addr(node)
            .use_keyspace(keyspace, false)
            .connection_timeout(Duration::from_secs(5))
            .build()
            .await
            .unwrap();
        Self { session }
    }

    pub(crate) async fn run(&self, text: &str) {
        self.session.query_unpaged(text, ()).await.unwrap();
    }

    pub(crate) async fn chunk(&self, room: RoomId, bucket: i32, first: i64) -> Vec<u8> {
        let text = "SELECT chunk FROM room_log WHERE room = ? AND bucket = ? AND first_seq = ?";
        let rows = self
            .session
            .query_unpaged(text, (room.0, bucket, first))
            .await
            .unwrap()
            .into_rows_result()
            .unwrap();
        rows.single_row::<(Vec<u8>,)>().unwrap().0
    }

    pub(crate) async fn set_chunk(&self, room: RoomId, bucket: i32, first: i64, chunk: &[u8]) {
        let text = "UPDATE room_log SET chunk = ? WHERE room = ? AND bucket = ? AND first_seq = ?";
        self.session
            .query_unpaged(text, (chunk, room.0, bucket, first))
            .await
            .unwrap();
    }

    /// How often each chunk of a bucket was rewritten.
    pub(crate) async fn revs(&self, room: RoomId, bucket: i32) -> Vec<Option<i32>> {
        let text = "SELECT rev FROM room_log WHERE room = ? AND bucket = ?";
        let rows = self
            .session
            .query_unpaged(text, (room.0, bucket))
            .await
            .unwrap()
            .into_rows_result()
            .unwrap();
        rows.rows::<(Option<i32>,)>()
            .unwrap()
            .map(|row| row.unwrap().0)
            .collect()
    }

    /// A setting of the log.
    pub(crate) async fn setting(&self, name: &str) -> Option<CqlValue> {
        let text = "SELECT value FROM settings WHERE name = ?";
        let rows = self
            .session
            .query_unpaged(text, (name,))
            .await
            .unwrap()
            .into_rows_result()
            .unwrap();
        rows.maybe_first_row::<(Option<CqlValue>,)>()
            .unwrap()
            .and_then(|row| row.0)
    }
}
