//! What the subcommands do with the stores.

use std::{io::Write as _, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{runtime, signal::unix::SignalKind, time::timeout};

use super::{
    App, Overrides,
    stores::{self, Stores},
};
use crate::{
    adapters::{
        cql_log,
        sql::{Sql, events, migrate as migrations},
        sqlite_log::SqliteLog,
    },
    config::{Config, Profile, Proof},
    data_dir::DataDir,
    domain::{
        id::{EventId, UserId},
        phone::Phone,
        time::Clock,
        user::UserRole,
    },
    ports::{FactSource as _, RoomLog},
    realtime::heal::{Healed, Ports, heal},
    service::{
        account::Accounts,
        events::Events,
        export::{Exported, export_file},
        facts::SqlFacts,
    },
};

/// Events looked at in one go.
const PAGE: i64 = 500;

/// How long the making of a keyspace may take.
const CREATE_KEYSPACE: Duration = Duration::from_secs(60);

/// Runs a server until it is told to stop (SIGINT or SIGTERM).
///
/// # Errors
/// What keeps it from serving, in words for the one who starts it.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let background = runtime::Builder::new_multi_thread()
        .thread_name("background")
        .worker_threads(2)
        .enable_all()
        .build()?;
    let handle = background.handle().clone();
    let outcome = actix_rt::System::new().block_on(async move {
        let (proof, has_sms) = (config.auth.proof, !config.sms.url.is_empty());
        let app = App::build(config, &handle, Overrides::default()).await?;
        welcome(&app, proof, has_sms)?;
        app.run(stopped()).await
    });
    background.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Tells a person where the server is and how to sign in.
fn welcome(app: &App, proof: Proof, has_sms: bool) -> std::io::Result<()> {
    let how = match proof {
        Proof::Code if has_sms => "with a phone number; the one-time code is sent there",
        Proof::Code => "with a phone number; the one-time code is printed here",
        Proof::None => "with any phone number, without a code (development)",
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "timingle {} is running", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  address   http://{}", app.address())?;
    writeln!(out, "  data      {}", app.data())?;
    writeln!(out, "  sign in   {how}")?;
    writeln!(out, "  talk      timingle chat --server {}", app.public_url())?;
    writeln!(out, "  stop      Ctrl-C")?;
    out.flush()
}

/// Resolves at SIGINT or SIGTERM.
async fn stopped() {
    let signals = (
        tokio::signal::unix::signal(SignalKind::interrupt()),
        tokio::signal::unix::signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        tracing::error!("signals cannot be received; only SIGKILL stops this server");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Runs the migrations that the relational store lacks; with `dry_run` only names them.
///
/// # Errors
/// The store is in use or does not answer, or a migration fails.
pub async fn migrate(config: &Config, dry_run: bool) -> anyhow::Result<Vec<String>> {
    if config.profile == Profile::Production {
        let sql = stores::postgres(config)?;
        return if dry_run {
            stores::patiently(config, || sql.pending_migrations()).await
        } else {
            stores::patiently(config, || sql.migrate()).await
        };
    }
    let data_dir = DataDir::open(&config.data.dir)?;
    let app_db = data_dir.path().join("app.db");
    let names = if dry_run {
        migrations::pending(&app_db).await?
    } else {
        migrations::migrate(&app_db).await?
    };
    Ok(names)
}

/// Makes the keyspace of the room logs with `replicas` of everything, unless there is one;
/// whether there was none.
///
/// # Errors
/// The profile has no keyspace, the cluster does not answer, or it is not one for which this
/// can be decided here.
pub async fn create_keyspace(config: &Config, replicas: u8) -> anyhow::Result<bool> {
    anyhow::ensure!(
        config.profile == Profile::Production,
        "the embedded profile has no keyspace"
    );
    let made = timeout(
        CREATE_KEYSPACE,
        cql_log::create_keyspace(&config.scylla, replicas),
    )
    .await;
    made.map_err(anyhow::Error::from)
        .and_then(|made| made.map_err(anyhow::Error::from))
        .with_context(|| format!("the keyspace {} was not made", config.scylla.keyspace))
}

/// Writes the whole record of `event` to `out`, also beside a running server.
///
/// # Errors
/// There is no such event, its log is damaged, or the file cannot be written.
pub async fn export(config: &Config, event: EventId, out: &Path) -> anyhow::Result<Exported> {
    let (sql, log) = to_read(config).await?;
    let snapshot = SqlFacts::new(sql)
        .load(event)
        .await
        .with_context(|| format!("event {event}"))?;
    let exported = export_file(&*log, event, snapshot.event.room, out)
        .await
        .with_context(|| format!("event {event} cannot be exported"));
    log.close().await;
    exported
}

/// The stores as they are, beside whoever works on them.
async fn to_read(config: &Config) -> anyhow::Result<(Sql, Arc<dyn RoomLog>)> {
    if config.profile == Profile::Production {
        let sql = stores::migrated_postgres(config).await?;
        return Ok((sql, stores::answering_cql(config).await?));
    }
    let dir = &config.data.dir;
    let app_db = dir.join("app.db");
    anyhow::ensure!(
        app_db.exists(),
        "{} holds no timingle data (data.dir says where to look)",
        dir.display()
    );
    let sql = Sql::open(&app_db, 1, config.data.pool_timeout).await?;
    let chat_db = dir.join("chat.db");
    let log = tokio::task::spawn_blocking(move || SqliteLog::open_read_only(&chat_db)).await??;
    Ok((sql, Arc::new(log)))
}

/// What a repair found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Events looked at.
    pub events: u64,
    /// Events that could not be brought to one state; the log lines say why.
    pub failed: u64,
    /// What was done to the others.
    pub healed: Healed,
}

/// Brings every event's log and store to one state, after a restore of either; of the
/// production profile also beside nodes. `progress` hears of each hundred events.
///
/// # Errors
/// The stores are in use, cannot be opened or do not answer.
pub async fn repair(config: &Config, mut progress: impl FnMut(u64)) -> anyhow::Result<Repaired> {
    let stores = Stores::open(config, config.profile).await?;
    let ports = Ports {
        log: Arc::clone(&stores.log),
        facts: Arc::new(SqlFacts::new(stores.sql.clone())),
        clock: Clock::system(),
    };
    let mut repaired = Repaired::default();
    let mut after = EventId(0);
    loop {
        let ids = events::ids_after(&mut *stores.sql.get().await?, after, PAGE).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        for event in ids {
            match heal(&ports, event).await {
                Ok(healed) => repaired.healed += healed,
                Err(error) => {
                    repaired.failed += 1;
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(event.id = %event, error, "event {event} cannot be repaired");
                }
            }
            repaired.events += 1;
            if repaired.events % 100 == 0 {
                progress(repaired.events);
            }
        }
    }
    stores.close().await;
    Ok(repaired)
}

/// Makes the user of the number `phone` something else to the service; who that is.
///
/// # Errors
/// The store is in use or does not answer, `phone` is no number, nobody has it, or it is the number whose code
/// is fixed and `role` an administrator's.
pub async fn grant(config: &Config, phone: &str, role: UserRole) -> anyhow::Result<UserId> {
    let phone = Phone::parse(phone, &config.auth.default_region)?;
    let review = Phone::parse(&config.auth.review_phone, &config.auth.default_region);
    anyhow::ensure!(
        !role.is_admin() || review.as_ref() != Ok(&phone),
        "the number of auth.review_phone signs in with a code that others know: \
         its account cannot be made {}",
        role.as_str()
    );
    let (sql, _held) = match config.profile {
        Profile::Production => (stores::answering_postgres(config).await?, None),
        Profile::Embedded => {
            let data_dir = DataDir::open(&config.data.dir)?;
            (stores::embedded_sql(config, &data_dir).await?, Some(data_dir))
        }
    };
    let events = Events::new(sql.clone(), Clock::system());
    // No server runs on this directory; nodes look for themselves who is still who.
    let accounts = Accounts::new(sql, events, Clock::system(), Arc::new(|_| {}));
    accounts
        .grant(&phone, role)
        .await
        .context("nobody was given another role")
}
