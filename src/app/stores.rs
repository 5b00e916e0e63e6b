//! The two stores that last, opened: the relational one and the rooms' log.
//!
//! A server goes on without an engine that is away (`engines`); a tool waits for it, but
//! not for ever, and says which one is missing.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    runtime,
    time::{Instant, sleep, timeout},
};

use crate::{
    adapters::{
        cql_log::CqlLog,
        sql::{
            Sql,
            migrate::{self as migrations, MigrateError},
            tables,
        },
        sqlite_log::SqliteLog,
    },
    config::{Config, Profile},
    data_dir::DataDir,
    domain::id::RoomId,
    ports::RoomLog,
};

/// How long a tool waits for an engine.
const WAIT: Duration = Duration::from_secs(10);

/// Connections of a tool, one of which [`Stores::ensure_idle`] does not count as a node's.
const TOOL_POOL: u32 = 1;

/// How long a connection may be seen that has been closed.
const LINGER: Duration = Duration::from_secs(3);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// The stores of one installation.
pub(super) struct Stores {
    /// The relational store, migrated.
    pub(super) sql: Sql,
    /// The record of every room.
    pub(super) log: Arc<dyn RoomLog>,
    /// Held to the end: it keeps servers off the embedded stores.
    data_dir: Option<DataDir>,
}

impl Stores {
    /// Opens the stores of `profile`, and waits until they answer.
    ///
    /// # Errors
    /// One of them cannot be used or does not answer; which one.
    pub(super) async fn open(config: &Config, profile: Profile) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.data.pool = TOOL_POOL;
        let config = &config;
        match profile {
            Profile::Embedded => {
                let data_dir = DataDir::open(&config.data.dir)?;
                let (sql, log) = embedded(config, &data_dir).await?;
                Ok(Self {
                    sql,
                    log,
                    data_dir: Some(data_dir),
                })
            }
            Profile::Production => {
                let sql = answering_postgres(config).await?;
                let log = answering_cql(config).await?;
                Ok(Self {
                    sql,
                    log,
                    data_dir: None,
                })
            }
        }
    }

    /// Makes sure that no server works on these stores. A data directory is locked by
    /// whoever has it; nodes are seen by their connections to the database.
    ///
    /// # Errors
    /// A node works on them, or that cannot be found out.
    pub(super) async fn ensure_idle(&self) -> anyhow::Result<()> {
        if self.data_dir.is_some() {
            return Ok(());
        }
        let give_up = Instant::now() + LINGER;
        loop {
            let seen = tables::other_nodes(&mut *self.sql.get().await?).await?;
            if seen == 0 {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < give_up,
                "nodes are connected to the database ({seen} connections): stop them first"
            );
            sleep(PAUSE).await;
        }
    }

    /// Lets go of them.
    pub(super) async fn close(self) {
        self.log.close().await;
    }
}

/// The stores in a data directory that this process holds.
///
/// # Errors
/// A file cannot be migrated or opened; which one.
pub(super) async fn embedded(config: &Config, data_dir: &DataDir) -> anyhow::Result<(Sql, Arc<dyn RoomLog>)> {
    let sql = embedded_sql(config, data_dir).await?;
    let chat_db = data_dir.path().join("chat.db");
    let name = chat_db.display().to_string();
    let log = tokio::task::spawn_blocking(move || SqliteLog::open(&chat_db)).await?;
    let log = log.with_context(|| format!("{name} cannot be opened"))?;
    Ok((sql, Arc::new(log)))
}

/// The relational store in a data directory that this process holds, migrated.
///
/// # Errors
/// The file cannot be migrated or opened.
pub(super) async fn embedded_sql(config: &Config, data_dir: &DataDir) -> anyhow::Result<Sql> {
    let app_db = data_dir.path().join("app.db");
    migrations::migrate(&app_db)
        .await
        .with_context(|| format!("{} cannot be migrated", app_db.display()))?;
    Sql::open(&app_db, config.data.pool, config.data.pool_timeout)
        .await
        .with_context(|| format!("{} cannot be opened", app_db.display()))
}

/// PostgreSQL, wherever it is; connections are opened when they are needed.
///
/// # Errors
/// The settings cannot be used.
pub(super) fn postgres(config: &Config) -> anyhow::Result<Sql> {
    Sql::postgres(&config.postgres, &config.data).context("postgres cannot be used")
}

/// The log in `ScyllaDB` or Cassandra, connected by a task on `background`.
///
/// # Errors
/// The settings cannot be used.
pub(super) fn cql(config: &Config, background: &runtime::Handle) -> anyhow::Result<Arc<CqlLog>> {
    let log = CqlLog::open(&config.scylla, background).context("scylla cannot be used")?;
    Ok(Arc::new(log))
}

/// PostgreSQL, brought to this version's schema.
///
/// # Errors
/// It does not answer, or cannot be migrated.
pub(super) async fn answering_postgres(config: &Config) -> anyhow::Result<Sql> {
    let sql = postgres(config)?;
    patiently(config, || sql.migrate()).await?;
    Ok(sql)
}

/// PostgreSQL, if it has this version's schema already.
///
/// # Errors
/// It does not answer, or lacks migrations.
pub(super) async fn migrated_postgres(config: &Config) -> anyhow::Result<Sql> {
    let sql = postgres(config)?;
    let missing = patiently(config, || sql.pending_migrations()).await?;
    anyhow::ensure!(
        missing.is_empty(),
        "the database lacks the migrations {}: run `timingle migrate` first",
        missing.join(", ")
    );
    patiently(config, || sql.migrate()).await?;
    Ok(sql)
}

/// Does `work`, again while PostgreSQL cannot be reached.
///
/// # Errors
/// It cannot be reached in time, or the work failed.
pub(super) async fn patiently<T, F: Future<Output = Result<T, MigrateError>>>(
    config: &Config,
    work: impl Fn() -> F,
) -> anyhow::Result<T> {
    let give_up = Instant::now() + WAIT;
    loop {
        match work().await {
            Ok(done) => return Ok(done),
            Err(MigrateError::Connect(_)) if Instant::now() < give_up => sleep(PAUSE).await,
            Err(error) => {
                let postgres = &config.postgres;
                return Err(error).with_context(|| {
                    format!(
                        "postgres, the relational store, cannot be used at {}:{}, database {}",
                        postgres.host, postgres.port, postgres.database
                    )
                });
            }
        }
    }
}

/// The log in `ScyllaDB` or Cassandra, once it answers.
///
/// # Errors
/// A setting is wrong, or it does not answer in time.
pub(super) async fn answering_cql(config: &Config) -> anyhow::Result<Arc<dyn RoomLog>> {
    let log = cql(config, &runtime::Handle::current())?;
    let missing = || {
        format!(
            "scylla, the log, cannot be used at {}, keyspace {}",
            config.scylla.hosts.join(", "),
            config.scylla.keyspace
        )
    };
    log.first_try(WAIT).await.with_context(missing)?;
    let mut last = None;
    let answers = async {
        loop {
            match log.tip(RoomId(uuid::Uuid::nil())).await {
                Ok(_) => break,
                Err(error) => last = Some(error),
            }
            sleep(PAUSE).await;
        }
    };
    match (timeout(WAIT, answers).await, last) {
        (Ok(()), _) => Ok(log),
        (Err(_), Some(error)) => Err(error).with_context(missing),
        (Err(elapsed), None) => Err(elapsed).with_context(missing),
    }
}
