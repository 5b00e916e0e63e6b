//! A migrated database of its own for each test.
//!
//! It is an SQLite file, or with `TIMINGLE_TEST_POSTGRES=host:port` a database on that
//! server (user `postgres`, no password): every test of queries and services runs on both.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::{Sql, migrate::migrate, schema::users};
use crate::{
    config::{Data, Postgres},
    domain::{id::UserId, time::Micros},
};

/// How long a test waits for a connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of a test's pool.
const POOL: u32 = 8;

/// A database that lives as long as this.
pub(crate) struct TestDb {
    /// Its pool of 8 connections.
    pub(crate) sql: Sql,
    home: Home,
}

enum Home {
    File(tempfile::TempDir),
    Server(Postgres),
}

impl TestDb {
    /// One where `TIMINGLE_TEST_POSTGRES` says, else in a file.
    pub(crate) async fn open() -> Self {
        match std::env::var("TIMINGLE_TEST_POSTGRES") {
            Ok(server) => Self::on_postgres(&server).await,
            Err(_) => Self::in_file().await,
        }
    }

    /// One in a file: for what looks into SQLite's own tables. What it finds there holds for
    /// PostgreSQL as well, because a test of its own compares the two schemas.
    pub(crate) async fn in_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        migrate(&dir.path().join("app.db")).await.unwrap();
        Self::at(Home::File(dir)).await
    }

    async fn on_postgres(server: &str) -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let (host, port) = server
            .rsplit_once(':')
            .expect("TIMINGLE_TEST_POSTGRES is host:port");
        let settings = |database: &str| Postgres {
            host: host.to_owned(),
            port: port.parse().unwrap(),
            user: "postgres".to_owned(),
            password: SecretString::default(),
            database: database.to_owned(),
            tls: false,
            tls_ca: PathBuf::new(),
            connect_timeout: PATIENCE,
            statement_timeout: PATIENCE,
        };
        let template = TEMPLATE
            .get_or_init(async || template(&settings("postgres"), &settings).await)
            .await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        client(&settings("postgres"))
            .await
            .batch_execute(&format!("create database {name} template {template}"))
            .await
            .unwrap();
        Self::at(Home::Server(settings(&name))).await
    }

    async fn at(home: Home) -> Self {
        let sql = pool(&home, POOL, PATIENCE).await;
        Self { sql, home }
    }

    /// Another pool on the same database, as another node has it.
    pub(crate) async fn again(&self, size: u32, timeout: Duration) -> Sql {
        pool(&self.home, size, timeout).await
    }

    /// All that the database holds, as a thief of a backup has it.
    pub(crate) async fn dump(&self) -> Vec<u8> {
        match &self.home {
            Home::File(dir) => std::fs::read_dir(dir)
                .unwrap()
                .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
                .collect(),
            Home::Server(settings) => {
                let client = client(settings).await;
                let tables = "select relname from pg_class c join pg_namespace n on n.oid = relnamespace
                    where relkind = 'r' and nspname = 'public'";
                let mut all = Vec::new();
                for table in client.query(tables, &[]).await.unwrap() {
                    // Its binary form: texts and bytes as they are.
                    let copy = format!("copy \"{}\" to stdout (format binary)", table.get::<_, &str>(0));
                    let rows = client.copy_out(&copy).await.unwrap();
                    let rows: Vec<bytes::Bytes> =
                        futures_util::TryStreamExt::try_collect(rows).await.unwrap();
                    all.extend(rows.concat());
                }
                all
            }
        }
    }

    /// Somebody with this name.
    pub(crate) async fn user(&self, name: &str) -> UserId {
        let now = Micros(1).to_datetime();
        let mut conn = self.sql.get().await.unwrap();
        let id = diesel::insert_into(users::table)
            .values((
                users::name.eq(name),
                users::language.eq("ko"),
                users::timezone.eq("Asia/Seoul"),
                users::role.eq("USER"),
                users::status.eq("ACTIVE"),
                users::created_at.eq(now),
                users::updated_at.eq(now),
            ))
            .returning(users::id)
            .get_result(&mut conn)
            .await
            .unwrap();
        UserId(id)
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let Home::Server(settings) = &self.home else {
            return;
        };
        let settings = settings.clone();
        let dropping = std::thread::spawn(move || {
            block_on(async {
                let name = &settings.database;
                let at_home = Postgres {
                    database: "postgres".to_owned(),
                    ..settings.clone()
                };
                client(&at_home)
                    .await
                    .batch_execute(&format!("drop database {name} with (force)"))
                    .await
                    .unwrap();
            });
        });
        let dropped = dropping.join();
        assert!(dropped.is_ok() || std::thread::panicking());
    }
}

async fn pool(home: &Home, size: u32, timeout: Duration) -> Sql {
    match home {
        Home::File(dir) => Sql::open(&dir.path().join("app.db"), size, timeout)
            .await
            .unwrap(),
        Home::Server(settings) => {
            let data = Data {
                pool_timeout: timeout,
                ..data(size)
            };
            let sql = Sql::postgres(settings, &data).unwrap();
            assert_eq!(sql.migrate().await.unwrap(), [""; 0]);
            sql
        }
    }
}

fn data(pool: u32) -> Data {
    Data {
        dir: PathBuf::new(),
        pool,
        pool_timeout: PATIENCE,
    }
}

/// The name of a migrated, empty database, which is made once for these migrations.
async fn template(at_home: &Postgres, settings: &impl Fn(&str) -> Postgres) -> String {
    let name = format!("template_{}", fingerprint());
    let admin = client(at_home).await;
    // Other processes want the same one. The lock goes with the connection.
    admin.batch_execute("select pg_advisory_lock(1)").await.unwrap();
    let known = "select from pg_database where datname = $1";
    if admin.query(known, &[&name]).await.unwrap().is_empty() {
        let half = format!("{name}_half");
        for statement in ["drop database if exists", "create database"] {
            admin.batch_execute(&format!("{statement} {half}")).await.unwrap();
        }
        let sql = Sql::postgres(&settings(&half), &data(1)).unwrap();
        sql.migrate().await.unwrap();
        let whole = format!("alter database {half} rename to {name}");
        while admin.batch_execute(&whole).await.is_err() {
            // The connection that migrated is still on its way out.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    name
}

/// Of all that the migrations say.
fn fingerprint() -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut steps: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|step| step.unwrap().path().join("up.sql"))
        .collect();
    steps.sort();
    let mut sha = Sha256::new();
    for step in steps {
        sha.update(std::fs::read(step).unwrap());
    }
    hex::encode(&sha.finalize()[..8])
}

/// A plain client on the runtime of the caller.
async fn client(settings: &Postgres) -> Client {
    let mut config = tokio_postgres::Config::new();
    config
        .host(&settings.host)
        .port(settings.port)
        .user(&settings.user)
        .dbname(&settings.database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
