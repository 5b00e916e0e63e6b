//! What nodes tell each other, and what they find out by themselves.
//!
//! - [`contract`]: what every broker promises, in memory and with NATS.
//! - [`across`]: what happens on one node is told on the others.
//! - [`weather`]: nothing is wrong when tellings are lost, doubled and reordered.
//! - [`away`]: NATS is away, and comes back.

mod across;
mod away;
mod contract;
mod weather;

use futures_util::future::join_all;
use timingle::app::Overrides;

use crate::harness::{Socket, TestApp, User, cluster::Stage};

/// Three nodes of `stage`, which know of each other.
async fn three(stage: &Stage) -> Vec<TestApp> {
    let nodes = (0..3).map(|_| stage.node_with(|_| {}, Overrides::default()));
    join_all(nodes).await
}

/// A socket of `user` at each node, joined to `room`.
async fn joined(nodes: &[TestApp], user: &User, room: i64) -> Vec<Socket> {
    let mut sockets = Vec::new();
    for node in nodes {
        let mut socket = user.at(node.address).connect().await;
        socket.join(room).await;
        sockets.push(socket);
    }
    sockets
}

/// Says something at the first of `sockets` and waits until all have it; how often to say it until each
/// has heard the others by a hint is nobody's business but the test's own.
async fn says(sockets: &mut [Socket], room: i64, text: &str) -> u64 {
    let reply = sockets[0].publish(room, text).await;
    let seq = reply["publish"]["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("{reply}"));
    for socket in sockets {
        socket.read_to(room, seq).await;
    }
    seq
}
