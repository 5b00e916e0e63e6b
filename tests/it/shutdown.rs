//! A server that is told to stop says so to its clients, keeps what it acknowledged, and ends in time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::harness::{
    Raw, Socket, User,
    process::{Launch, Server},
    raw::upgrade,
    socket::Ended,
    soon, until,
};

const WRITERS: usize = 20;

const ENV: [(&str, &str); 4] = [
    ("TIMINGLE__LIMITS__PUBLISHES_PER_S", "100000"),
    ("TIMINGLE__LIMITS__PUBLISH_BURST", "100000"),
    ("TIMINGLE__SERVER__DRAIN_TIMEOUT", "5s"),
    ("TIMINGLE__SERVER__DRAIN_SPREAD", "4s"),
];

/// What one writer saw of the server's end.
struct Told {
    /// Seq and text by key of all that was acknowledged.
    acknowledged: BTreeMap<Uuid, (u64, String)>,
    /// When it was told to come back, in milliseconds.
    retry_after_ms: Vec<u64>,
    ended: Ended,
}

/// Publishes, with a few on their way, until the socket ends; tells `heard` of the first acknowledgement.
async fn write(mut socket: Socket, room: i64, writer: usize, heard: mpsc::Sender<()>) -> Told {
    let mut told = Told {
        acknowledged: BTreeMap::new(),
        retry_after_ms: Vec::new(),
        ended: Ended::Cut,
    };
    let mut waiting: BTreeMap<u64, (Uuid, String)> = BTreeMap::new();
    let mut number = 0;
    loop {
        while waiting.len() < 4 && told.retry_after_ms.is_empty() {
            let (key, text) = (Uuid::new_v4(), format!("{writer}/{number}"));
            number += 1;
            let arguments =
                json!({ "room": room, "key": key, "after": socket.copy(room).seq, "body": { "text": text } });
            waiting.insert(socket.post("publish", arguments).await, (key, text));
        }
        let frame = match socket.frame().await {
            Ok(frame) => frame,
            Err(ended) => {
                told.ended = ended;
                return told;
            }
        };
        if frame["push"] == "shutdown" {
            told.retry_after_ms
                .push(frame["retry_after_ms"].as_u64().unwrap());
        } else if let Some((key, text)) = frame["id"].as_u64().and_then(|id| waiting.remove(&id)) {
            match frame["publish"]["seq"].as_u64() {
                Some(seq) => {
                    told.acknowledged.insert(key, (seq, text));
                    // Nobody counts any more: as good as counted.
                    let _ = heard.try_send(());
                }
                None => assert_eq!(frame["error"]["code"], "UNAVAILABLE", "{frame}"),
            }
        }
    }
}

/// A server with an event in which `count` people write, each on a socket that joined.
async fn writers(server: &Server, count: usize) -> (User, i64, Vec<Socket>) {
    let ada = User::register(server.address, "Ada").await;
    let room = ada.create_event("Lesson").await;
    let link = ada.invite(room).await;
    let mut sockets = Vec::new();
    for n in 0..count {
        let user = User::register(server.address, &format!("Writer {n}")).await;
        user.join_by(&link).await;
        let mut socket = user.connect().await;
        socket.join(room).await;
        sockets.push(socket);
    }
    (ada, room, sockets)
}

#[tokio::test]
async fn server_that_is_terminated_under_load_tells_everyone_and_keeps_what_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::launch(Launch {
        dir: dir.path(),
        env: &ENV,
        through: &[],
    })
    .await;
    let (ada, room, sockets) = writers(&server, WRITERS).await;
    let mut idle = ada.connect().await;
    let (heard, mut acknowledgements) = mpsc::channel(1_024);
    let running: Vec<_> = sockets
        .into_iter()
        .enumerate()
        .map(|(n, socket)| tokio::spawn(write(socket, room, n, heard.clone())))
        .collect();
    for _ in 0..500 {
        soon("an acknowledgement", acknowledgements.recv()).await.unwrap();
    }
    let asked = Instant::now();
    server.terminate();
    let status = server.wait().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{status}\n{}", server.log());
    assert!(took < Duration::from_secs(5), "it took {took:?}");

    let mut times = BTreeSet::new();
    let mut acknowledged = BTreeMap::new();
    for writer in running {
        let told = writer.await.unwrap();
        assert_eq!(told.ended, Ended::Closed(4001));
        assert_eq!(told.retry_after_ms.len(), 1, "told {:?}", told.retry_after_ms);
        assert!(!told.acknowledged.is_empty(), "a writer that was never heard");
        times.extend(told.retry_after_ms);
        acknowledged.extend(told.acknowledged);
    }
    let told = idle.push("shutdown").await["retry_after_ms"].as_u64().unwrap();
    assert_eq!(idle.end().await, Ended::Closed(4001));
    times.insert(told);
    // Evenly over the four seconds: nobody comes with another.
    assert_eq!(times.len(), WRITERS + 1, "{times:?}");
    let times: Vec<u64> = times.into_iter().collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 150), "{times:?}");
    assert!(times[0] >= 100 && *times.last().unwrap() <= 4_000, "{times:?}");
    assert!(Socket::open(server.address, Some(&ada.token)).await.is_err());

    // Everything that was acknowledged is there, once, at its place.
    let server = Server::spawn(dir.path()).await;
    let record = User::sign_in(server.address, "Ada", &ada.phone)
        .await
        .connect()
        .await
        .whole_record(room)
        .await;
    record.assert_whole();
    for (key, (seq, text)) in &acknowledged {
        let entry = record
            .entries
            .get(seq)
            .unwrap_or_else(|| panic!("{text}, acknowledged as {seq}, is lost"));
        assert_eq!(
            (entry["key"].as_str(), entry["body"]["text"].as_str()),
            (Some(&*key.to_string()), Some(&**text))
        );
    }
    let keys: BTreeSet<&str> = record
        .entries
        .values()
        .map(|entry| entry["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys.len(), record.entries.len(), "a key stands twice");
    let unanswered = record.texts().len() - acknowledged.len();
    assert!(
        unanswered <= WRITERS * 4,
        "{unanswered} entries more than were acknowledged"
    );
}

#[tokio::test]
async fn client_that_does_not_read_delays_the_end_only_up_to_the_deadline_and_nobody_new_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    // Shorter than the server would wait for this socket by itself.
    let env = [
        &ENV[..2],
        &[
            ("TIMINGLE__LIMITS__OUTBOX_STALL", "300s"),
            ("TIMINGLE__SERVER__DRAIN_TIMEOUT", "2s"),
        ],
    ]
    .concat();
    let mut server = Server::launch(Launch {
        dir: dir.path(),
        env: &env,
        through: &[],
    })
    .await;
    let (ada, room, mut sockets) = writers(&server, 2).await;
    let authorization = format!("Authorization: Bearer {}", ada.token);
    let mut deaf = Raw::open(server.address, Some(1), &[&authorization]).await;
    let mut writer = sockets.pop().unwrap();
    for _ in 0..20 {
        assert!(writer.publish(room, &"가".repeat(8_000)).await["publish"].is_object());
    }
    // More answers than the kernel holds between the two: some of them stay in the outbox.
    for id in 1..200 {
        deaf.text(&json!({ "id": id, "history": { "room": room } }).to_string())
            .await;
    }
    let mut alive = sockets.pop().unwrap();
    assert!(alive.ask("history", json!({ "room": room })).await["history"].is_object());

    let asked = Instant::now();
    server.terminate();
    assert!(alive.push("shutdown").await["retry_after_ms"].is_u64());
    // Too late to be heard: it is refused, or the socket is closed before it is read.
    let late = json!({ "id": 900, "publish": {
        "room": room, "key": uuid::Uuid::new_v4(), "after": 1, "body": { "text": "too late" },
    } });
    alive
        .try_send(tokio_tungstenite::tungstenite::Message::text(late.to_string()))
        .await;
    let ended = loop {
        match alive.frame().await {
            Ok(frame) if frame["id"] == 900 => assert_eq!(frame["error"]["code"], "UNAVAILABLE", "{frame}"),
            Ok(_) => {}
            Err(ended) => break ended,
        }
    };
    assert_eq!(ended, Ended::Closed(4001));

    // While it waits for the deaf one, it is not ready and takes nobody in.
    let address = server.address;
    let ready = until("a server that is not ready", || async move {
        let answer = reqwest::get(format!("http://{address}/readyz")).await.ok()?;
        (answer.status() == 503).then_some(answer)
    })
    .await;
    let failing: Value = ready.json().await.unwrap();
    assert_eq!(failing["details"]["failing"], json!(["accepting"]), "{failing}");
    let mut newcomer = Raw::connect(address, None).await;
    newcomer
        .write(
            upgrade(
                "/api/v1/ws",
                &["Sec-WebSocket-Protocol: timingle.v2", &authorization],
            )
            .as_bytes(),
        )
        .await;
    let refused = newcomer.answer().await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("UNAVAILABLE"))
    );
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");

    let status = server.wait().await;
    let took = asked.elapsed();
    assert_eq!(status.code(), Some(0), "{status}\n{}", server.log());
    // The deadline, and what closing the stores may take.
    assert!((2_000..4_000).contains(&took.as_millis()), "it took {took:?}");
    eprintln!("ended after {took:?}");
    drop(deaf);
}
