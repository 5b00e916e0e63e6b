//! Nodes that start before their engines.

use std::{collections::BTreeSet, time::Duration};

use reqwest::StatusCode;

use crate::harness::{
    User,
    cluster::{Places, Stage, readiness},
    servers::Private,
    until,
};

async fn alive(address: std::net::SocketAddr) {
    let answer = reqwest::Client::new()
        .get(format!("http://{address}/livez"))
        .timeout(Duration::from_secs(2))
        .send();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_starts_with_everything_down_becomes_ready_by_itself() {
    let (postgres, cassandra, nats, redis) = tokio::join!(
        Private::postgres(),
        Private::cassandra(1),
        Private::nats(),
        Private::redis()
    );
    let stage = Stage::on(Places {
        postgres: postgres.address(),
        cassandra: cassandra.addresses(),
        nats: nats.address(),
        redis: redis.address(),
    })
    .await;
    tokio::join!(postgres.kill(), cassandra.kill(), nats.kill(), redis.kill());

    let node = stage.unready_process(&[]).await;
    alive(node.address).await;
    let (status, missing) = readiness(node.address).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    let everything: BTreeSet<String> = missing.into_iter().collect();
    assert_eq!(everything.len(), 4, "{everything:?}");

    // One after the other comes up, and is no longer missed; the node has not been touched.
    let mut missed = everything;
    for (server, name) in [
        (&redis, "redis"),
        (&nats, "nats"),
        (&cassandra, "room_log"),
        (&postgres, "relational_store"),
    ] {
        assert!(missed.contains(name), "{name} is not among {missed:?}");
        server.start().await;
        missed.remove(name);
        until(&format!("a node that misses only {missed:?}"), || async {
            alive(node.address).await;
            let (status, missing) = readiness(node.address).await;
            let ready = status == StatusCode::OK;
            let missing: BTreeSet<String> = missing.into_iter().collect();
            (missing == missed && ready == missed.is_empty()).then_some(())
        })
        .await;
    }
    let host = User::register(node.address, "host").await;
    let room = host.create_event("After all").await;
    let mut socket = host.connect().await;
    socket.join(room).await;
    let reply = socket.publish(room, "Here we are").await;
    assert_eq!(reply["publish"]["seq"], 2, "{reply}");
}
