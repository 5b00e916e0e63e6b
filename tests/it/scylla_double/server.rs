//! The double as a test holds it: its ports, what it is told to do wrong, and what it has seen.

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use parking_lot::Mutex;
use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use super::{
    failure::Failure,
    session,
    shape::{IGNORED_BITS, Shape, ShardPort},
    store::Store,
    system::Node,
    text::Statement,
    wire::Value,
};

/// What kind of request of a client's own tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A conditional write.
    Conditional,
    /// Any other write.
    Plain,
    /// A read at a serial level.
    SerialRead,
    /// Any other read.
    Read,
}

/// What happens to a request instead of being answered.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// It is refused, and not done.
    Refuse(Failure),
    /// It is done, and yet this is said.
    DoBut(Failure),
    /// This is said, and it is done when the next serial read has been answered: a
    /// coordinator that still held the request when it gave up waiting.
    DoLateBut(Failure),
    /// It is done or not, and nothing is said.
    Mute { done: bool },
    /// It is done or not, and the connection is closed.
    HangUp { done: bool },
}

/// A request that was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) asked: Asked,
    pub(super) table: String,
    /// At which node and core it arrived.
    pub(super) node: usize,
    pub(super) shard: u16,
    pub(super) consistency: u16,
    /// The level of a conditional write's rounds, where the client named one.
    pub(super) serial: Option<u16>,
    pub(super) token: Option<i64>,
}

/// What is behind all nodes.
pub(super) struct Shared {
    pub(super) shape: Shape,
    pub(super) nodes: Vec<Node>,
    pub(super) shard_ports: Vec<Option<u16>>,
    pub(super) state: Mutex<State>,
    next_shard: AtomicU16,
}

pub(super) struct State {
    pub(super) store: Store,
    /// Statements by their ids, and which node knows which.
    pub(super) statements: HashMap<Vec<u8>, (String, Statement)>,
    pub(super) prepared: HashSet<(usize, Vec<u8>)>,
    pub(super) rules: Vec<(Asked, usize, Effect)>,
    pub(super) late: Vec<(Statement, Vec<Value>)>,
    pub(super) seen: Vec<Seen>,
    /// What made or would have made keyspaces and tables.
    pub(super) definitions: Vec<String>,
    /// What clients asked for when they connected.
    pub(super) startups: Vec<HashMap<String, String>>,
}

/// A CQL-speaking double of one to some nodes, until it is dropped.
pub(super) struct Double {
    shared: Arc<Shared>,
    port: u16,
    tasks: Vec<JoinHandle<()>>,
}

impl Double {
    /// Starts one on free ports of the loopback addresses.
    pub(super) async fn start(shape: Shape) -> Self {
        let (port, listeners) = listeners(shape.nodes).await;
        let count = i128::from(shape.nodes) * 4;
        let nodes: Vec<_> = (0..shape.nodes)
            .map(|index| {
                let step = (1_i128 << 64) / count;
                let mine = (0..4)
                    .map(|turn| i128::from(i64::MIN) + step * (turn * count / 4 + i128::from(index) + 1) - 1);
                Node {
                    id: Uuid::new_v4(),
                    octet: u8::try_from(index + 1).unwrap(),
                    tokens: mine.map(|token| i64::try_from(token).unwrap()).collect(),
                }
            })
            .collect();
        let (mut shard_ports, mut aware) = (Vec::new(), Vec::new());
        for node in &nodes {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, node.octet), 0))
                .await
                .unwrap();
            let port = listener.local_addr().unwrap().port();
            shard_ports.push((shape.shard_port != ShardPort::Absent).then_some(port));
            aware.extend((shape.shard_port == ShardPort::Open).then_some(listener));
        }
        let shared = Arc::new(Shared {
            shape,
            nodes,
            shard_ports,
            state: Mutex::new(State {
                store: Store::new(),
                statements: HashMap::new(),
                prepared: HashSet::new(),
                rules: Vec::new(),
                late: Vec::new(),
                seen: Vec::new(),
                definitions: Vec::new(),
                startups: Vec::new(),
            }),
            next_shard: AtomicU16::new(0),
        });
        let plain = listeners
            .into_iter()
            .enumerate()
            .map(|(node, one)| (node, one, false));
        let aware = aware.into_iter().enumerate().map(|(node, one)| (node, one, true));
        let tasks = plain
            .chain(aware)
            .map(|(node, listener, aware)| tokio::spawn(accept(Arc::clone(&shared), node, listener, aware)))
            .collect();
        Self { shared, port, tasks }
    }

    /// Where clients connect first.
    pub(super) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The next `times` requests of that kind meet `effect`; those of an earlier call go first.
    pub(super) fn arm(&self, asked: Asked, times: usize, effect: Effect) {
        self.shared.state.lock().rules.push((asked, times, effect));
    }

    /// From now on nothing goes wrong.
    pub(super) fn lift(&self) {
        self.shared.state.lock().rules.clear();
    }

    /// How many requests still have to meet what was armed.
    pub(super) fn armed(&self) -> usize {
        self.shared
            .state
            .lock()
            .rules
            .iter()
            .map(|(_, times, _)| times)
            .sum()
    }

    /// Forgets what was prepared, as nodes do that restart or need the room.
    pub(super) fn forget_prepared(&self) {
        self.shared.state.lock().prepared.clear();
    }

    /// What was asked of clients' own tables so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().seen.clone()
    }

    /// Statements that made keyspaces and tables, or were refused.
    pub(super) fn definitions(&self) -> Vec<String> {
        self.shared.state.lock().definitions.clone()
    }

    /// What clients asked for when they connected.
    pub(super) fn startups(&self) -> Vec<HashMap<String, String>> {
        self.shared.state.lock().startups.clone()
    }

    /// On which core a token of a keyspace without tablets lies.
    pub(super) fn shard_of(&self, token: i64) -> u16 {
        shard_of(&self.shared.shape, token)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// One port that is free on the addresses of all nodes.
async fn listeners(nodes: u16) -> (u16, Vec<TcpListener>) {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut all = vec![first];
        for node in 1..nodes {
            let address = Ipv4Addr::new(127, 0, 0, u8::try_from(node + 1).unwrap());
            all.extend(TcpListener::bind((address, port)).await);
        }
        if all.len() == usize::from(nodes) {
            return (port, all);
        }
    }
    panic!("no port is free on {nodes} addresses");
}

async fn accept(shared: Arc<Shared>, node: usize, listener: TcpListener, aware: bool) {
    let mut connections = JoinSet::new();
    while let Ok((stream, peer)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let core = shared.core_for(peer, aware);
        connections.spawn(session::serve(Arc::clone(&shared), node, core, stream));
    }
}

/// The token of a partition.
pub(super) fn token(key: &[Value]) -> i64 {
    let mut hasher = Murmur3Partitioner.build_hasher();
    for part in key {
        let part = part.as_deref().unwrap_or_default();
        if key.len() == 1 {
            hasher.write(part);
        } else {
            hasher.write(&u16::try_from(part.len()).unwrap().to_be_bytes());
            hasher.write(part);
            hasher.write(&[0]);
        }
    }
    hasher.finish().value()
}

fn shard_of(shape: &Shape, token: i64) -> u16 {
    let biased = (token.cast_unsigned() ^ (1 << 63)) << IGNORED_BITS;
    u16::try_from((u128::from(biased) * u128::from(shape.shards)) >> 64).unwrap()
}

impl Shared {
    /// The core of a new connection: the client's port says so, or it is simply the next.
    fn core_for(&self, peer: SocketAddr, aware: bool) -> u16 {
        let chosen = if aware {
            peer.port()
        } else {
            self.next_shard.fetch_add(1, Ordering::Relaxed)
        };
        chosen % self.shape.shards
    }
}
