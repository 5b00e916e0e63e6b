//! A sign-in that ends reaches its sockets on every node.

use std::time::{Duration, Instant};

use reqwest::Method;
use timingle::app::Overrides;

use crate::harness::{TestApp, cluster::Stage, proxy::Proxy, socket::Ended};

/// Signs out on the first of `nodes`; how long until the sockets on all of them were closed.
async fn sign_out(nodes: &[TestApp]) -> Duration {
    let user = nodes[0].user("Gone").await;
    let mut sockets = Vec::new();
    for node in nodes {
        sockets.push(user.at(node.address).connect().await);
    }
    // The node has it by now.
    for socket in &mut sockets {
        socket.push("hello").await;
    }
    let begun = Instant::now();
    let (status, body) = user.call(Method::POST, "/auth/logout", None).await;
    assert_eq!(status, 200, "{body}");
    for socket in &mut sockets {
        assert_eq!(socket.end().await, Ended::Closed(4502));
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_on_every_node_close_within_a_second_by_hint_and_six_without() {
    let mut stage = Stage::new().await;
    let nats = Proxy::to(stage.places.nats).await;
    stage.places.nats = nats.address();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(stage.node_with(|_| {}, Overrides::default()).await);
    }
    // Nodes hear of each other once a second; before that a hint may be missed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let by_hint = sign_out(&nodes).await;
    nats.cut();
    let without = sign_out(&nodes).await;
    eprintln!("closed on three nodes: by hint after {by_hint:?}, without NATS after {without:?}");
    assert!(by_hint < Duration::from_secs(1), "{by_hint:?}");
    assert!(without < Duration::from_secs(6), "{without:?}");
}
