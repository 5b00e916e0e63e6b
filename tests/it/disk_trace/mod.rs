//! That the disk was reached, which a kill cannot show: what the kernel has survives it.
//!
//! The real server runs under strace. For everything that leaves through a socket, and for
//! every entry in it, the trace must show the write of that entry into the write-ahead log,
//! then a sync of that file that succeeded, and only then the socket's write.

mod trace;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::Path,
};

use serde_json::{Value, json};
use uuid::Uuid;

use self::trace::{Call, Trace};
use crate::harness::{
    User,
    process::{Launch, Server},
    until,
};

/// What is recorded of each call: strings whole and in hexadecimal, files by name, sockets by address.
const STRACE: [&str; 10] = [
    "strace",
    "-D",
    "-f",
    "-xx",
    "-yy",
    "-s",
    "10000000",
    "-e",
    "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg,fsync,fdatasync",
    "-o",
];

async fn launch_traced(dir: &Path) -> Server {
    let out = dir.join("trace");
    let through: Vec<&OsStr> = STRACE.iter().map(OsStr::new).chain([out.as_os_str()]).collect();
    let env = [("TIMINGLE__LIMITS__PUBLISH_BURST", "1000")];
    Server::launch(Launch {
        dir,
        env: &env,
        through: &through,
    })
    .await
}

/// Stops the server, and reads what strace wrote, once it wrote all.
async fn finish(mut server: Server, dir: &Path) -> Trace {
    let pid = server.pid();
    server.terminate();
    assert!(server.wait().await.success(), "{}", server.log());
    let text = until("the end of the trace", || {
        let text = std::fs::read_to_string(dir.join("trace")).unwrap();
        let last = text
            .lines()
            .last()
            .is_some_and(|line| line.starts_with(&pid.to_string()) && line.contains("+++ exited with"));
        async move { last.then_some(text) }
    })
    .await;
    Trace::parse(&text)
}

/// An entry as frames tell of it.
type Place = (i64, u64);

/// Everything the server told its sockets about entries: which, by which call, in which frame.
fn told(trace: &Trace) -> Vec<(Place, usize, Value)> {
    let mut told = Vec::new();
    for (call, frame) in trace.frames() {
        let publish = &frame["publish"];
        if let (Some(room), Some(seq)) = (publish["room"].as_i64(), publish["seq"].as_u64()) {
            told.push(((room, seq), call, frame.clone()));
        }
        for body in [&frame, &frame["history"]] {
            let room = body["room"].as_i64();
            for entry in body["entries"].as_array().into_iter().flatten() {
                told.push((
                    (room.unwrap(), entry["seq"].as_u64().unwrap()),
                    call,
                    entry.clone(),
                ));
            }
        }
    }
    told
}

/// The keys that entries carry, from the frames that showed them.
fn keys(told: &[(Place, usize, Value)]) -> BTreeMap<Place, Uuid> {
    told.iter()
        .filter_map(|(place, _, shown)| Some((*place, shown["key"].as_str()?.parse().ok()?)))
        .collect()
}

/// Fails unless `key` was written to `file` and that was synced before the call `shown`.
fn assert_on_disk(trace: &Trace, file: &str, key: Uuid, shown: usize, what: &Value) {
    let holds = |call: &Call| call.writes_to(file) && call.contains(key.as_bytes());
    let written = trace
        .calls
        .iter()
        .find(|call| holds(call))
        .unwrap_or_else(|| panic!("{file} never got {what}"));
    let synced = trace
        .calls
        .iter()
        .find(|call| call.syncs(file) && call.begun > written.ended && call.result == Some(0))
        .map(|call| call.ended);
    assert!(
        synced.is_some_and(|synced| synced < trace.calls[shown].begun),
        "left at line {} of the trace; {file} got it at {}, and was synced at {synced:?}: {what}",
        trace.calls[shown].begun,
        written.begun,
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_or_shown_before_it_is_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let server = launch_traced(dir.path()).await;
    let (ada, min) = (
        User::register(server.address, "Ada").await,
        User::register(server.address, "Min").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut writer, mut reader) = (ada.connect().await, min.connect().await);
    writer.join(room).await;
    reader.join(room).await;
    // One at a time, then all at once, so that one sync stands for many.
    for number in 1..=25 {
        writer.publish(room, &format!("alone {number}")).await;
    }
    let after = writer.copy(room).seq;
    let mut ids = Vec::new();
    for number in 1..=25 {
        let publish = json!({
            "room": room, "key": Uuid::new_v4(), "after": after, "body": { "text": format!("together {number}") },
        });
        ids.push(writer.post("publish", publish).await);
    }
    for id in ids {
        assert!(writer.reply(id).await["publish"]["seq"].is_u64());
    }
    ada.cancel(room, "rain").await;
    reader.read_to(room, 53).await;
    let trace = finish(server, dir.path()).await;

    let told = told(&trace);
    let keys = keys(&told);
    assert_eq!(
        keys.keys().copied().collect::<Vec<_>>(),
        (1..=53).map(|seq| (room, seq)).collect::<Vec<_>>()
    );
    let acknowledged: BTreeSet<Place> = told
        .iter()
        .filter(|(.., what)| what.get("publish").is_some())
        .map(|(place, ..)| *place)
        .collect();
    assert_eq!(
        acknowledged.len(),
        50,
        "the acknowledgements were not found in the trace"
    );
    for (place, call, what) in &told {
        assert_on_disk(&trace, "chat.db-wal", keys[place], *call, what);
        if what["kind"] == "fact" {
            assert_on_disk(&trace, "app.db-wal", keys[place], *call, what);
        }
    }
    // The same for what HTTP answers: the change is committed and recorded by then.
    let facts: Vec<Uuid> = [1, 2, 53].map(|seq| keys[&(room, seq)]).to_vec();
    let answers = trace.answers(&["\"title\":\"Lesson\"", "\"already_joined\"", "\"CANCELED\""]);
    for (fact, answer) in facts.into_iter().zip(answers) {
        for file in ["app.db-wal", "chat.db-wal"] {
            assert_on_disk(&trace, file, fact, answer, &json!("an answer over HTTP"));
        }
    }
}

#[tokio::test]
async fn restarted_server_syncs_what_it_found_before_it_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::spawn(dir.path()).await;
    let mut ada = User::register(server.address, "Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    for number in 1..=5 {
        socket.publish(room, &format!("before {number}")).await;
    }
    server.kill().await;

    let server = launch_traced(dir.path()).await;
    ada.address = server.address;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    assert_eq!(socket.copy(room).texts().len(), 5);
    let trace = finish(server, dir.path()).await;
    let synced = trace
        .calls
        .iter()
        .find(|call| call.syncs("chat.db-wal") && call.result == Some(0))
        .map(|call| call.ended);
    let told = told(&trace);
    assert_eq!(told.len(), 6);
    for (place, call, what) in told {
        let before = synced.is_some_and(|synced| synced < trace.calls[call].begun);
        assert!(
            before,
            "{place:?} was shown and the log synced at {synced:?}: {what}"
        );
    }
}
