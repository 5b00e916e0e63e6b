//! A database gets its schema once, beside whoever else wants to give it, and beside those
//! who serve on it already.

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use timingle::adapters::sql::{
    Sql,
    migrate::{MigrateError, pending},
};
use tokio::time::timeout;

use super::{
    catalog::{self, Catalog},
    data, migrated, settings,
};
use crate::harness::{cluster::Stage, database::Database, process::program, soon, until};

/// The steps of one database, in order: the version, and what it does.
fn steps(database: &str) -> Vec<(String, String)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(database);
    let mut steps: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|step| step.unwrap().path())
        .collect();
    steps.sort();
    let step = |step: &PathBuf| {
        let name = step.file_name().unwrap().to_str().unwrap();
        let does = std::fs::read_to_string(step.join("up.sql")).unwrap();
        (name.split('_').next().unwrap().to_owned(), does)
    };
    steps.iter().map(step).collect()
}

fn sql(database: &Database) -> Sql {
    Sql::postgres(&settings(database.server(), database.name()), &data(2)).unwrap()
}

async fn count(client: &tokio_postgres::Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

const RAN: &str = "select count(*) from __diesel_schema_migrations";

#[tokio::test]
async fn databases_take_the_same_steps_and_a_look_at_them_takes_none() {
    let names = |database| steps(database).into_iter().map(|(version, _)| version);
    assert!(names("postgres").eq(names("sqlite")));

    let database = Database::shared().await;
    let missing = sql(&database).pending_migrations().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(missing, pending(&dir.path().join("app.db")).await.unwrap());
    let client = database.connect().await;
    let tables = "select count(*) from pg_class where relnamespace = 'public'::regnamespace";
    assert_eq!(count(&client, tables).await, 0);

    migrated(&database).await;
    assert_eq!(sql(&database).pending_migrations().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn migrations_go_down_and_up_again() {
    let database = Database::shared().await;
    migrated(&database).await;
    let client = database.connect().await;
    let first = catalog::of_postgres(&client).await;
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut downs: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|step| step.unwrap().path().join("down.sql"))
        .collect();
    downs.sort();
    for down in downs.iter().rev() {
        client
            .batch_execute(&std::fs::read_to_string(down).unwrap())
            .await
            .unwrap();
    }
    assert_eq!(catalog::of_postgres(&client).await, Catalog::new());
    client
        .batch_execute("delete from __diesel_schema_migrations")
        .await
        .unwrap();
    migrated(&database).await;
    assert_eq!(catalog::of_postgres(&client).await, first);
}

/// What stood before must stand after, so that the previous release goes on: nothing is
/// gone, nothing has another type or another rule, and what is new need not be filled in.
fn assert_only_adds(before: &Catalog, after: &Catalog, step: &str) {
    for (name, table) in before {
        let now = after.get(name);
        let now = now.unwrap_or_else(|| panic!("{step} drops table {name}"));
        for (column, was) in &table.columns {
            assert_eq!(now.columns.get(column), Some(was), "{step}: {name}.{column}");
        }
        assert_eq!(now.primary_key, table.primary_key, "{step}: key of {name}");
        assert_eq!(now.unique, table.unique, "{step}: what is unique in {name}");
        let new = |column: &&str| !table.columns.contains_key(*column);
        for check in now.checks.difference(&table.checks) {
            let of_new = check.columns().all(|column| new(&column));
            assert!(of_new, "{step}: a new check of {name}: {check:?}");
        }
        for reference in now.references.difference(&table.references) {
            let is_new = new(&reference.column());
            assert!(is_new, "{step}: {name} refers to more: {reference:?}");
        }
        for (column, is) in &now.columns {
            let may_be_left_out = is.nullable || is.default.is_some();
            assert!(
                table.columns.contains_key(column) || may_be_left_out,
                "{step}: who does not know {name}.{column} cannot write"
            );
        }
    }
}

#[tokio::test]
async fn each_migration_works_with_the_release_before_it() {
    let database = Database::shared().await;
    let client = database.connect().await;
    let file = rusqlite::Connection::open_in_memory().unwrap();
    let mut before: BTreeMap<&str, Catalog> = BTreeMap::new();
    for ((version, postgres), (_, sqlite)) in steps("postgres").iter().zip(&steps("sqlite")) {
        client.batch_execute(postgres).await.unwrap();
        file.execute_batch(sqlite).unwrap();
        for (name, after) in [
            ("postgres", catalog::of_postgres(&client).await),
            ("sqlite", catalog::of_sqlite(&file)),
        ] {
            let step = format!("step {version} of {name}");
            assert_only_adds(before.get(name).unwrap_or(&Catalog::new()), &after, &step);
            before.insert(name, after);
        }
    }
    assert_eq!(before["postgres"].len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_migrate_at_once_one_does_and_all_go_on() {
    let database = Database::shared().await;
    let nodes: Vec<Sql> = (0..6).map(|_| sql(&database)).collect();
    for node in &nodes {
        let early = node.get().await.err().unwrap();
        assert!(early.to_string().contains("not available"), "{early}");
    }
    let migrating = nodes.iter().map(Sql::migrate);
    let ran = soon("the migrations", futures_util::future::join_all(migrating)).await;
    let ran: Vec<usize> = ran.into_iter().map(|names| names.unwrap().len()).collect();
    let steps = steps("postgres").len();
    assert_eq!(ran.iter().filter(|ran| **ran == steps).count(), 1, "{ran:?}");
    assert_eq!(ran.iter().sum::<usize>(), steps, "{ran:?}");
    for node in &nodes {
        node.check().await.unwrap();
    }
    let client = database.connect().await;
    assert_eq!(count(&client, RAN).await, i64::try_from(steps).unwrap());
    let locks = "select count(*) from pg_locks where locktype = 'advisory' and database =
        (select oid from pg_database where datname = current_database())";
    until("the lock to be given back", || async {
        (count(&client, locks).await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_start_at_once_on_an_empty_database() {
    let stage = Stage::new().await;
    let (one, two, three) = tokio::join!(stage.node(), stage.node(), stage.node());
    let host = one.user("host").await;
    for node in [&two, &three] {
        host.at(node.address).create_event("Anywhere").await;
    }
    let client = stage.database.connect().await;
    let steps = steps("postgres").len();
    assert_eq!(count(&client, RAN).await, i64::try_from(steps).unwrap());
}

#[tokio::test]
async fn who_comes_second_waits_for_who_migrates_and_who_dies_hinders_nobody() {
    let database = Database::shared().await;
    let other = database.connect().await;
    let lock = i64::from_be_bytes(*b"timingle");
    other
        .execute("select pg_advisory_lock($1)", &[&lock])
        .await
        .unwrap();
    let second = sql(&database);
    let mut migrating = Box::pin(second.migrate());
    let early = timeout(Duration::from_millis(700), &mut migrating).await;
    assert!(early.is_err(), "nobody migrates beside another: {early:?}");
    // The other dies: the database gives its lock back.
    drop(other);
    let ran = soon("the migration", migrating).await.unwrap();
    assert_eq!(ran.len(), steps("postgres").len());
}

#[tokio::test]
async fn migration_that_would_hold_up_who_serves_gives_way_and_is_tried_again() {
    let database = Database::shared().await;
    let client = database.connect().await;
    let [(first, does), ..] = &steps("postgres")[..] else {
        unreachable!()
    };
    let known = format!(
        "{does}; create table __diesel_schema_migrations \
         (version varchar(50) primary key, run_on timestamp not null default current_timestamp);
         insert into __diesel_schema_migrations (version) values ('{first}')"
    );
    client.batch_execute(&known).await.unwrap();
    // Somebody reads, and does not come to an end.
    client
        .batch_execute("begin; select count(*) from events")
        .await
        .unwrap();
    let node = sql(&database);
    let refused = soon("a migration that gives way", node.migrate()).await;
    assert!(matches!(refused, Err(MigrateError::Migration(_))), "{refused:?}");
    let other = database.connect().await;
    assert_eq!(count(&other, RAN).await, 1, "nothing of it is left");

    // In the background it goes on trying, and the node is ready by itself.
    let background = node.migrate_in_background(&tokio::runtime::Handle::current());
    assert!(node.get().await.is_err());
    client.batch_execute("commit").await.unwrap();
    soon("the schema", background.unwrap()).await.unwrap();
    node.check().await.unwrap();
    assert_eq!(
        count(&other, RAN).await,
        i64::try_from(steps("postgres").len()).unwrap()
    );
}

#[tokio::test]
async fn command_migrates_the_database_alone_and_can_be_asked_what_it_would_do() {
    let database = Database::shared().await;
    let run = |words: &'static [&str]| {
        let mut command = Command::new(program());
        command
            .args(words)
            .env("TIMINGLE_PROFILE", "production")
            .env("JWT_SECRET", "only-for-tests-0123456789-0123456789")
            .env("POSTGRES_HOST", database.server().ip().to_string())
            .env("POSTGRES_PORT", database.server().port().to_string())
            .env("POSTGRES_USER", "postgres")
            .env("POSTGRES_DB", database.name())
            // Nobody is there: it must not matter.
            .env("SCYLLA_HOSTS", "127.0.0.1:1")
            .env("NATS_URL", "nats://127.0.0.1:1")
            .env("REDIS_PORT", "1");
        async move {
            let output = tokio::task::spawn_blocking(move || command.output().unwrap());
            let output = soon("the command", output).await.unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let missing = run(&["migrate", "--dry-run"]).await;
    assert_eq!(missing.lines().count(), steps("postgres").len(), "{missing}");
    assert!(missing.lines().all(|line| line.starts_with("missing ")));
    let ran = run(&["migrate"]).await;
    assert!(ran.lines().all(|line| line.starts_with("ran ")), "{ran}");
    assert_eq!(ran.lines().count(), steps("postgres").len());
    assert_eq!(run(&["migrate"]).await, "nothing to do\n");
    let client = database.connect().await;
    assert_eq!(
        count(&client, RAN).await,
        i64::try_from(steps("postgres").len()).unwrap()
    );
}
