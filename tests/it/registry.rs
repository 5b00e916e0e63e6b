//! Rooms come and go: on demand, once, and in nobody's way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::Rng as _;
use serde_json::{Value, json};
use timingle::config::Config;

use crate::harness::{
    Socket, TestApp, User,
    log::{Gate, TipTrick, Tricks},
    soon, until,
};

/// A server whose log does tricks.
async fn app_with(tricks: &Tricks, change: impl FnOnce(&mut Config)) -> TestApp {
    TestApp::start(Arc::new(tempfile::tempdir().unwrap()), change, tricks.overrides()).await
}

/// How often rooms have started, more or less: see [`Tricks::tails_read`].
fn starts(tricks: &Tricks) -> usize {
    tricks.tails_read().values().sum()
}

/// An event on a server that then was stopped, so that its room is not live; its host.
async fn quiet_room(guests: usize) -> (Arc<tempfile::TempDir>, i64, Vec<String>) {
    let app = TestApp::spawn().await;
    let host = app.user("Host").await;
    let room = host.create_event("Quiet").await;
    let mut phones = vec![host.phone.clone()];
    for number in 0..guests {
        let guest = app.user(&format!("Guest {number}")).await;
        host.bring(&guest, room).await;
        phones.push(guest.phone.clone());
    }
    (app.stop().await, room, phones)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_join_at_once_start_the_room_once() {
    let (dir, room, phones) = quiet_room(5).await;
    let tricks = Tricks::default();
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let mut sockets = Vec::new();
    for phone in &phones {
        let user = User::sign_in(app.address, "Again", phone).await;
        for _ in 0..8 {
            sockets.push(user.connect().await);
        }
    }
    let joins = sockets.into_iter().map(|mut socket| {
        tokio::spawn(async move {
            socket.join(room).await;
            socket
        })
    });
    let joins: Vec<_> = joins.collect();
    let mut sockets = Vec::new();
    for join in joins {
        sockets.push(join.await.unwrap());
    }
    assert_eq!(sockets.len(), 48);
    assert_eq!(starts(&tricks), 1);
    let said = sockets[0].publish(room, "hello").await["publish"]["seq"]
        .as_u64()
        .unwrap();
    for socket in &mut sockets {
        socket.read_to(room, said).await;
        socket.copy(room).assert_whole();
    }
}

#[tokio::test]
async fn stranger_who_guesses_numbers_starts_no_room() {
    let (dir, room, phones) = quiet_room(0).await;
    let tricks = Tricks::default();
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let mut stranger = app.user("Eve").await.connect().await;
    for guess in [room, room + 1] {
        let reply = stranger
            .ask("join", json!({ "rooms": [{ "room": guess }] }))
            .await;
        assert_eq!(
            reply["join"]["rooms"][0]["error"]["code"], "EVENT_NOT_FOUND",
            "{reply}"
        );
        let reply = stranger.ask("history", json!({ "room": guess })).await;
        assert_eq!(reply["error"]["code"], "EVENT_NOT_FOUND", "{reply}");
    }
    assert_eq!(starts(&tricks), 0);
    let host = User::sign_in(app.address, "Host", &phones[0]).await;
    host.connect().await.join(room).await;
    assert_eq!(starts(&tricks), 1);
}

#[tokio::test]
async fn start_that_fails_is_told_and_the_next_try_works() {
    let (dir, room, phones) = quiet_room(0).await;
    let tricks = Tricks::default();
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let host = User::sign_in(app.address, "Host", &phones[0]).await;
    let mut socket = host.connect().await;
    // Each failed try of the socket may ask more than once.
    for _ in 0..10 {
        tricks.arm_tip(TipTrick::Fail);
    }
    let mut refused = 0;
    soon("a join that works", async {
        loop {
            let reply = socket.ask("join", json!({ "rooms": [{ "room": room }] })).await;
            let error = &reply["join"]["rooms"][0]["error"];
            if error.is_null() {
                break;
            }
            assert_eq!(
                (&error["code"], &error["temporary"]),
                (&json!("UNAVAILABLE"), &json!(true)),
                "{reply}"
            );
            refused += 1;
        }
    })
    .await;
    assert!((1..=10).contains(&refused), "{refused}");
    assert_eq!(tricks.fired(), 10);
    assert_eq!(socket.publish(room, "works").await["publish"]["seq"], 2);
    // The same for who only reads.
    let app = TestApp::start(app.stop().await, |_| {}, {
        for _ in 0..2 {
            tricks.arm_tip(TipTrick::Fail);
        }
        tricks.overrides()
    })
    .await;
    let host = User::sign_in(app.address, "Host", &phones[0]).await;
    let mut socket = host.connect().await;
    let reply = socket.ask("history", json!({ "room": room })).await;
    assert_eq!(reply["error"]["code"], "UNAVAILABLE", "{reply}");
    soon("a page", async {
        while socket
            .ask("history", json!({ "room": room }))
            .await
            .get("history")
            .is_none()
        {}
    })
    .await;
}

#[tokio::test]
async fn caller_that_gives_up_hinders_nobody() {
    let (dir, room, phones) = quiet_room(1).await;
    let (tricks, gate) = (Tricks::default(), Gate::closed());
    let app = TestApp::start(dir, |_| {}, tricks.overrides()).await;
    let host = User::sign_in(app.address, "Host", &phones[0]).await;
    let guest = User::sign_in(app.address, "Guest", &phones[1]).await;
    tricks.arm_tip(TipTrick::Hold(gate.clone()));
    // The first one asks for the room, and is gone before it is there.
    let mut first = host.connect().await;
    first.post("join", json!({ "rooms": [{ "room": room }] })).await;
    gate.reached().await;
    drop(first);
    // Others wait for the same start, one of them goes as well.
    let mut second = guest.connect().await;
    second.post("join", json!({ "rooms": [{ "room": room }] })).await;
    let mut third = host.connect().await;
    let id = third.post("join", json!({ "rooms": [{ "room": room }] })).await;
    second.close().await;
    gate.open();
    let reply = third.reply(id).await;
    assert!(reply["join"]["rooms"][0].get("error").is_none(), "{reply}");
    assert_eq!(starts(&tricks), 1);
    let mut fourth = guest.connect().await;
    fourth.join(room).await;
    let said = third.publish(room, "still here").await["publish"]["seq"]
        .as_u64()
        .unwrap();
    fourth.read_to(room, said).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_race_with_passivation_all_succeed() {
    let tricks = Tricks::default();
    let app = app_with(&tricks, |config| {
        config.room.idle_after = Duration::from_millis(1);
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let host = app.user("Host").await;
    let mut rooms = Vec::new();
    for number in 0..4 {
        rooms.push(host.create_event(&format!("Room {number}")).await);
    }
    let before = starts(&tricks);
    let has_gone = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut socket = host.connect().await;
        let rooms = rooms.clone();
        let has_gone = Arc::clone(&has_gone);
        tasks.push(tokio::spawn(async move {
            let mut said = 0;
            // On a busy machine rooms find fewer moments to go: go on until some did.
            for round in 0..200 {
                if round >= 12 && has_gone.load(Ordering::Relaxed) {
                    break;
                }
                let room = rooms[round % rooms.len()];
                socket.join(room).await;
                let reply = socket.publish(room, "in time").await;
                assert!(reply["publish"]["seq"].is_u64(), "{reply}");
                said += 1;
                let reply = socket.ask("leave", json!({ "rooms": [room] })).await;
                assert!(reply.get("leave").is_some(), "{reply}");
                // A room looks twice a second whether it may go: around then is the moment.
                let longest = if round < 12 { 350 } else { 1_500 };
                let pause = rand::rng().random_range(200..longest);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            said
        }));
    }
    until("rooms going and coming back", async || {
        (starts(&tricks) > before + 4).then_some(())
    })
    .await;
    has_gone.store(true, Ordering::Relaxed);
    let mut said = 0;
    for task in tasks {
        said += task.await.unwrap();
    }
    assert!(
        starts(&tricks) > before + 4,
        "rooms did not go: {} starts",
        starts(&tricks) - before
    );
    let mut reader = host.connect().await;
    let mut stands = 0;
    for room in rooms {
        let record = reader.whole_record(room).await;
        record.assert_whole();
        stands += record.texts().len();
    }
    assert_eq!(stands, said);
}

#[tokio::test]
async fn two_hundred_rooms_come_and_go() {
    let tricks = Tricks::default();
    let app = app_with(&tricks, |config| {
        config.room.idle_after = Duration::from_millis(1);
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let host = app.user("Host").await;
    let mut rooms = Vec::new();
    for number in 0..200 {
        rooms.push(host.create_event(&format!("Room {number}")).await);
    }
    let mut socket = host.connect().await;
    let mut said = 0_u64;
    let first = tricks.tails_read();
    soon("every room's return", async {
        loop {
            for rooms in rooms.chunks(100) {
                join_all(&mut socket, rooms).await;
            }
            for room in &rooms {
                let reply = socket.publish(*room, "here").await;
                assert_eq!(reply["publish"]["seq"], said + 2, "{reply}");
            }
            said += 1;
            for rooms in rooms.chunks(100) {
                let reply = socket.ask("leave", json!({ "rooms": rooms })).await;
                assert!(reply.get("leave").is_some(), "{reply}");
            }
            let asked = tricks.tails_read();
            assert_eq!(asked.len(), 200);
            // Every room has started twice more at least: it came, went, and came again.
            if asked.iter().all(|(room, asked)| first[room] + 1 < *asked) {
                return;
            }
            // A room looks twice a second whether it may go.
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    })
    .await;
    let record = socket.whole_record(rooms[199]).await;
    record.assert_whole();
    assert_eq!(record.texts().len() as u64, said);
}

async fn join_all(socket: &mut Socket, rooms: &[i64]) {
    let wanted: Vec<Value> = rooms
        .iter()
        .map(|room| match socket.copies.get(room) {
            None => json!({ "room": room }),
            Some(copy) => json!({ "room": room, "since": copy.since() }),
        })
        .collect();
    let reply = socket.ask("join", json!({ "rooms": wanted })).await;
    let failed = reply["join"]["rooms"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|room| room.get("error").is_some());
    assert_eq!(failed.count(), 0, "{reply}");
}

#[tokio::test]
async fn room_with_a_socket_stays() {
    let tricks = Tricks::default();
    let app = app_with(&tricks, |config| {
        config.room.idle_after = Duration::from_millis(1);
        config.session.heartbeat = Duration::from_millis(300);
    })
    .await;
    let host = app.user("Host").await;
    let room = host.create_event("Busy").await;
    let mut socket = host.connect().await;
    socket.join(room).await;
    let before = starts(&tricks);
    // Each comes at a look at the time, at which an empty room would go.
    for _ in 0..4 {
        let head = socket.push("head").await;
        assert_eq!(head["head"], json!({ "seq": 1, "hash": socket.copy(room).hash }));
    }
    assert_eq!(starts(&tricks), before);
    assert_eq!(socket.publish(room, "still the same").await["publish"]["seq"], 2);
}
