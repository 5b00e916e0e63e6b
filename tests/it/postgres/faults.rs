//! A node whose PostgreSQL is away, silent, slow or restarted: what it cannot do it says, in
//! time and so that one tries again; rooms that are open go on; and it recovers by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, StatusCode};
use serde_json::json;
use timingle::{app::Overrides, config::Config};
use uuid::Uuid;

use crate::harness::{
    Socket, TestApp, User,
    cluster::{Stage, readiness, until_ready},
    database::Database,
    proxy::Proxy,
    servers::Private,
    soon, until,
};

/// How long a request may take to be refused.
const REFUSED_IN: Duration = Duration::from_secs(8);

fn hasty(config: &mut Config) {
    config.data.pool_timeout = Duration::from_secs(1);
    config.postgres.statement_timeout = Duration::from_secs(1);
    config.postgres.connect_timeout = Duration::from_secs(1);
}

/// An installation whose nodes reach PostgreSQL through the proxy.
async fn behind_a_proxy() -> (Stage, Proxy) {
    let mut stage = Stage::new().await;
    let proxy = Proxy::to(stage.places.postgres).await;
    stage.places.postgres = proxy.address();
    (stage, proxy)
}

async fn livez(address: std::net::SocketAddr) -> StatusCode {
    let answer = reqwest::get(format!("http://{address}/livez")).await.unwrap();
    answer.status()
}

fn dinner() -> serde_json::Value {
    json!({
        "title": "Dinner",
        "start_time": "2030-05-01T10:00:00Z",
        "end_time": "2030-05-01T11:00:00Z",
    })
}

/// Asks for what needs the store; each is refused in time, as something to try again.
async fn assert_refused(user: &User, event: i64) {
    let confirm = format!("/events/{event}/confirm");
    let read = format!("/events/{event}");
    let asked = [
        (Method::POST, "/events", Some(dinner())),
        (Method::POST, confirm.as_str(), None),
        (Method::GET, read.as_str(), None),
    ];
    for (method, path, body) in asked {
        let begun = Instant::now();
        let answer = user.call_with(method.clone(), path, &[], body);
        let answer = soon("a refusal", answer).await;
        let took = begun.elapsed();
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("UNAVAILABLE")),
            "{method} {path}: {}",
            answer.body
        );
        assert!(answer.header("retry-after").is_some(), "{method} {path}");
        assert!(took < REFUSED_IN, "{method} {path} took {took:?}");
    }
}

/// Two people in a room that is open.
async fn talk(node: &TestApp) -> (User, i64, Socket, Socket) {
    let (host, guest) = (node.user("host").await, node.user("guest").await);
    let room = host.create_event("Dinner").await;
    host.bring(&guest, room).await;
    let (mut one, mut other) = (host.connect().await, guest.connect().await);
    one.join(room).await;
    other.join(room).await;
    (host, room, one, other)
}

async fn assert_goes_on(room: i64, one: &mut Socket, other: &mut Socket) {
    for n in 0..5 {
        let reply = one.publish(room, &format!("still here {n}")).await;
        let seq = reply["publish"]["seq"].as_u64();
        other
            .read_to(room, seq.unwrap_or_else(|| panic!("{reply}")))
            .await;
    }
    other.copy(room).assert_whole();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_or_silent_it_is_named_rooms_go_on_and_all_is_well_again() {
    let (stage, proxy) = behind_a_proxy().await;
    let node = stage.node_with(hasty, Overrides::default()).await;
    let (host, room, mut one, mut other) = talk(&node).await;
    for fault in ["away", "silent"] {
        match fault {
            "away" => proxy.cut(),
            _ => proxy.stall(),
        }
        assert_refused(&host, room).await;
        assert_goes_on(room, &mut one, &mut other).await;
        let (status, missing) = readiness(node.address).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{fault}");
        assert_eq!(missing, ["relational_store"], "{fault}");
        assert_eq!(livez(node.address).await, StatusCode::OK);
        proxy.heal();
        until_ready(node.address).await;
        until("changes to be taken again", || async {
            let path = format!("/events/{room}");
            let (status, _) = host.call(Method::GET, &path, None).await;
            (status == StatusCode::OK).then_some(())
        })
        .await;
        host.create_event("Again").await;
        assert_goes_on(room, &mut one, &mut other).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_is_slow_and_nothing_else() {
    let (stage, proxy) = behind_a_proxy().await;
    let node = stage.node().await;
    let (host, room, mut one, mut other) = talk(&node).await;
    proxy.slow(Duration::from_millis(60));
    let begun = Instant::now();
    let event = host.create_event("Slowly").await;
    assert!(begun.elapsed() > Duration::from_millis(360), "it was not slow");
    let answer = host.call(Method::GET, &format!("/events/{event}"), None).await;
    assert_eq!(answer.0, StatusCode::OK);
    let begun = Instant::now();
    assert_goes_on(room, &mut one, &mut other).await;
    let took = begun.elapsed() / 5;
    assert!(
        took < Duration::from_millis(240),
        "a message waited {took:?} for the store"
    );
    assert_eq!(readiness(node.address).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn away_at_start_it_is_waited_for() {
    let (stage, proxy) = behind_a_proxy().await;
    proxy.cut();
    let node = stage.unready_node(hasty, Overrides::default()).await;
    assert_eq!(livez(node.address).await, StatusCode::OK);
    until("that only the store is missing", || async {
        let (status, missing) = readiness(node.address).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        (missing == ["relational_store"]).then_some(())
    })
    .await;
    proxy.heal();
    until_ready(node.address).await;
    node.user("somebody").await.create_event("At last").await;
}

/// Creates events, each under a key that is used until there is an answer, until told to stop.
async fn create_on_and_on(user: User, stop: Arc<AtomicBool>, refused: Arc<AtomicUsize>) -> Vec<i64> {
    let mut made = Vec::new();
    while !stop.load(SeqCst) {
        let key = Uuid::new_v4().to_string();
        loop {
            let headers = [("idempotency-key", key.as_str())];
            let answer = user
                .call_with(Method::POST, "/events", &headers, Some(dinner()))
                .await;
            match answer.status {
                StatusCode::SERVICE_UNAVAILABLE => {
                    assert_eq!(answer.body["code"], "UNAVAILABLE");
                    refused.fetch_add(1, SeqCst);
                }
                StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK => {
                    made.push(answer.body["id"].as_i64().unwrap());
                    break;
                }
                other => panic!("{other}: {}", answer.body),
            }
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_in_mid_transaction_nothing_is_lost_or_doubled() {
    let server = Private::postgres().await;
    let mut stage = Stage::new().await;
    stage.places.postgres = server.address();
    stage.database = Database::on(server.address()).await;
    let node = stage.node_with(hasty, Overrides::default()).await;
    let (_, room, mut one, mut other) = talk(&node).await;
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut users = Vec::new();
    for n in 0..4 {
        users.push(node.user(&format!("maker {n}")).await);
    }
    let makers: Vec<_> = users
        .iter()
        .map(|user| {
            let work = create_on_and_on(user.clone(), Arc::clone(&stop), Arc::clone(&refused));
            tokio::spawn(work)
        })
        .collect();
    let stored = async || -> i64 {
        let client = stage.database.connect().await;
        client
            .query_one("select count(*) from events", &[])
            .await
            .unwrap()
            .get(0)
    };
    for (round, ending) in ["stop", "kill", "kill", "stop"].into_iter().enumerate() {
        let before = stored().await;
        until("events to be made", || async {
            (stored().await > before + 20).then_some(())
        })
        .await;
        match ending {
            "stop" => server.stop().await,
            _ => server.kill().await,
        }
        let heard = refused.load(SeqCst);
        until("a refusal", || async {
            (refused.load(SeqCst) > heard).then_some(())
        })
        .await;
        assert_goes_on(room, &mut one, &mut other).await;
        server.start().await;
        eprintln!("round {round}: {ending}, {} refused so far", refused.load(SeqCst));
    }
    let before = stored().await;
    until("events to be made", || async {
        (stored().await > before + 20).then_some(())
    })
    .await;
    stop.store(true, SeqCst);
    let mut made = Vec::new();
    for maker in makers {
        made.extend(maker.await.unwrap());
    }
    let client = stage.database.connect().await;
    let mut found: Vec<i64> = client
        .query("select id from events where id <> $1 order by id", &[&room])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    made.sort_unstable();
    found.sort_unstable();
    eprintln!(
        "{} events made over 4 restarts, {} refusals",
        made.len(),
        refused.load(SeqCst)
    );
    assert_eq!(
        made, found,
        "each acknowledged creation stands once, and nothing else does"
    );
    // Every fact finds its way into its room's log.
    until("every fact to be in its log", || async {
        let open = "select count(*) from event_history where seq is null";
        let open: i64 = client.query_one(open, &[]).await.unwrap().get(0);
        (open == 0).then_some(())
    })
    .await;
}
