//! Brings PostgreSQL to the schema that this binary expects: one node does, others wait.

use std::{sync::Arc, time::Duration};

use diesel::{
    pg::Pg,
    sql_types::{BigInt, Bool},
};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{MigrateError, Outcome};
use crate::adapters::sql::postgres::Server;

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Number of the advisory lock of who migrates ("timingle" as eight bytes).
const LOCK: i64 = i64::from_be_bytes(*b"timingle");

/// How long one waits for another node that migrates.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// How often one looks whether the other node is done.
const LOCK_POLL: Duration = Duration::from_millis(250);

/// How long all migrations together may take.
const LIMIT: Duration = Duration::from_secs(3_600);

/// Pauses between attempts, first and longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

type Harness = AsyncMigrationHarness<AsyncPgConnection>;

/// Runs every migration that the database lacks, once no other node does.
/// Returns the names of those that ran, in order.
///
/// # Errors
/// See [`MigrateError`].
pub(in crate::adapters::sql) async fn run(server: &Server) -> Result<Vec<String>, MigrateError> {
    let mut conn = connect(server).await?;
    take_lock(&mut conn).await?;
    // Closing the connection gives the lock back.
    with(conn, |harness| {
        let versions = harness.run_pending_migrations(POSTGRES)?;
        Ok(versions.iter().map(ToString::to_string).collect())
    })
    .await
}

/// Names of the migrations that the database lacks, in order.
///
/// # Errors
/// See [`MigrateError`].
pub(in crate::adapters::sql) async fn wanted(server: &Server) -> Result<Vec<String>, MigrateError> {
    let mut conn = connect(server).await?;
    // To look is not to make: the harness would create its own table.
    let known = diesel::select(diesel::dsl::sql::<Bool>(
        "to_regclass('__diesel_schema_migrations') is not null",
    ));
    let is_known: bool = answer(known.get_result(&mut conn)).await?;
    with(conn, move |harness| {
        let migrations = if is_known {
            harness.pending_migrations(POSTGRES)?
        } else {
            diesel::migration::MigrationSource::<Pg>::migrations(&POSTGRES)?
        };
        let mut names: Vec<String> = migrations.iter().map(|one| one.name().to_string()).collect();
        names.sort_unstable();
        Ok(names)
    })
    .await
}

/// Migrates, trying again for ever, and tells `ready` when the schema is there.
pub(in crate::adapters::sql) async fn keep_trying(server: Arc<Server>, ready: watch::Sender<bool>) {
    let (mut pause, longest) = PAUSE;
    let mut told = false;
    loop {
        match run(&server).await {
            Ok(names) => {
                for name in &names {
                    tracing::info!(migration = name, "migration {name} ran");
                }
                tracing::info!("the relational store is ready");
                ready.send_replace(true);
                return;
            }
            Err(error) if !told => {
                told = true;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the relational store is not ready yet");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::debug!(error, "the relational store is not ready yet");
            }
        }
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(longest);
    }
}

async fn connect(server: &Server) -> Result<AsyncPgConnection, MigrateError> {
    server.connect_to_migrate().await.map_err(MigrateError::Connect)
}

/// Waits until no other node migrates. Looking again and again, instead of waiting within
/// the database, ends in time also where the other node hangs.
async fn take_lock(conn: &mut AsyncPgConnection) -> Result<(), MigrateError> {
    let until = Instant::now() + LOCK_WAIT;
    let mut told = false;
    loop {
        let lock = diesel::select(
            diesel::dsl::sql::<Bool>("pg_try_advisory_lock(")
                .bind::<BigInt, _>(LOCK)
                .sql(")"),
        );
        if answer(lock.get_result::<bool>(conn)).await? {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(MigrateError::Busy);
        }
        if !told {
            told = true;
            tracing::info!("another node migrates; waiting for it");
        }
        sleep(LOCK_POLL).await;
    }
}

/// A short query's answer, which has to come in time.
async fn answer<T>(query: impl Future<Output = diesel::QueryResult<T>>) -> Result<T, MigrateError> {
    match timeout(LOCK_WAIT, query).await {
        Ok(answer) => answer.map_err(|error| MigrateError::Migration(error.into())),
        Err(_) => Err(MigrateError::Late),
    }
}

/// Lets `work` migrate on a thread of its own, which the harness blocks.
async fn with<T: Send + 'static>(
    conn: AsyncPgConnection,
    work: impl FnOnce(&mut Harness) -> Outcome<T> + Send + 'static,
) -> Result<T, MigrateError> {
    // An hour and not less: what is given up goes on within the database until its
    // connection is closed, when the process ends.
    let work = tokio::task::spawn_blocking(move || work(&mut Harness::new(conn)));
    timeout(LIMIT, work)
        .await
        .map_err(|_| MigrateError::Late)?
        .map_err(MigrateError::Gone)?
        .map_err(MigrateError::Migration)
}
