//! Nothing is wrong when tellings are lost, doubled and reordered; it only takes a little longer.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use timingle::{
    app::{Overrides, WrapBroker},
    ports::{Broker, Heard, Topic},
};

use super::joined;
use crate::harness::{cluster::Stage, socket::Socket};

/// A broker that hears worse than the one behind it.
struct Weather {
    inner: Arc<dyn Broker>,
    state: Mutex<State>,
    /// Tellings, of a hundred, that are lost, doubled, and held back behind others.
    lost: u32,
    doubled: u32,
    late: u32,
    /// Whether nothing is heard of rooms.
    deaf: bool,
}

struct State {
    random: StdRng,
    held: VecDeque<Heard>,
    next: VecDeque<Heard>,
}

impl Weather {
    fn around(seed: u64, lost: u32, doubled: u32, late: u32) -> WrapBroker {
        Self::wrap(seed, [lost, doubled, late], false)
    }

    fn wrap(seed: u64, [lost, doubled, late]: [u32; 3], deaf: bool) -> WrapBroker {
        Box::new(move |inner| {
            Arc::new(Self {
                inner,
                state: Mutex::new(State {
                    random: StdRng::seed_from_u64(seed),
                    held: VecDeque::new(),
                    next: VecDeque::new(),
                }),
                lost,
                doubled,
                late,
                deaf,
            })
        })
    }

    fn spoil(&self, heard: Heard) {
        let state = &mut *self.state.lock();
        match heard {
            Heard::Told {
                topic: Topic::Room(_),
                ..
            } if self.deaf => return,
            Heard::Told { .. } => {}
            heard => return state.next.push_back(heard),
        }
        let fate = state.random.random_range(0..100);
        if fate < self.lost {
            return;
        }
        if fate < self.lost + self.doubled {
            state.next.push_back(heard.clone());
        }
        if fate >= 100 - self.late {
            return state.held.push_back(heard);
        }
        state.next.push_back(heard);
        // What was held back comes behind what was told after it.
        if state.held.len() > state.random.random_range(0..3) {
            let held: Vec<Heard> = state.held.drain(..).rev().collect();
            state.next.extend(held);
        }
    }
}

#[async_trait]
impl Broker for Weather {
    fn tell(&self, topic: Topic, bytes: Bytes) -> bool {
        self.inner.tell(topic, bytes)
    }

    fn listen(&self, topic: Topic) {
        self.inner.listen(topic);
    }

    fn unlisten(&self, topic: Topic) {
        self.inner.unlisten(topic);
    }

    async fn hear(&self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.state.lock().next.pop_front() {
                return Some(heard);
            }
            let heard = self.inner.hear().await?;
            self.spoil(heard);
        }
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Says `count` things, each once the last one is acknowledged, and reads on until `all` are there.
async fn talk(mut socket: Socket, room: i64, name: usize, count: usize) -> Socket {
    for no in 0..count {
        let reply = socket.publish(room, &format!("{no} of {name}")).await;
        assert!(reply.get("error").is_none(), "{reply}");
    }
    socket
}

/// Three nodes in this weather, two sockets on each, all of which talk; what they see must be the same.
async fn all_see_one_order(lost: u32, doubled: u32, late: u32, count: usize) {
    let stage = Stage::new().await;
    let nodes = (0..3).map(|seed| {
        let overrides = Overrides {
            wrap_broker: Weather::around(seed, lost, doubled, late),
            ..Overrides::default()
        };
        stage.node_with(
            |config| {
                config.limits.publishes_per_s = 10_000;
                config.limits.publish_burst = 10_000;
            },
            overrides,
        )
    });
    let nodes = join_all(nodes).await;
    let host = nodes[0].user("Ada").await;
    let room = host.create_event("Weather").await;
    let mut sockets = joined(&nodes, &host, room).await;
    sockets.extend(joined(&nodes, &host, room).await);
    let first = sockets[0].copy(room).seq;
    let writers = sockets.len();
    let begun = Instant::now();
    let talks = sockets.into_iter().enumerate();
    let mut sockets = join_all(talks.map(|(name, socket)| talk(socket, room, name, count))).await;
    let talked = begun.elapsed();
    let end = first + (writers * count) as u64;
    let begun = Instant::now();
    for socket in &mut sockets {
        socket.read_to(room, end).await;
    }
    let behind = begun.elapsed();
    eprintln!(
        "{writers} writers on 3 nodes, {} messages, {lost} % lost, {doubled} % doubled, {late} % late: \
         {talked:?}, the last one everywhere {behind:?} later",
        writers * count
    );
    assert!(behind < Duration::from_secs(5), "{behind:?}");
    for socket in &sockets {
        socket.copy(room).assert_whole();
        socket
            .copy(room)
            .assert_holds(&sockets[0].copy(room).entries, "another session");
        assert_eq!(socket.copy(room).hash, sockets[0].copy(room).hash);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hint_in_a_hundred_lost_changes_nothing() {
    all_see_one_order(1, 3, 5, 60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn even_when_most_is_lost_all_see_one_order() {
    all_see_one_order(70, 5, 20, 15).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "a figure for whoever reads the run")]
async fn what_is_never_heard_is_found_because_it_was_counted() {
    let stage = Stage::new().await;
    let nodes = (0..2).map(|_| {
        let overrides = Overrides {
            wrap_broker: Weather::wrap(0, [0; 3], true),
            ..Overrides::default()
        };
        stage.node_with(|_| {}, overrides)
    });
    let nodes = join_all(nodes).await;
    let host = nodes[0].user("Ada").await;
    let room = host.create_event("Unheard").await;
    let mut sockets = joined(&nodes, &host, room).await;
    let mut longest = Duration::ZERO;
    for text in ["one", "two", "three"] {
        let seq = sockets[0].publish(room, text).await["publish"]["seq"]
            .as_u64()
            .unwrap();
        let begun = Instant::now();
        sockets[1].read_to(room, seq).await;
        longest = longest.max(begun.elapsed());
    }
    println!("what was never heard was found {longest:?} later at most");
    // A beat, and the time that something may be on its way.
    assert!(longest < Duration::from_millis(2_500), "{longest:?}");
}
