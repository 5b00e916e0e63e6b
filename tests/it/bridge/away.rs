//! NATS is away, and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use timingle::app::Overrides;

use super::{joined, says};
use crate::harness::{TestApp, cluster::Stage, proxy::Proxy, socket::Socket};

/// Within what a node notices what it missed.
const NOTICED: Duration = Duration::from_secs(5);

/// How long NATS is away; in production it may be for ever.
const AWAY: Duration = Duration::from_secs(12);

async fn behind_a_proxy() -> (Stage, Proxy, Vec<TestApp>) {
    let mut stage = Stage::new().await;
    let proxy = Proxy::to(stage.places.nats).await;
    stage.places.nats = proxy.address();
    let nodes = (0..3).map(|_| stage.node_with(|_| {}, Overrides::default()));
    let nodes = join_all(nodes).await;
    (stage, proxy, nodes)
}

/// Says something on the first node; how long it took there, and on the others.
async fn say(here: &mut [Socket], there: &mut [Socket], room: i64, text: &str) -> (Duration, Duration) {
    let begun = Instant::now();
    let reply = here[0].publish(room, text).await;
    let seq = reply["publish"]["seq"]
        .as_u64()
        .unwrap_or_else(|| panic!("{reply}"));
    for socket in here {
        socket.read_to(room, seq).await;
    }
    let near = begun.elapsed();
    for socket in there {
        socket.read_to(room, seq).await;
    }
    (near, begun.elapsed())
}

async fn goes_on(stall: bool) {
    let (_stage, proxy, nodes) = behind_a_proxy().await;
    let ada = nodes[0].user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut here = joined(&nodes[..1], &ada, room).await;
    here.extend(joined(&nodes[..1], &ada, room).await);
    let mut there = joined(&nodes[1..], &ada, room).await;
    says(&mut there, room, "before").await;
    let quick = say(&mut here, &mut there, room, "with NATS").await;

    if stall {
        proxy.stall();
    } else {
        proxy.cut();
        proxy.drop_connections();
    }
    let begun = Instant::now();
    let (mut near, mut far) = (Duration::ZERO, Duration::ZERO);
    while begun.elapsed() < AWAY {
        let took = say(&mut here, &mut there, room, "without NATS").await;
        near = near.max(took.0);
        far = far.max(took.1);
        // What the others say is found out here just the same.
        let took = say(&mut there[..1], &mut here, room, "from there").await;
        far = far.max(took.1);
        for socket in &mut there {
            socket.read_to(room, here[0].copy(room).seq).await;
        }
    }
    eprintln!("with NATS {quick:?}; without it on the same node {near:?}, on others {far:?} at most");
    assert!(near < Duration::from_secs(1), "{near:?} on the same node");
    assert!(far < NOTICED, "{far:?} on another node");

    proxy.heal();
    let begun = Instant::now();
    for socket in here.iter_mut().chain(&mut there) {
        socket.push("feed_reset").await;
    }
    assert!(begun.elapsed() < NOTICED, "{:?}", begun.elapsed());
    let (_, far) = say(&mut here, &mut there, room, "with NATS again").await;
    assert!(far < NOTICED, "{far:?}");
    loop {
        assert!(begun.elapsed() < 2 * NOTICED, "still by looking only");
        let (_, far) = say(&mut here, &mut there, room, "quickly").await;
        if far < Duration::from_millis(500) {
            break;
        }
    }
    for socket in here.iter().chain(&there) {
        socket.copy(room).assert_whole();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_node_goes_on_and_others_catch_up_while_nats_is_cut_off() {
    goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn same_node_goes_on_and_others_catch_up_while_nats_is_silent() {
    goes_on(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_alone_is_cut_off_is_heard_of_all_the_same() {
    let mut stage = Stage::new().await;
    let others = [stage.node().await, stage.node().await];
    let proxy = Proxy::to(stage.places.nats).await;
    stage.places.nats = proxy.address();
    let alone = [stage.node().await];
    let ada = alone[0].user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut here = joined(&alone, &ada, room).await;
    let mut there = joined(&others, &ada, room).await;
    says(&mut there, room, "before").await;
    say(&mut here, &mut there, room, "with NATS").await;
    proxy.cut();
    proxy.drop_connections();
    // To the others it is a node that fell silent: for a while they look by themselves.
    let begun = Instant::now();
    while begun.elapsed() < AWAY {
        let (_, far) = say(&mut here, &mut there, room, "unheard").await;
        assert!(far < NOTICED, "{far:?} from the node that is cut off");
        let (_, far) = say(&mut there, &mut here, room, "looked for").await;
        assert!(far < NOTICED, "{far:?} to the node that is cut off");
    }
}
