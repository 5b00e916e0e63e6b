//! Who is removed, or goes, neither sends nor receives from the next entry on.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Copy, Socket, TestApp, User, soon};

/// How often the race is run, each time with somebody else.
const ROUNDS: usize = 12;

/// Messages on their way from each side when the removal comes.
const IN_FLIGHT: usize = 60;

/// Says many things at once, and waits for nothing; the ids of the commands.
async fn say_much(socket: &mut Socket, room: i64, after: u64, text: &str) -> Vec<u64> {
    let mut ids = Vec::new();
    for number in 0..IN_FLIGHT {
        let arguments = json!({
            "room": room,
            "key": Uuid::new_v4(),
            "after": after,
            "body": { "text": format!("{text} {number}") },
        });
        ids.push(socket.post("publish", arguments).await);
    }
    ids
}

/// Reads until all these commands are answered.
async fn replies(socket: &mut Socket, ids: &[u64]) -> BTreeMap<u64, Value> {
    let mut replies = BTreeMap::new();
    while replies.len() < ids.len() {
        let frame = socket.frame().await.unwrap();
        if frame.get("push").is_none() {
            replies.insert(frame["id"].as_u64().unwrap(), frame);
        }
    }
    assert!(replies.keys().copied().eq(ids.iter().copied()));
    replies
}

/// Reads until all these commands are answered and the room is closed to this socket.
async fn replies_and_removal(socket: &mut Socket, ids: &[u64]) -> (BTreeMap<u64, Value>, Value) {
    let (mut replies, mut removed) = (BTreeMap::new(), None);
    while replies.len() < ids.len() || removed.is_none() {
        let frame = socket.frame().await.unwrap();
        if frame.get("push").is_none() {
            replies.insert(frame["id"].as_u64().unwrap(), frame);
        } else if frame["push"] == "removed" {
            removed = Some(frame);
        }
    }
    (replies, removed.unwrap())
}

/// The seq of the last fact of this type about `user`.
fn fact_about(record: &Copy, kind: &str, user: &User) -> u64 {
    let about = |entry: &&Value| entry["fact"]["type"] == kind && entry["fact"]["user"]["id"] == user.id;
    let found = record.entries.values().rfind(about);
    found.unwrap_or_else(|| panic!("no {kind} of {} in {record:?}", user.id))["seq"]
        .as_u64()
        .unwrap()
}

async fn busy_app() -> TestApp {
    TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
        // Small batches, so that the removal falls between them and into them.
        config.room.append_entries = 16;
    })
    .await
}

/// One race: everybody talks while `guest` is put out (or goes), and what everyone has
/// afterwards is held against the record.
async fn race(host: &User, other: &User, guest: &User, room: i64, by: &User, round: usize) {
    let (kind, reason) = if by.id == guest.id {
        ("participant_left", "left")
    } else {
        ("participant_removed", "removed")
    };
    let mut at_host = host.connect().await;
    let mut at_other = other.connect().await;
    // Two sockets: one talks, one only listens.
    let mut at_guest = guest.connect().await;
    let mut silent = guest.connect().await;
    for socket in [&mut at_host, &mut at_other, &mut at_guest, &mut silent] {
        socket.join(room).await;
        socket.fill(room, 100).await;
    }
    let after = at_host.copy(room).seq;

    let removal = {
        let (by, guest) = (by.clone(), guest.clone());
        let pause = (round * 3) as u64;
        tokio::spawn(async move {
            // Nothing is waited for: the pause only moves the removal along the messages.
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            by.remove(&guest, room).await;
        })
    };
    let (from_host, from_other, from_guest) = tokio::join!(
        say_much(&mut at_host, room, after, "host"),
        say_much(&mut at_other, room, after, "other"),
        say_much(&mut at_guest, room, after, "guest"),
    );
    let (to_guest, removed) = replies_and_removal(&mut at_guest, &from_guest).await;
    assert_eq!(removed["reason"], reason, "{removed}");
    let (_, removed) = replies_and_removal(&mut silent, &[]).await;
    assert_eq!(removed["reason"], reason, "{removed}");
    for (socket, ids) in [(&mut at_host, from_host), (&mut at_other, from_other)] {
        let replies = replies(socket, &ids).await;
        assert!(replies.values().all(|reply| reply["publish"]["seq"].is_u64()));
    }
    removal.await.unwrap();

    // More is said once the guest is out.
    let late = at_host.publish(room, "after").await["publish"]["seq"]
        .as_u64()
        .unwrap();
    at_other.read_to(room, late).await;
    at_host.read_to(room, late).await;
    let record = at_host.whole_record(room).await;
    record.assert_whole();
    at_host.copy(room).assert_holds(&record.entries, "the host");
    at_other.copy(room).assert_holds(&record.entries, "the other");

    let fact = fact_about(&record, kind, guest);
    let beyond = record
        .entries
        .range(fact + 1..)
        .filter(|(_, entry)| entry["author"] == guest.id);
    assert_eq!(
        beyond.count(),
        0,
        "round {round}: the guest spoke after seq {fact}"
    );
    let visible: BTreeMap<u64, Value> = record
        .entries
        .range(..=fact)
        .map(|(seq, entry)| (*seq, entry.clone()))
        .collect();
    for (name, socket) in [("talking", &at_guest), ("silent", &silent)] {
        socket
            .copy(room)
            .assert_holds(&visible, &format!("round {round}, the {name} socket"));
    }
    // What was promised stands, and what was refused does not.
    let mut refused = 0;
    for reply in to_guest.values() {
        if let Some(seq) = reply["publish"]["seq"].as_u64() {
            assert_eq!(visible[&seq]["author"], guest.id, "{reply}");
        } else {
            assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
            refused += 1;
        }
    }
    let spoken = visible
        .range(after + 1..)
        .filter(|(_, entry)| entry["author"] == guest.id && entry["kind"] == "message");
    assert_eq!(spoken.count() + refused, IN_FLIGHT);

    // Nothing followed: these answers are read through the same socket after all of it.
    for socket in [&mut at_guest, &mut silent] {
        let history = socket.whole_record(room).await;
        history.assert_holds(&visible, &format!("round {round}, what the guest may read"));
        let page = socket
            .ask("history", json!({ "room": room, "after": fact }))
            .await;
        assert_eq!(page["history"]["entries"], json!([]), "{page}");
        let reply = socket.publish(room, "still there?").await;
        assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
        let reply = socket.ask("join", json!({ "rooms": [{ "room": room }] })).await;
        assert_eq!(reply["join"]["rooms"][0]["error"]["code"], "FORBIDDEN", "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_participant_neither_sends_nor_receives_from_the_next_entry_on() {
    let app = busy_app().await;
    let (host, other) = (app.user("Host").await, app.user("Other").await);
    let room = host.create_event("Lesson").await;
    host.bring(&other, room).await;
    for round in 0..ROUNDS {
        let guest = app.user(&format!("Guest {round}")).await;
        host.bring(&guest, room).await;
        race(&host, &other, &guest, room, &host, round).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_neither_sends_nor_receives_from_the_next_entry_on() {
    let app = busy_app().await;
    let (host, other) = (app.user("Host").await, app.user("Other").await);
    let room = host.create_event("Lesson").await;
    host.bring(&other, room).await;
    for round in 0..ROUNDS {
        let guest = app.user(&format!("Guest {round}")).await;
        host.bring(&guest, room).await;
        race(&host, &other, &guest, room, &guest, round).await;
    }
}

#[tokio::test]
async fn who_came_back_does_not_see_what_lay_between() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let old_link = ada.invite(room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    at_ada.publish(room, "before").await;
    ada.remove(&min, room).await;
    at_min.push("removed").await;
    let until = at_min.copy(room).seq;
    at_ada.publish(room, "between 1").await;
    at_ada.publish(room, "between 2").await;

    // The link from before the removal is of no use to who was put out.
    let (status, _) = min
        .call(reqwest::Method::POST, &format!("/invite/{old_link}/join"), None)
        .await;
    assert!(status.is_client_error(), "{status}");
    ada.bring(&min, room).await;
    at_ada.publish(room, "after").await;

    let since = at_min.copy(room).clone();
    let joined = at_min.join(room).await;
    assert_eq!(joined["complete"], true, "{joined}");
    let head = at_min.copy(room).seq;
    let expected: Vec<u64> = (1..=until).chain(head - 1..=head).collect();
    assert_eq!(expected.len() as u64, head - 2, "two entries lie between");
    let has = |copy: &Copy| copy.entries.keys().copied().collect::<Vec<_>>();
    assert_eq!(has(at_min.copy(room)), expected);
    assert!(at_min.copy(room).entries.len() > since.entries.len());

    // Neither by pages in either direction, nor with a fresh socket, nor after a restart.
    assert_eq!(has(&at_min.whole_record(room).await), expected);
    let back = at_min
        .ask("history", json!({ "room": room, "before": head - 1 }))
        .await;
    let seqs = |page: &Value| {
        let entries = page["history"]["entries"].as_array().unwrap();
        entries
            .iter()
            .map(|entry| entry["seq"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(&back), (1..=until).collect::<Vec<_>>(), "{back}");
    let app = TestApp::start(app.stop().await, |_| {}, timingle::app::Overrides::default()).await;
    let min = User::sign_in(app.address, "Min", &min.phone).await;
    let mut at_min = min.connect().await;
    at_min.join(room).await;
    assert_eq!(has(at_min.copy(room)), expected);
    assert_eq!(at_min.copy(room).texts(), ["before", "after"]);
}

#[tokio::test]
async fn removed_participant_learns_nothing_of_how_it_goes_on() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("Min").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;
    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    at_ada.join(room).await;
    at_min.join(room).await;
    ada.remove(&min, room).await;
    at_min.push("removed").await;
    let until = at_min.copy(room).seq;
    for number in 0..5 {
        at_ada.publish(room, &number.to_string()).await;
    }
    for window in [
        json!({}),
        json!({ "after": 0 }),
        json!({ "before": 100 }),
        json!({ "after": until }),
    ] {
        let mut arguments = window.clone();
        arguments["room"] = json!(room);
        let page = at_min.ask("history", arguments).await;
        let page = &page["history"];
        assert_eq!(page["as_of"], until, "{window}: {page}");
        assert_eq!(page["complete"], true, "{window}: {page}");
    }
    // Not even where the head is.
    let reply = at_min
        .publish_as(room, &Uuid::new_v4().to_string(), 1_000, "x")
        .await;
    assert_eq!(reply["error"]["code"], "FORBIDDEN", "{reply}");
}

#[tokio::test]
async fn removed_author_learns_it_also_after_the_room_was_let_go_of() {
    let app = TestApp::with(|config| {
        config.room.idle_after = Duration::ZERO;
        config.limits.publishes_per_s = 100_000;
        config.limits.publish_burst = 100_000;
    })
    .await;
    let (ada, ben) = (app.user("Ada").await, app.user("Ben").await);
    let room = ada.create_event("Short visit").await;
    ada.bring(&ben, room).await;
    let mut socket = ben.connect().await;
    socket.join(room).await;
    ada.remove(&ben, room).await;
    socket.push("removed").await;
    let key = Uuid::new_v4().to_string();
    // Nobody is in the room: it is let go of, which an answer tells, and found again.
    let mut was_away = false;
    soon("the refusal of a room that had been let go of", async {
        loop {
            let reply = socket.publish_as(room, &key, 2, "still here?").await;
            match reply["error"]["code"].as_str() {
                Some("UNAVAILABLE") => was_away = true,
                Some("FORBIDDEN") if was_away => break,
                Some("FORBIDDEN") => {}
                _ => panic!("{reply}"),
            }
        }
    })
    .await;
}
