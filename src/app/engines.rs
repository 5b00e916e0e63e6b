//! The stores and services that the configuration names, opened.

use std::sync::Arc;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{runtime, task::JoinHandle};

use crate::{
    adapters::{
        memory::{MemoryCodes, MemoryCounters, MemoryPresence},
        sql::{Sql, migrate as migrations},
        sqlite_log::SqliteLog,
    },
    config::{Config, Profile},
    data_dir::DataDir,
    domain::{id::RoomId, time::Clock},
    http::Check,
    ports::{Counters, OneTimeCodes, Presence, RoomLog},
};

/// What a server stands on.
pub(super) struct Engines {
    /// The relational store.
    pub(super) sql: Sql,
    /// The record of every room.
    pub(super) log: Arc<dyn RoomLog>,
    /// Who is here.
    pub(super) presence: Arc<dyn Presence>,
    /// How often what happened.
    pub(super) counters: Arc<dyn Counters>,
    /// One-time codes on their way.
    pub(super) codes: Arc<dyn OneTimeCodes>,
    /// Where the data lies, for people.
    pub(super) place: String,
    checks: Vec<Check>,
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
        let app_db = data_dir.path().join("app.db");
        migrations::migrate(&app_db)
            .await
            .with_context(|| format!("{} cannot be migrated", app_db.display()))?;
        let sql = Sql::open(&app_db, config.data.pool, config.data.pool_timeout)
            .await
            .with_context(|| format!("{} cannot be opened", app_db.display()))?;
        let chat_db = data_dir.path().join("chat.db");
        let name = chat_db.display().to_string();
        let log = tokio::task::spawn_blocking(move || SqliteLog::open(&chat_db)).await?;
        let log: Arc<dyn RoomLog> = Arc::new(log.with_context(|| format!("{name} cannot be opened"))?);
        let place = std::path::absolute(data_dir.path()).unwrap_or_else(|_| data_dir.path().to_owned());
        Ok(Self {
            checks: vec![relational_store(&sql), room_log(&log)],
            sql,
            log,
            presence: Arc::new(MemoryPresence::new()),
            counters: Arc::new(MemoryCounters::new()),
            codes: Arc::new(MemoryCodes::new(clock.clone())),
            place: place.display().to_string(),
            tasks: Vec::new(),
            data_dir: Some(data_dir),
        })
    }

    #[expect(clippy::unused_async, reason = "about to be filled in")]
    async fn production(_: &mut Config, _: &Clock, _: &runtime::Handle) -> anyhow::Result<Self> {
        anyhow::bail!("this build runs the embedded profile only; unset TIMINGLE_PROFILE")
    }

    /// What `/readyz` asks the engines; once.
    pub(super) fn take_checks(&mut self) -> Vec<Check> {
        std::mem::take(&mut self.checks)
    }

    /// Lets go of everything, when nobody uses it any more.
    pub(super) async fn close(self) {
        self.log.close().await;
        for task in &self.tasks {
            task.abort();
        }
        drop(self.data_dir);
    }
}

fn relational_store(sql: &Sql) -> Check {
    let sql = sql.clone();
    let check = move || -> crate::http::Answer {
        let sql = sql.clone();
        Box::pin(async move { sql.get().await.is_ok() })
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
