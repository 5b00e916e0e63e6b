//! The stores and services that the configuration names, opened.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{runtime, task::JoinHandle};

use super::stores;
use crate::{
    adapters::{
        memory::{MemoryBroker, MemoryCodes, MemoryCounters, MemoryPresence},
        nats::Nats,
        redis::{Redis, RedisCodes, RedisCounters, RedisPresence},
        sql::Sql,
    },
    config::{Config, Profile},
    data_dir::DataDir,
    domain::{id::RoomId, time::Clock},
    http::Check,
    ports::{Broker, Counters, OneTimeCodes, Presence, RoomLog},
};

/// How long a start waits to hear that the log does not want this node, which ends the start.
const LOG_FIRST_TRY: Duration = Duration::from_secs(10);

/// What a server stands on.
pub(super) struct Engines {
    /// The relational store.
    pub(super) sql: Sql,
    /// The record of every room.
    pub(super) log: Arc<dyn RoomLog>,
    /// Carries what nodes tell each other.
    pub(super) broker: Arc<dyn Broker>,
    /// Who is here.
    pub(super) presence: Arc<dyn Presence>,
    /// How often what happened.
    pub(super) counters: Arc<dyn Counters>,
    /// One-time codes on their way.
    pub(super) codes: Arc<dyn OneTimeCodes>,
    /// Where the data lies, for people.
    pub(super) place: String,
    checks: Vec<Check>,
    helpers: Vec<Check>,
    /// Says goodbye to the other nodes.
    shared_presence: Option<Arc<RedisPresence>>,
    tasks: Vec<JoinHandle<()>>,
    /// Held until the very end: it keeps a second server off the embedded stores.
    data_dir: Option<DataDir>,
}

impl Engines {
    /// Opens what `config` asks for. The engines of the production profile need not be there
    /// yet: their tasks on `background` go on trying, and [`Engines::take_checks`] says so.
    ///
    /// # Errors
    /// The embedded stores cannot be opened, or a setting makes no sense to an engine.
    pub(super) async fn open(
        config: &mut Config,
        clock: &Clock,
        background: &runtime::Handle,
    ) -> anyhow::Result<Self> {
        match config.profile {
            Profile::Embedded => Self::embedded(config, clock).await,
            Profile::Production => Self::production(config, clock, background).await,
        }
    }

    async fn embedded(config: &mut Config, clock: &Clock) -> anyhow::Result<Self> {
        let data_dir = DataDir::open(&config.data.dir)?;
        if config.auth.jwt_secret.expose_secret().is_empty() {
            config.auth.jwt_secret = SecretString::from(data_dir.secret()?.expose_secret().to_owned());
        }
        let (sql, log) = stores::embedded(config, &data_dir).await?;
        let place = std::path::absolute(data_dir.path()).unwrap_or_else(|_| data_dir.path().to_owned());
        Ok(Self {
            checks: vec![relational_store(&sql), room_log(&log)],
            sql,
            log,
            broker: Arc::new(MemoryBroker::alone()),
            presence: Arc::new(MemoryPresence::new()),
            counters: Arc::new(MemoryCounters::new()),
            codes: Arc::new(MemoryCodes::new(clock.clone())),
            place: place.display().to_string(),
            helpers: Vec::new(),
            shared_presence: None,
            tasks: Vec::new(),
            data_dir: Some(data_dir),
        })
    }

    async fn production(
        config: &mut Config,
        clock: &Clock,
        background: &runtime::Handle,
    ) -> anyhow::Result<Self> {
        let mut tasks = Vec::new();
        let sql = stores::postgres(config)?;
        tasks.extend(sql.migrate_in_background(background));
        let log = stores::cql(config, background)?;
        log.first_try(LOG_FIRST_TRY).await?;
        let log: Arc<dyn RoomLog> = log;
        let place = format!(
            "postgresql at {}:{}, database {}; logs at {}, keyspace {}",
            config.postgres.host,
            config.postgres.port,
            config.postgres.database,
            config.scylla.hosts.join(","),
            config.scylla.keyspace
        );
        let (redis, task) = Redis::open(&config.redis, background).context("redis cannot be used")?;
        tasks.push(task);
        let (presence, task) = RedisPresence::new(redis.clone(), background);
        tasks.push(task);
        let presence = Arc::new(presence);
        let nats = Nats::open(&config.nats, background).context("nats cannot be used")?;
        let nats = Arc::new(nats);
        let codes = RedisCodes::new(redis.clone(), &config.auth.jwt_secret, clock.clone())?;
        Ok(Self {
            checks: vec![relational_store(&sql), room_log(&log)],
            sql,
            log,
            broker: Arc::clone(&nats) as Arc<dyn Broker>,
            presence: Arc::clone(&presence) as Arc<dyn Presence>,
            counters: Arc::new(RedisCounters::new(redis.clone())),
            codes: Arc::new(codes),
            helpers: vec![redis_answers(redis), nats_answers(nats)],
            shared_presence: Some(presence),
            place,
            tasks,
            data_dir: None,
        })
    }

    /// What `/readyz` asks the engines; once.
    pub(super) fn take_checks(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.checks)
    }

    /// What `/readyz` asks of engines that merely help; once.
    pub(super) fn take_helpers(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.helpers)
    }

    /// Lets go of everything, when nobody uses it any more.
    pub(super) async fn close(self) {
        self.broker.close().await;
        self.log.close().await;
        for task in &self.tasks {
            task.abort();
        }
        if let Some(presence) = self.shared_presence {
            presence.leave().await;
        }
        drop(self.data_dir);
    }
}

fn redis_answers(redis: Redis) -> Check {
    let check = move || -> crate::http::Answer {
        let redis = redis.clone();
        Box::pin(async move { redis.answers().await })
    };
    ("redis", Box::new(check))
}

fn nats_answers(nats: Arc<Nats>) -> Check {
    let check = move || -> crate::http::Answer {
        let is_connected = nats.is_connected();
        Box::pin(async move { is_connected })
    };
    ("nats", Box::new(check))
}

fn relational_store(sql: &Sql) -> Check {
    let sql = sql.clone();
    let check = move || -> crate::http::Answer {
        let sql = sql.clone();
        Box::pin(async move { sql.check().await.is_ok() })
    };
    ("relational_store", Box::new(check))
}

fn room_log(log: &Arc<dyn RoomLog>) -> Check {
    let log = Arc::clone(log);
    let check = move || -> crate::http::Answer {
        let log = Arc::clone(&log);
        Box::pin(async move { log.tip(RoomId(uuid::Uuid::nil())).await.is_ok() })
    };
    ("room_log", Box::new(check))
}
