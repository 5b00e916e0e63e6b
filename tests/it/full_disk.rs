//! A disk without space: what cannot be written is neither acknowledged nor shown, and when
//! there is space again, it goes on by itself.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{BufReader, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::json;
use timingle::{app::export, domain::id::EventId, service::export::verify};

use crate::harness::{
    Copy, Socket, User, app,
    process::{Launch, Server},
    until,
};

/// Mounts a small disk at the first argument and runs the rest on it.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o size=8m,mode=700 tmpfs "$0" && exec "$@""#;

/// A server whose data lies on a disk of 8 MiB that only it sees.
async fn server_on_small_disk(dir: &Path) -> Server {
    let data = dir.join("data");
    fs::create_dir(&data).unwrap();
    let own_space = if rustix::process::geteuid().is_root() {
        "-m"
    } else {
        "-Urm"
    };
    let through = ["unshare", own_space, "sh", "-c", ON_SMALL_DISK].map(OsStr::new);
    let through = [&through[..], &[data.as_os_str()]].concat();
    let env = [
        ("TIMINGLE__ROOM__PUBLISH_TIMEOUT", "1s"),
        ("TIMINGLE__LIMITS__PUBLISH_BURST", "10000"),
    ];
    let server = Server::launch(Launch {
        dir,
        env: &env,
        through: &through,
    })
    .await;
    assert!(
        !data.join("chat.db").exists(),
        "its data is not on a disk of its own"
    );
    server
}

/// Where the server's own disk can be reached from here.
fn disk_of(server: &Server, dir: &Path) -> PathBuf {
    let inside = dir.join("data");
    Path::new("/proc")
        .join(server.pid().to_string())
        .join("root")
        .join(inside.strip_prefix("/").unwrap())
}

/// Writes a file that takes all the space that is left.
fn fill(path: &Path) {
    let mut filler = File::create(path).unwrap();
    for size in [65_536, 4_096, 1] {
        let block = vec![0; size];
        let error = loop {
            if let Err(error) = filler.write_all(&block) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

/// The record as it lies on the disk: verified, and how far it goes.
///
/// Of a copy, whose write-ahead logs are read anew: through `/proc` SQLite would go astray.
async fn head_on_disk(disk: &Path, room: i64) -> (u64, String) {
    let copy = tempfile::tempdir().unwrap();
    for name in ["app.db", "chat.db", "app.db-wal", "chat.db-wal"] {
        match fs::copy(disk.join(name), copy.path().join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                assert!(name.ends_with("-wal"), "{name} is gone");
            }
            copied => assert!(copied.is_ok(), "{copied:?}"),
        }
    }
    let out = copy.path().join("record.jsonl");
    let exported = export(&app::config(copy.path()), EventId(room), &out)
        .await
        .unwrap();
    let valid = verify(
        BufReader::new(File::open(out).unwrap()),
        None,
        Some(exported.head),
    )
    .unwrap();
    (valid.head.seq, valid.head.hash.to_string())
}

/// Says `text` again and again under one key until it is said.
async fn insist(socket: &mut Socket, room: i64, key: &str, text: &str) -> u64 {
    let socket = tokio::sync::Mutex::new(socket);
    until("an acknowledgement", || async {
        let reply = socket.lock().await.publish_as(room, key, 1, text).await;
        if reply.get("error").is_some() {
            assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
        }
        reply["publish"]["seq"].as_u64()
    })
    .await
}

fn places(copy: &Copy, text: &str) -> Vec<u64> {
    copy.entries
        .iter()
        .filter(|(_, entry)| entry["body"]["text"] == text)
        .map(|(seq, _)| *seq)
        .collect()
}

#[tokio::test]
async fn full_disk_refuses_and_shows_nothing_and_service_resumes_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = server_on_small_disk(dir.path()).await;
    let disk = disk_of(&server, dir.path());
    let (ada, min) = (
        User::register(server.address, "Ada").await,
        User::register(server.address, "민지").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    assert_eq!(
        at_ada.publish(room, "while there is space").await["publish"]["seq"],
        3
    );

    fill(&disk.join("filler"));
    // By key: the text, and whether it was acknowledged.
    let mut said: BTreeMap<String, (String, Option<u64>)> = BTreeMap::new();
    let mut refused = 0;
    // What lies free inside the files may still be used.
    for n in 0..200 {
        let (key, text) = (
            uuid::Uuid::new_v4().to_string(),
            format!("{n} {}", "가".repeat(7_000)),
        );
        let reply = at_ada.publish_as(room, &key, 1, &text).await;
        let seq = reply["publish"]["seq"].as_u64();
        if seq.is_none() {
            assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
            assert_eq!(reply["error"]["temporary"], true);
            assert!(reply["error"]["retry_after_ms"].is_u64(), "{reply}");
            refused += 1;
        }
        said.insert(key, (text, seq));
        if refused == 4 {
            break;
        }
    }
    assert_eq!(refused, 4, "the disk was never full");

    // Nobody was shown what is not in the log; what is in it can be read, and joined.
    let acknowledged = said.values().filter_map(|(_, seq)| *seq).max().unwrap_or(3);
    let page = at_min.ask("history", json!({ "room": room, "limit": 5 })).await;
    assert_eq!(page["history"]["as_of"], acknowledged, "{page:.200}");
    let (on_disk, hash) = head_on_disk(&disk, room).await;
    assert_eq!((on_disk, &*hash), (acknowledged, &*at_min.copy(room).hash));
    for (text, _) in said.values().filter(|(_, seq)| seq.is_none()) {
        for copy in [at_ada.copy(room), at_min.copy(room)] {
            assert_eq!(
                places(copy, text),
                Vec::<u64>::new(),
                "shown and not logged: {text:.10}"
            );
        }
    }
    let mut newcomer = min.connect().await;
    assert_eq!(newcomer.join(room).await["head"]["seq"], acknowledged);
    // It is alive, and says plainly what it cannot do.
    let alive = reqwest::get(format!("http://{}/livez", server.address))
        .await
        .unwrap();
    assert_eq!(alive.status(), 200);
    let event = json!({ "title": "No room for this", "start_time": "2030-05-01T10:00:00Z", "end_time": "2030-05-01T11:00:00Z" });
    let (status, body) = ada.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(
        (status.as_u16(), body["code"].as_str()),
        (503, Some("UNAVAILABLE")),
        "{body}"
    );

    fs::remove_file(disk.join("filler")).unwrap();
    for (key, (text, seq)) in &mut said {
        let now = insist(&mut at_ada, room, key, text).await;
        assert_eq!(*seq.get_or_insert(now), now, "an acknowledged message moved");
    }
    let next = at_ada.publish(room, "there is space again").await["publish"]["seq"]
        .as_u64()
        .unwrap();
    at_min.read_to(room, next).await;
    for socket in [&at_ada, &at_min] {
        socket.copy(room).assert_whole();
        for (text, seq) in said.values() {
            assert_eq!(places(socket.copy(room), text), [seq.unwrap()], "{text:.10}");
        }
    }
    assert_eq!(at_min.whole_record(room).await.entries, at_ada.copy(room).entries);
    ada.create_event("Room again").await;
    let (on_disk, hash) = head_on_disk(&disk, room).await;
    assert_eq!((on_disk, &*hash), (next, &*at_min.copy(room).hash));
    server.terminate();
    assert!(server.wait().await.success(), "{}", server.log());
}
