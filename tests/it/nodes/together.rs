//! One room's sessions on several nodes.

use serde_json::json;

use crate::harness::{cluster::Stage, proxy::Proxy};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_lags_behind_its_clients_looks_before_it_refuses_them() {
    let mut stage = Stage::new().await;
    let nats = Proxy::to(stage.places.nats).await;
    stage.places.nats = nats.address();
    let (ahead, behind) = (stage.node().await, stage.node().await);
    let host = ahead.user("host").await;
    let guest = ahead.user("guest").await;
    let room = host.create_event("Who knows more").await;
    // The room is live on both, and the second hears of nothing any more.
    let mut first = host.connect().await;
    first.join(room).await;
    let mut stays = host.at(behind.address).connect().await;
    stays.join(room).await;
    nats.cut();
    let asked = first.publish(room, "one").await;
    first.publish(room, "two").await;
    let after = asked["publish"]["seq"].as_u64().unwrap();

    // A client that comes from the first has been told more than the second knows.
    let mut moved = host.at(behind.address).connect().await;
    moved.copies = std::mem::take(&mut first.copies);
    let joined = moved.join(room).await;
    assert!(joined.get("reset").is_none(), "{joined}");
    assert_eq!(joined["entries"], json!([]), "{joined}");
    moved.copy(room).assert_whole();
    first.join(room).await;
    let told = first.publish(room, "three").await;
    let told = told["publish"]["seq"].as_u64().unwrap();
    let reply = moved
        .publish_as(room, &uuid::Uuid::new_v4().to_string(), told, "four")
        .await;
    assert!(reply["publish"]["seq"].as_u64() > Some(told), "{reply}");
    // What nobody has is refused all the same.
    let reply = moved
        .publish_as(room, &uuid::Uuid::new_v4().to_string(), 1_000, "from nowhere")
        .await;
    assert_eq!(reply["error"]["code"], "POSITION_UNKNOWN", "{reply}");

    // Somebody who was let in by way of the first is let in by the second.
    host.bring(&guest, room).await;
    let mut late = guest.at(behind.address).connect().await;
    let joined = late.join(room).await;
    assert_eq!(joined["complete"], true, "{joined}");
    assert!(late.copy(room).seq > after);
    let stranger = ahead.user("stranger").await;
    let mut outside = stranger.at(behind.address).connect().await;
    let refused = outside.ask("join", json!({ "rooms": [{ "room": room }] })).await;
    assert_eq!(
        refused["join"]["rooms"][0]["error"]["code"], "EVENT_NOT_FOUND",
        "{refused}"
    );
}
