//! To the engines of the production profile, and back.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use timingle::{
    app::{
        self,
        copy::{Copied, Progress, copy_installation},
    },
    config::{Config, Profile},
    domain::{id::EventId, user::UserRole},
    service::export::verify,
};

use super::installation::{Lived, contents};
use crate::harness::{TestApp, User, cluster::Stage, process::program, until};

/// Entries of the large copy; a hundred thousand by hand.
fn entries() -> usize {
    std::env::var("TIMINGLE_COPY_ENTRIES").map_or(4_000, |entries| entries.parse().unwrap())
}

/// The settings of a tool that knows a data directory and a stage.
fn config(stage: &Stage, dir: &TempDir) -> Config {
    let mut config = stage.config(dir.path());
    dir.path().clone_into(&mut config.data.dir);
    config
}

async fn moved(config: &Config, from: Profile, to: Profile) -> Copied {
    let start = Instant::now();
    let seen = std::sync::Mutex::new(Vec::new());
    let tell = |progress| {
        let entries = match progress {
            Progress::Logs { entries, .. } => entries,
            _ => 0,
        };
        seen.lock().unwrap().push((start.elapsed(), progress, entries));
    };
    let done = copy_installation(config, from, to, &tell).await.unwrap();
    let seen = seen.into_inner().unwrap();
    let comparing = seen
        .iter()
        .find(|(_, progress, _)| *progress == Progress::Comparing);
    eprintln!(
        "{from:?} to {to:?}: {} rows, {} rooms, {} entries: {:?} until all was copied, {:?} with the comparison",
        done.rows,
        done.rooms,
        done.entries,
        comparing.unwrap().0,
        start.elapsed(),
    );
    assert!(
        seen.iter().any(|(_, _, entries)| *entries == done.entries),
        "progress tells of all entries: {seen:?}"
    );
    done
}

/// Runs the program on a data directory and a stage: whether it succeeded, what it printed,
/// and what it complained about.
async fn command(stage: &Stage, dir: &TempDir, words: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(program());
    command
        .args(words)
        .envs(stage.env())
        .env("TIMINGLE__DATA__DIR", dir.path())
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installation_moves_to_production_and_back_and_is_the_same() {
    let lived = Lived::embedded().await;
    lived.talk(entries()).await;
    let erased = lived.erase();
    let before = contents(&lived.dir);
    let stage = Stage::new().await;
    let here = config(&stage, &lived.dir);
    let done = moved(&here, Profile::Embedded, Profile::Production).await;
    assert!(done.entries >= entries() as u64 - 3, "{done:?}");
    assert_eq!((done.new_entries, done.erased), (done.entries, erased as u64));
    // Again, as people do it: nothing is new.
    let (success, out, _) = command(
        &stage,
        &lived.dir,
        &["copy", "--from", "embedded", "--to", "production"],
    )
    .await;
    assert!(success && out.contains("comparing"), "{out}");
    let equal = format!(
        "equal: {} rows (0 new), 3 rooms, {} entries (0 new, {erased} erased)",
        done.rows, done.entries
    );
    assert!(out.contains(&equal) && out.contains("JWT_SECRET"), "{out}");

    // Back, into a directory that does not exist: byte for byte what it was.
    let home = tempfile::tempdir().unwrap();
    let back = moved(&config(&stage, &home), Profile::Production, Profile::Embedded).await;
    assert_eq!((back.rows, back.entries), (done.rows, done.entries));
    assert_eq!(contents(&home), before);

    // Nodes go on there.
    let node = stage.node().await;
    let ada = User::sign_in(node.address, &lived.ada.name, &lived.ada.phone).await;
    assert_eq!(ada.id, lived.ada.id);
    let mut socket = ada.connect().await;
    socket.join(lived.lesson).await;
    let said = socket.publish(lived.lesson, "here now").await;
    assert!(said.get("publish").is_some(), "{said}");
    let next = lived.events.iter().max().unwrap() + 4;
    assert_eq!(ada.create_event("Next").await, next, "no number is given twice");
    assert!(node.user("New").await.id > lived.min.id + 3);
    let (status, answer) = ada
        .call(
            Method::POST,
            &format!("/events/{}/cancel", lived.lesson),
            Some(json!({ "reason": "moved" })),
        )
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    socket.close().await;

    // While they do, nothing is copied; and what they made is not overwritten afterwards.
    let error = copy_installation(&here, Profile::Embedded, Profile::Production, &|_| {})
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("the target is being served") && text.contains("stop them first"),
        "{text}"
    );
    node.stop().await;
    let (success, out, text) = command(
        &stage,
        &lived.dir,
        &["copy", "--from", "embedded", "--to", "production"],
    )
    .await;
    assert!(!success && !out.contains("equal"), "{out}");
    assert!(text.contains("error: the target holds something else"), "{text}");

    // All of it goes back home, and life goes on there.
    let home = Arc::new(tempfile::tempdir().unwrap());
    moved(&config(&stage, &home), Profile::Production, Profile::Embedded).await;
    let app = TestApp::start(home, |_| {}, app::Overrides::default()).await;
    let ada = User::sign_in(app.address, &lived.ada.name, &lived.ada.phone).await;
    let mut socket = ada.connect().await;
    socket.join(lived.lesson).await;
    let record = socket.whole_record(lived.lesson).await;
    record.assert_whole();
    assert_eq!(record.facts().last().map(String::as_str), Some("canceled"));
    assert_eq!(ada.create_event("After").await, next + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_refuses_what_is_served_or_is_not_there() {
    let stage = Stage::new().await;
    let app = TestApp::spawn().await;
    let served = config(&stage, &app.dir);
    let refused = async |config: &Config, from, to| {
        let error = copy_installation(config, from, to, &|_| {}).await.unwrap_err();
        format!("{error:#}")
    };
    let text = refused(&served, Profile::Embedded, Profile::Production).await;
    assert!(text.contains("is in use by"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let nothing = config(&stage, &empty);
    let text = refused(&nothing, Profile::Embedded, Profile::Production).await;
    assert!(text.contains("holds no timingle data"), "{text}");
    let text = refused(&nothing, Profile::Production, Profile::Embedded).await;
    assert!(text.contains("the source is empty"), "{text}");
    let text = refused(&nothing, Profile::Production, Profile::Production).await;
    assert!(text.contains("the same installation"), "{text}");

    // Which engine is missing is said, after a bounded wait.
    let dir = app.stop().await;
    let mut away = config(&stage, &dir);
    away.scylla.hosts = vec!["127.0.0.1:1".to_owned()];
    let mut gone = config(&stage, &dir);
    gone.postgres.port = 1;
    let start = Instant::now();
    let out = empty.path().join("out");
    let (no_log, no_store) = tokio::join!(
        app::export(&away, EventId(1), &out),
        app::export(&gone, EventId(1), &out),
    );
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
    let (no_log, no_store) = (
        format!("{:#}", no_log.unwrap_err()),
        format!("{:#}", no_store.unwrap_err()),
    );
    assert!(no_store.contains("postgres, the relational store"), "{no_store}");
    assert!(no_log.contains("scylla, the log"), "{no_log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_work_beside_nodes() {
    let stage = Stage::new().await;
    let dir = tempfile::tempdir().unwrap();
    let config = config(&stage, &dir);
    assert!(!app::migrate(&config, true).await.unwrap().is_empty());
    assert!(!app::migrate(&config, false).await.unwrap().is_empty());
    assert!(app::migrate(&config, true).await.unwrap().is_empty());
    let node = stage.node().await;
    let ada = node.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(event).await;
    for number in 0..5 {
        socket.publish(event, &format!("word {number}")).await;
    }
    let out = dir.path().join("lesson.export");
    let exported = app::export(&config, EventId(event), &out).await.unwrap();
    let file = std::io::BufReader::new(std::fs::File::open(&out).unwrap());
    let verified = verify(file, None, Some(exported.head)).unwrap();
    assert_eq!((verified.event, verified.entries), (EventId(event), 6));

    assert!(app::export(&config, EventId(event + 1), &out).await.is_err());
    let repaired = app::repair(&config, |_| {}).await.unwrap();
    assert_eq!((repaired.events, repaired.failed), (1, 0));
    let user = app::grant(&config, &ada.phone, UserRole::Admin).await.unwrap();
    assert_eq!(user.0, ada.id);
    until("the node to know", || async {
        let (_, me) = ada.call(Method::GET, "/users/me", None).await;
        (me["role"] == "ADMIN").then_some(())
    })
    .await;
    assert!(!dir.path().join("app.db").exists(), "nothing is made in data.dir");
}
