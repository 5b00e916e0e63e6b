//! PostgreSQL by `pg_dump` and by `pg_basebackup`, Cassandra by the files of its node: of a
//! moment, as a snapshot of its disk would hold them, and of a stopped node.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use timingle::{
    adapters::cql_log::CqlLog,
    app,
    config::Config,
    domain::{
        chain::Tip,
        entry::{Draft, Kind},
        id::{RoomId, UserId},
        time::Micros,
    },
    ports::RoomLog as _,
};

use super::{again, verified};
use crate::harness::{
    User,
    cluster::{Places, Stage},
    database::Database,
    servers::{self, Engine, Private},
    until,
};

/// Runs a program of the operator's; its words if it fails.
async fn run(program: PathBuf, words: &[&str]) {
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()));
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A program of PostgreSQL's, of the newest version: an older one refuses a newer server.
fn postgres_program(name: &str) -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let version = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let program = PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/{name}"));
            program.exists().then_some((version, program))
        })
        .collect();
    found.sort();
    found.pop().map_or_else(|| name.into(), |(_, program)| program)
}

/// How PostgreSQL's programs are told where the server is.
fn at(server: std::net::SocketAddr) -> [String; 3] {
    [
        format!("--host={}", server.ip()),
        format!("--port={}", server.port()),
        "--username=postgres".to_owned(),
    ]
}

async fn copy_files(from: &Path, to: &Path) {
    run("cp".into(), &["-a", from.to_str().unwrap(), to.to_str().unwrap()]).await;
}

/// Puts what was copied in the place of what a stopped node keeps.
async fn put_back(copy: &Path, cassandra: &Private) {
    std::fs::remove_dir_all(cassandra.data()).unwrap();
    copy_files(copy, &cassandra.data()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cassandra_acknowledged_outlives_its_kill() {
    let cassandra = Private::cassandra(1).await;
    let stage = Stage::on(Places {
        cassandra: vec![cassandra.address()],
        ..Places::shared().await
    })
    .await;
    let config = stage.config(Path::new("/none"));
    let background = tokio::runtime::Handle::current();
    let room = RoomId(uuid::Uuid::new_v4());
    let mut tip = Tip::empty(room);
    for round in 0..4 {
        let log = CqlLog::open(&config.scylla, &background).unwrap();
        let found = until("the log", || async { log.tip(room).await.ok() }).await;
        assert_eq!(found, tip, "round {round}");
        for _ in 0..20 {
            let draft = Draft {
                author: Some(UserId(1)),
                kind: Kind::Message,
                key: uuid::Uuid::new_v4(),
                reply_to: None,
                target: None,
                body: r#"{"text":"kept"}"#.into(),
            };
            let expected = tip.head;
            let entry = tip.seal(draft, Micros(1), [1; 16]);
            log.append(room, expected, [entry].into()).await.unwrap();
        }
        cassandra.kill().await;
        cassandra.start().await;
    }
}

/// Of one installation, what was lived and backed up.
struct Lived {
    ada: User,
    jun: User,
    lesson: i64,
    dinner: i64,
    late: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_of_different_moments_are_restored_and_heal() {
    let backups = tempfile::tempdir().unwrap();
    let kept = |name: &str| backups.path().join(name);
    let (postgres, cassandra) = (Private::postgres().await, Private::cassandra(1).await);
    let stage = Stage::on(Places {
        postgres: postgres.address(),
        cassandra: vec![cassandra.address()],
        nats: servers::nats().await,
        redis: servers::redis().await,
    })
    .await;
    let node = stage.node().await;
    let (ada, min, jun) = (
        node.user("Ada").await,
        node.user("Min").await,
        node.user("Jun").await,
    );
    let lesson = ada.create_event("Lesson").await;
    ada.bring(&min, lesson).await;
    let dinner = ada.create_event("Dinner").await;
    ada.bring(&jun, dinner).await;
    let mut talk = ada.connect().await;
    for room in [lesson, dinner] {
        talk.join(room).await;
        talk.publish(room, "early").await;
    }

    // The first backup, while the node serves.
    let dump = kept("old.dump");
    let [host, port, user] = at(postgres.address());
    let file = format!("--file={}", dump.display());
    let database = stage.database.name();
    let words = [&*host, &port, &user, "--format=custom", &file, database];
    run(postgres_program("pg_dump"), &words).await;
    cassandra.pause().await;
    copy_files(&cassandra.data(), &kept("old-cassandra")).await;
    cassandra.resume().await;

    let late = ada.create_event("Late").await;
    talk.join(late).await;
    ada.bring(&jun, lesson).await;
    ada.remove(&min, lesson).await;
    jun.remove(&jun, dinner).await;
    for room in [lesson, dinner, late] {
        talk.publish(room, "late").await;
    }
    talk.close().await;

    // The second: a base backup beside the node, Cassandra's files once it is stopped.
    let restored = Private::down(Engine::Postgres, 1).await;
    let into = restored.data().join("cluster");
    std::fs::create_dir_all(restored.data()).unwrap();
    let words = [
        &*host,
        &port,
        &user,
        "--checkpoint=fast",
        "-D",
        into.to_str().unwrap(),
    ];
    run(postgres_program("pg_basebackup"), &words).await;
    owned_by_postgres(&into).await;
    node.stop().await;
    cassandra.stop().await;
    copy_files(&cassandra.data(), &kept("new-cassandra")).await;
    restored.start().await;
    let lived = Lived {
        ada,
        jun,
        lesson,
        dinner,
        late,
    };

    put_back(&kept("old-cassandra"), &cassandra).await;
    cassandra.start().await;
    log_is_older(&stage, &lived, &backups, |config| {
        config.postgres.port = restored.address().port();
    })
    .await;

    cassandra.stop().await;
    put_back(&kept("new-cassandra"), &cassandra).await;
    cassandra.start().await;
    let older = Database::on(restored.address()).await;
    let [host, port, user] = at(restored.address());
    let into = format!("--dbname={}", older.name());
    let words = [
        &*host,
        &port,
        &user,
        "--exit-on-error",
        &into,
        dump.to_str().unwrap(),
    ];
    run(postgres_program("pg_restore"), &words).await;
    store_is_older(&stage, &lived, &backups, |config| {
        config.postgres.port = restored.address().port();
        older.name().clone_into(&mut config.postgres.database);
    })
    .await;
}

/// Where the tests run as root, the server does not.
async fn owned_by_postgres(dir: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(dir).unwrap().uid() == 0 {
        run("chown".into(), &["-R", "postgres:", dir.to_str().unwrap()]).await;
    }
}

/// What the log lost of facts it gets again; words are gone.
async fn log_is_older(stage: &Stage, lived: &Lived, dir: &tempfile::TempDir, change: impl Fn(&mut Config)) {
    let mut tools = stage.config(dir.path());
    change(&mut tools);
    let node = stage.node_with(&change, app::Overrides::default()).await;
    let ada = again(node.address, &lived.ada).await;
    // By a join ...
    let mut socket = ada.connect().await;
    socket.join(lived.lesson).await;
    socket.whole_record(lived.lesson).await.assert_whole();
    // ... by a change ...
    ada.cancel(lived.dinner, "now").await;
    // ... or for all of them, beside the node.
    let repaired = app::repair(&tools, |_| {}).await.unwrap();
    assert_eq!((repaired.events, repaired.failed), (3, 0), "{repaired:?}");
    assert_eq!(repaired.healed.appended, 1, "the late event: {repaired:?}");
    let joined = "participant_joined";
    for (event, facts, texts) in [
        (
            lived.lesson,
            &["event_created", joined, joined, "participant_removed"][..],
            &["early"][..],
        ),
        (
            lived.dinner,
            &["event_created", joined, "participant_left", "canceled"],
            &["early"],
        ),
        (lived.late, &["event_created"], &[]),
    ] {
        let found = verified(&tools, dir.path(), event).await;
        assert_eq!(found.0, *facts, "event {event}");
        assert_eq!(found.1, *texts, "event {event}");
    }
    assert!(node.user("New").await.id > lived.jun.id);
    socket.close().await;
    node.stop().await;
}

/// What the store lost of its history it takes from the log, and says how it stands now.
async fn store_is_older(stage: &Stage, lived: &Lived, dir: &tempfile::TempDir, change: impl Fn(&mut Config)) {
    let mut tools = stage.config(dir.path());
    change(&mut tools);
    let repaired = app::repair(&tools, |_| {}).await.unwrap();
    assert_eq!((repaired.events, repaired.failed), (2, 0), "{repaired:?}");
    // Jun came and Min was put out of the lesson, Jun left the dinner.
    assert_eq!(repaired.healed.adopted, 3, "{repaired:?}");
    let joined = "participant_joined";
    let lesson = ["event_created", joined, joined, "participant_removed", "restored"];
    let found = verified(&tools, dir.path(), lived.lesson).await;
    assert_eq!(found.0, lesson);
    assert_eq!(found.1, ["early", "late"]);
    // People go on; an event that the store never heard of is nobody's.
    let node = stage.node_with(&change, app::Overrides::default()).await;
    let ada = again(node.address, &lived.ada).await;
    let mut socket = ada.connect().await;
    socket.join(lived.lesson).await;
    socket.whole_record(lived.lesson).await.assert_whole();
    let said = socket.publish(lived.lesson, "goes on").await;
    assert!(said.get("publish").is_some(), "{said}");
    ada.cancel(lived.dinner, "again").await;
    let dinner = [
        "event_created",
        joined,
        "participant_left",
        "restored",
        "canceled",
    ];
    let found = verified(&tools, dir.path(), lived.dinner).await;
    assert_eq!(found.0, dinner);
    assert_eq!(found.1, ["early", "late"]);
    let another = ada.create_event("Another").await;
    assert_eq!(another, lived.late, "numbers of this store go on where it was");
    let (facts, texts) = verified(&tools, dir.path(), another).await;
    assert_eq!(
        (facts.len(), texts.len()),
        (1, 0),
        "the old record is not met again"
    );
    socket.close().await;
    node.stop().await;
}
