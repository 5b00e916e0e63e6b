//! One room's sessions on several nodes.

use crate::harness::cluster::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_one_room_on_three_nodes_see_one_order() {
    let stage = Stage::new().await;
    let nodes = [stage.node().await, stage.node().await, stage.node().await];
    let host = nodes[0].user("host").await;
    let room = host.create_event("Three nodes").await;
    let mut sockets = Vec::new();
    for node in &nodes {
        let mut socket = host.at(node.address).connect().await;
        socket.join(room).await;
        sockets.push(socket);
    }
    // Each says something that the others cannot have foreseen.
    let mut last = 0;
    for round in 0..10 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            let reply = socket.publish(room, &format!("{round} from node {number}")).await;
            last = reply["publish"]["seq"]
                .as_u64()
                .unwrap_or_else(|| panic!("{reply}"));
        }
    }
    for socket in &mut sockets {
        socket.read_to(room, last).await;
        socket.copy(room).assert_whole();
    }
    let [first, others @ ..] = &sockets[..] else {
        unreachable!()
    };
    for other in others {
        other
            .copy(room)
            .assert_holds(&first.copy(room).entries, "another node's session");
        assert_eq!(other.copy(room).hash, first.copy(room).hash);
    }
}
