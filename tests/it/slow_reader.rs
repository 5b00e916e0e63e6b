//! Clients that stop reading harm only themselves, and recover all that they missed.

use std::{
    fmt::Write as _,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    Copy, Raw, User,
    process::{Launch, Server},
    raw::{frame, opcode},
    soon, until,
};

const SLOW: usize = 50;
const READERS: usize = 50;
const WRITERS: usize = 4;
/// Messages of each writer, of 12,000 bytes.
const MESSAGES: usize = 75;
const OUTBOX: u64 = 1 << 20;
/// `limits.outbox_stall`
const STALL: Duration = Duration::from_secs(1);

/// A free port. Somebody else may take it before the server does; then the server says so.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The figure of this name and label, 0 when there is none yet.
async fn figure(port: u16, name: &str) -> u64 {
    let text = reqwest::get(format!("http://127.0.0.1:{port}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

/// Memory that the process holds, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1_024
}

/// Samples the process's memory until told to stop; the highest.
fn watch_memory(pid: u32, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut highest = 0;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            highest = highest.max(resident(pid));
        }
        highest
    })
}

/// A socket that joins, asks for far more than the kernel holds for it, and reads nothing of it.
/// What it knew when it stopped.
async fn stop_reading(user: &User, room: i64) -> (Raw, Copy) {
    let authorization = format!("Authorization: Bearer {}", user.token);
    let mut socket = Raw::open(user.address, Some(1), &[&authorization]).await;
    socket
        .text(&json!({ "id": 1, "join": { "rooms": [{ "room": room }] } }).to_string())
        .await;
    let joined = loop {
        let frame = socket.json().await.unwrap();
        if frame["push"] == "joined" {
            break frame;
        }
    };
    let known = Copy {
        seq: joined["head"]["seq"].as_u64().unwrap(),
        hash: joined["head"]["hash"].as_str().unwrap().to_owned(),
        ..Copy::default()
    };
    let mut wishes = Vec::new();
    for id in 2..120 {
        let wish = json!({ "id": id, "history": { "room": room, "limit": 100 } }).to_string();
        wishes.extend(frame(true, opcode::TEXT, wish.as_bytes()));
    }
    socket.write(&wishes).await;
    (socket, known)
}

/// Comes back with what was known, and pages what the join leaves out. All entries behind it.
async fn recover(user: &User, room: i64, known: Copy) -> Copy {
    let mut socket = user.connect().await;
    let mut have = known.seq;
    socket.copies.insert(room, known);
    let joined = socket.join(room).await;
    assert!(
        joined.get("reset").is_none_or(|reset| reset == false),
        "its position was right"
    );
    if joined["complete"] == false {
        let from = joined["entries"][0]["seq"].as_u64().unwrap();
        while have + 1 < from {
            let page = socket
                .ask("history", json!({ "room": room, "after": have, "limit": 100 }))
                .await;
            let entries = page["history"]["entries"].as_array().unwrap();
            for entry in entries {
                have = entry["seq"].as_u64().unwrap();
                socket
                    .copies
                    .get_mut(&room)
                    .unwrap()
                    .entries
                    .insert(have, entry.clone());
            }
        }
    }
    socket.copies.remove(&room).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_hundred_sockets_stop_reading_and_harm_only_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = free_port();
    let port = metrics.to_string();
    let env = [
        ("TIMINGLE__METRICS__PORT", &*port),
        ("TIMINGLE__LIMITS__SOCKETS_PER_USER", "200"),
        ("TIMINGLE__LIMITS__PUBLISHES_PER_S", "100000"),
        ("TIMINGLE__LIMITS__PUBLISH_BURST", "100000"),
        ("TIMINGLE__LIMITS__OUTBOX_STALL", "1s"),
    ];
    let server = Server::launch(Launch {
        dir: dir.path(),
        env: &env,
        through: &[],
    })
    .await;
    let (ada, eve) = (
        User::register(server.address, "Ada").await,
        User::register(server.address, "Eve").await,
    );
    let room = ada.create_event("Lesson").await;
    ada.bring(&eve, room).await;
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let mut writer = ada.connect().await;
        writer.join(room).await;
        writers.push(writer);
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = ada.connect().await;
        reader.join(room).await;
        readers.push(reader);
    }
    let text = "가나다라".repeat(1_000);
    for _ in 0..30 {
        writers[0].publish(room, &text).await;
    }

    let before = resident(server.pid());
    let stop = Arc::new(AtomicBool::new(false));
    let memory = watch_memory(server.pid(), Arc::clone(&stop));
    let began = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(stop_reading(&eve, room).await);
    }
    let stopped = Instant::now();

    // Everybody talks on, past the time that a slow one is given.
    let head = Arc::new(AtomicU64::new(0));
    let mut talking = Vec::new();
    for mut writer in writers {
        let (text, head) = (text.clone(), Arc::clone(&head));
        talking.push(tokio::spawn(async move {
            for n in 0..MESSAGES {
                let mut words = text.clone();
                write!(words, " {n}").unwrap();
                let reply = writer.publish(room, &words).await;
                let seq = reply["publish"]["seq"]
                    .as_u64()
                    .unwrap_or_else(|| panic!("{reply}"));
                head.fetch_max(seq, Ordering::SeqCst);
            }
            writer
        }));
    }
    let closed = r#"timingle_sessions_closed_total{reason="slow"}"#;
    let dropping = tokio::spawn(async move {
        until("the slow ones' end", || async {
            (figure(metrics, closed).await >= SLOW as u64).then(Instant::now)
        })
        .await
    });
    let mut writers = Vec::new();
    for talk in talking {
        writers.push(soon("the end of the talk", talk).await.unwrap());
    }
    let head = head.load(Ordering::SeqCst);
    assert_eq!(head, (2 + 30 + WRITERS * MESSAGES) as u64);

    // The others missed nothing: each copy checks itself, and all are one.
    let mut catching_up = Vec::new();
    for mut reader in readers {
        catching_up.push(tokio::spawn(async move {
            reader.read_to(room, head).await;
            reader.copy(room).assert_whole();
            reader
        }));
    }
    let mut readers = Vec::new();
    for reader in catching_up {
        readers.push(reader.await.unwrap());
    }
    let record = writers[0].whole_record(room).await.entries;
    for reader in &readers {
        assert!(
            reader.copy(room).entries == record,
            "a copy that is not the record"
        );
    }

    // The slow ones were dropped as slow, in time, and nobody else was.
    let dropped = dropping.await.unwrap();
    // A second of patience, and three in which a closed socket may hear of it.
    assert!(
        dropped - stopped < STALL + Duration::from_secs(5),
        "{:?}",
        dropped - stopped
    );
    assert_eq!(figure(metrics, closed).await, SLOW as u64);
    let open = (WRITERS + READERS) as u64;
    assert_eq!(figure(metrics, "timingle_sessions").await, open);
    stop.store(true, Ordering::Relaxed);
    let grown = memory.await.unwrap().saturating_sub(before);
    eprintln!(
        "{} MiB before, at most {} MiB more, in {:?}",
        before >> 20,
        grown >> 20,
        began.elapsed()
    );
    // They asked for 30 MiB each. What waits for them, and as much again for the work itself.
    assert!(grown < 2 * SLOW as u64 * OUTBOX, "{} MiB more", grown >> 20);

    // They come back from where they were, and have everything.
    let mut coming_back = Vec::new();
    for (socket, known) in slow {
        drop(socket);
        let eve = eve.clone();
        coming_back.push(tokio::spawn(async move {
            (known.seq, recover(&eve, room, known).await)
        }));
    }
    let mut missed = 0;
    for back in coming_back {
        let (seq, copy) = back.await.unwrap();
        missed += head - seq;
        let expected: std::collections::BTreeMap<u64, Value> = record
            .range(seq + 1..)
            .map(|(seq, entry)| (*seq, entry.clone()))
            .collect();
        assert!(copy.entries == expected, "after {seq}: {:?}", copy.entries.keys());
    }
    assert_eq!(missed, (SLOW * WRITERS * MESSAGES) as u64);
}
