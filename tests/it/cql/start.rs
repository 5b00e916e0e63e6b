//! What a start finds, makes and settles.

use std::sync::Arc;

use scylla::value::CqlValue;
use timingle::{
    adapters::cql_log::{CqlLog, CreateKeyspaceError, Refusal, Tuning, create_keyspace},
    config::{Consistency, Scylla},
    domain::chain::Tip,
    ports::{AppendError, ReadError, RoomLog},
};
use tokio::{runtime::Handle, time::Duration};
use uuid::Uuid;

use super::{Raw, open, settings};
use crate::{
    harness::{proxy::Proxy, servers, soon},
    log_contract::{append_all, sealed, some_room},
};

/// Settings with a keyspace that does not exist yet; dropped with what is returned beside.
async fn unmade() -> Scylla {
    let keyspace = format!("log_{}_{}", std::process::id(), Uuid::new_v4().simple());
    settings(&[servers::cassandra().await], &keyspace[..keyspace.len().min(40)])
}

async fn drop_keyspace(config: &Scylla) {
    let raw = Raw::to(config.hosts[0].parse().unwrap(), "system").await;
    raw.run(&format!("DROP KEYSPACE {}", config.keyspace)).await;
}

async fn writes(log: &dyn RoomLog) {
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let entries = sealed(&mut tip, 3);
    append_all(log, room, start, &entries).await.unwrap();
    assert_eq!(log.tip(room).await.unwrap(), tip);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_the_tables_once() {
    let config = unmade().await;
    assert!(create_keyspace(&config, 1).await.unwrap());
    assert!(
        !create_keyspace(&config, 1).await.unwrap(),
        "the second time nothing"
    );
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { open(&config, Tuning::default()).await })
        })
        .collect();
    let mut logs = Vec::new();
    for node in nodes {
        logs.push(Arc::new(node.await.unwrap()));
    }
    // What one of them writes, all of them see: it is one table that they all have.
    let room = some_room();
    let mut tip = Tip::empty(room);
    for log in &logs {
        let before = tip.head;
        let next = sealed(&mut tip, 1);
        append_all(&**log, room, before, &next).await.unwrap();
    }
    for log in &logs {
        assert_eq!(log.tip(room).await.unwrap(), tip);
    }
    let raw = Raw::to(config.hosts[0].parse().unwrap(), &config.keyspace).await;
    assert_eq!(
        raw.setting("conditional_writes").await,
        Some(CqlValue::Text("LOCAL_SERIAL in datacenter1".into()))
    );
    drop_keyspace(&config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_would_order_otherwise_is_refused_and_writes_nothing() {
    let config = unmade().await;
    create_keyspace(&config, 1).await.unwrap();
    let first = open(&config, Tuning::default()).await;

    let mut quorum = config.clone();
    quorum.consistency = Consistency::Quorum;
    let mut elsewhere = config.clone();
    elsewhere.datacenter = "moon".into();
    for other in [quorum, elsewhere] {
        let log = CqlLog::open(&other, &Handle::current()).unwrap();
        let refusal = log.first_try(Duration::from_secs(20)).await.unwrap_err();
        assert!(
            matches!(&refusal, Refusal::OtherOrder { written, .. } if written == "LOCAL_SERIAL in datacenter1"),
            "{refusal:?}"
        );
        let room = some_room();
        let entries = sealed(&mut Tip::empty(room), 1);
        let told = log.append(room, Tip::empty(room).head, entries).await;
        assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");
        assert!(matches!(log.tip(room).await, Err(ReadError::Unavailable(_))));
        assert_eq!(first.tip(room).await.unwrap(), Tip::empty(room));
    }
    let mut named = config.clone();
    named.datacenter = "datacenter1".into();
    writes(&open(&named, Tuning::default()).await).await;
    writes(&first).await;
    drop_keyspace(&config).await;

    // The other order, from the beginning.
    let mut quorum = unmade().await;
    quorum.consistency = Consistency::Quorum;
    create_keyspace(&quorum, 1).await.unwrap();
    writes(&open(&quorum, Tuning::default()).await).await;
    let mut local = quorum.clone();
    local.consistency = Consistency::LocalQuorum;
    let log = CqlLog::open(&local, &Handle::current()).unwrap();
    assert!(log.first_try(Duration::from_secs(20)).await.is_err());
    drop_keyspace(&quorum).await;

    let mut nowhere = unmade().await;
    nowhere.datacenter = "moon".into();
    create_keyspace(&nowhere, 1).await.unwrap();
    let log = CqlLog::open(&nowhere, &Handle::current()).unwrap();
    let refusal = log.first_try(Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Datacenter { .. }), "{refusal:?}");
    drop_keyspace(&nowhere).await;
}

#[tokio::test]
async fn keyspace_may_come_later_and_has_no_more_replicas_than_nodes() {
    let config = unmade().await;
    let log = CqlLog::open(&config, &Handle::current()).unwrap();
    log.first_try(Duration::from_secs(20)).await.unwrap();
    let missing = log.tip(some_room()).await.unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(missing));
    assert!(text.contains("--create-keyspace"), "{text}");

    let too_many = create_keyspace(&config, 3).await;
    assert!(
        matches!(
            too_many,
            Err(CreateKeyspaceError::TooFewNodes {
                replicas: 3,
                nodes: 1
            })
        ),
        "{too_many:?}"
    );
    create_keyspace(&config, 1).await.unwrap();
    crate::harness::until("a log on its keyspace", || async {
        log.tip(some_room()).await.ok()
    })
    .await;
    writes(&log).await;
    drop_keyspace(&config).await;
}

#[tokio::test]
async fn servers_may_be_away_at_the_start() {
    let shared = super::shared().await;
    let proxy = Proxy::to(shared.hosts[0].parse().unwrap()).await;
    proxy.cut();
    let mut config = shared.clone();
    config.hosts = vec![proxy.address().to_string()];
    let log = CqlLog::open(&config, &Handle::current()).unwrap();
    log.first_try(Duration::from_secs(20)).await.unwrap();
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let entries = sealed(&mut tip, 2);
    // Answered at once, not when patience ends.
    let told = soon("an answer", log.append(room, start, Arc::clone(&entries))).await;
    assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");
    assert!(matches!(
        log.read(room, 1, 1).await,
        Err(ReadError::Unavailable(_))
    ));

    proxy.heal();
    crate::harness::until("a connected log", || async { log.tip(room).await.ok() }).await;
    append_all(&log, room, start, &entries).await.unwrap();
    log.close().await;
    let told = log.append(room, start, entries).await;
    assert!(matches!(told, Err(AppendError::InDoubt(_))), "closed: {told:?}");
}
