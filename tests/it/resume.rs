//! Who goes and comes back has in the end what who stayed has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::harness::{Copy, Socket, TestApp, User, soon};

const WRITERS: usize = 16;
const OBSERVERS: usize = 3;
/// How often each observer comes back while the writers write.
const ROUNDS: usize = 10;

/// Who still has something to do: observers come back while there are writers, and
/// writers write until every observer has come back often enough.
struct Busy {
    start: Barrier,
    writers: AtomicUsize,
    observers: AtomicUsize,
}

/// How an observer came back, counted over all of them: a run that never had to page
/// or to start over has tested nothing.
#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    paged: AtomicUsize,
    reset: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_who_come_and_go_end_with_what_a_fresh_reader_reads() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 1_000;
        config.limits.publish_burst = 1_000;
        config.room.tail_entries = 30;
    })
    .await;
    let host = app.user("Host").await;
    let room = host.create_event("Crowd").await;
    let code = host.invite(room).await;
    let busy = Arc::new(Busy {
        start: Barrier::new(WRITERS + OBSERVERS),
        writers: AtomicUsize::new(WRITERS),
        observers: AtomicUsize::new(OBSERVERS),
    });

    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let user = app.user(&format!("Writer {number}")).await;
        user.join_by(&code).await;
        writers.push(tokio::spawn(write(user, room, number, Arc::clone(&busy))));
    }
    let counts = Arc::new(Seen::default());
    let mut observers = Vec::new();
    for number in 0..OBSERVERS {
        let user = app.user(&format!("Observer {number}")).await;
        user.join_by(&code).await;
        let rng = StdRng::seed_from_u64(seed.wrapping_add(number as u64));
        observers.push(tokio::spawn(observe(
            user,
            room,
            rng,
            Arc::clone(&busy),
            Arc::clone(&counts),
        )));
    }

    let mut copies = Vec::new();
    for task in writers.into_iter().chain(observers) {
        copies.push(soon("a writer's or observer's copy", task).await.unwrap());
    }
    let mut fresh = host.connect().await;
    let record = fresh.whole_record(room).await;
    record.assert_whole();
    let texts = record.texts();
    for (number, copy) in copies.iter().enumerate() {
        copy.assert_holds(&record.entries, &format!("copy {number} with seed {seed}"));
    }
    // Each writer's words stand in the order in which they were said.
    let mut said = 0;
    for number in 0..WRITERS {
        let prefix = format!("{number}: ");
        let own = texts.iter().filter_map(|text| text.strip_prefix(&prefix));
        let own: Vec<usize> = own.map(|count| count.parse().unwrap()).collect();
        assert!(own.iter().copied().eq(0..own.len()), "writer {number}: {own:?}");
        assert!(!own.is_empty(), "writer {number} said nothing");
        said += own.len();
    }
    assert_eq!(said, texts.len());
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    let (whole, paged, reset) = (count(&counts.whole), count(&counts.paged), count(&counts.reset));
    assert!(
        whole > 0 && paged > 0 && reset > 0,
        "resumed {whole}, paged {paged}, reset {reset} with seed {seed}"
    );
}

/// Joins, talks until the observers have seen enough, and reads on until everyone has finished.
async fn write(user: User, room: i64, number: usize, busy: Arc<Busy>) -> Copy {
    let mut socket = user.connect().await;
    socket.join(room).await;
    busy.start.wait().await;
    let mut count = 0;
    while busy.observers.load(Ordering::SeqCst) > 0 {
        let reply = socket.publish(room, &format!("{number}: {count}")).await;
        assert!(reply["publish"]["seq"].is_u64(), "{reply}");
        count += 1;
        // Nothing is waited for: this only keeps the record from growing faster than it is read.
        let pause = rand::rng().random_range(10..30);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    busy.writers.fetch_sub(1, Ordering::SeqCst);
    read_to_the_end(&mut socket, room, &busy).await;
    // What it joined too late to be told, and what was too much to be told.
    socket.fill(room, 100).await;
    socket.copy(room).clone()
}

/// Comes back again and again, from where it was, from far behind, or with a wrong hash.
async fn observe(user: User, room: i64, mut rng: StdRng, busy: Arc<Busy>, counts: Arc<Seen>) -> Copy {
    let mut copy: Option<Copy> = None;
    let mut older: Vec<Option<Copy>> = vec![None];
    busy.start.wait().await;
    for round in 0.. {
        if round == ROUNDS {
            busy.observers.fetch_sub(1, Ordering::SeqCst);
        }
        let last = busy.writers.load(Ordering::SeqCst) == 0;
        let mut socket = user.connect().await;
        // Once from the very first copy, otherwise as it comes.
        if round == ROUNDS - 2 {
            copy.clone_from(&older[1]);
        } else if !last && rng.random_bool(0.3) {
            copy = older[rng.random_range(0..older.len())].clone();
        }
        if let Some(mut known) = copy.take() {
            if !last && round != ROUNDS - 2 && known.seq > 0 && (round == 4 || rng.random_bool(0.2)) {
                known.hash = "0".repeat(64);
            }
            socket.copies.insert(room, known);
        }
        let before = socket.copies.get(&room).cloned();
        let joined = socket.join(room).await;
        judge(&joined, before.as_ref(), &counts);
        let page = rng.random_range(20..=100);
        socket.fill(room, page).await;
        socket.copy(room).assert_whole();
        if last {
            read_to_the_end(&mut socket, room, &busy).await;
            return socket.copies.remove(&room).unwrap();
        }
        for _ in 0..rng.random_range(0..40) {
            // Everyone may just have finished.
            match tokio::time::timeout(Duration::from_millis(200), socket.frame_whenever()).await {
                Ok(frame) => frame.unwrap(),
                Err(_) => break,
            };
        }
        socket.copy(room).assert_whole();
        copy = socket.copies.remove(&room);
        older.push(copy.clone());
        if rng.random_bool(0.5) {
            socket.close().await;
        }
    }
    unreachable!("the rounds never end by themselves")
}

/// Holds the answer to a join against what the client had.
fn judge(joined: &Value, before: Option<&Copy>, counts: &Seen) {
    let head = joined["head"]["seq"].as_u64().unwrap();
    let seqs: Vec<u64> = joined["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["seq"].as_u64().unwrap())
        .collect();
    let complete = joined["complete"] == true;
    if joined["reset"] == true {
        assert_eq!(
            before.unwrap().hash,
            "0".repeat(64),
            "a true position was not believed"
        );
        counts.reset.fetch_add(1, Ordering::SeqCst);
    } else if let Some(before) = before {
        assert_ne!(before.hash, "0".repeat(64), "a wrong hash was believed");
        if complete {
            assert!(seqs.iter().copied().eq(before.seq + 1..=head), "{seqs:?}");
            counts.whole.fetch_add(1, Ordering::SeqCst);
        } else {
            counts.paged.fetch_add(1, Ordering::SeqCst);
        }
    }
    // Whatever it holds, it ends at the head and has no hole.
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seqs:?}");
    assert!(
        seqs.last().is_none_or(|last| *last == head),
        "{seqs:?} up to {head}"
    );
}

/// Reads on until nobody writes any more and everything said has come.
async fn read_to_the_end(socket: &mut Socket, room: i64, busy: &Busy) {
    soon("the end", async {
        loop {
            let all = busy.writers.load(Ordering::SeqCst) == 0;
            let page = socket.ask("history", json!({ "room": room, "limit": 1 })).await;
            let head = page["history"]["as_of"].as_u64().unwrap();
            socket.read_to(room, head).await;
            if all {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn positions_that_are_not_the_logs_start_over() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let (room, other) = (ada.create_event("One").await, ada.create_event("Two").await);
    let mut socket = ada.connect().await;
    socket.join(room).await;
    socket.join(other).await;
    for count in 0..3 {
        socket.publish(room, &count.to_string()).await;
        socket.publish(other, &count.to_string()).await;
    }
    let (copy, foreign) = (socket.copy(room).clone(), socket.copy(other).clone());
    assert_ne!(copy.hash, foreign.hash);
    let ahead = json!({ "seq": copy.seq + 1, "hash": copy.hash });
    let far_ahead = json!({ "seq": (1_u64 << 53) - 1, "hash": copy.hash });
    let empty_log = json!({ "seq": 0, "hash": foreign.hash });
    let mut back = ada.connect().await;
    for since in [ahead, far_ahead, foreign.since(), empty_log] {
        let id = back
            .post("join", json!({ "rooms": [{ "room": room, "since": since }] }))
            .await;
        let joined = back.push("joined").await;
        back.reply(id).await;
        assert_eq!(joined["reset"], true, "{since}: {joined}");
        assert_eq!(back.copy(room).entries, copy.entries, "{since}");
    }
    // And one that is the log's does not.
    let id = back
        .post(
            "join",
            json!({ "rooms": [{ "room": room, "since": copy.since() }] }),
        )
        .await;
    let joined = back.push("joined").await;
    back.reply(id).await;
    assert!(joined.get("reset").is_none_or(|reset| reset == false), "{joined}");
    assert_eq!(joined["entries"], json!([]));
}
