//! A client as the protocol wants it: it comes back when it is told to, on whichever node there is, resumes
//! where it was, and repeats what was not answered under the same key.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::harness::{Copy, PATIENCE, Socket, User, socket::Ended};

/// Messages on their way at a time.
const IN_FLIGHT: usize = 4;

/// What a load balancer knows: nodes that take traffic, none of them special.
#[derive(Default)]
pub(super) struct Balancer {
    nodes: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    /// No talker says anything new any more.
    pub(super) over: AtomicBool,
    /// Publishes acknowledged by now.
    pub(super) acknowledged: AtomicUsize,
}

impl Balancer {
    pub(super) fn of(nodes: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::new(nodes.to_vec()),
            ..Self::default()
        })
    }

    /// Traffic goes there too from now on.
    pub(super) fn add(&self, node: SocketAddr) {
        self.nodes.lock().unwrap().push(node);
    }

    /// No new connections go there from now on.
    pub(super) fn remove(&self, node: SocketAddr) {
        self.nodes.lock().unwrap().retain(|there| *there != node);
    }

    fn next(&self) -> SocketAddr {
        let nodes = self.nodes.lock().unwrap();
        nodes[self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len()]
    }
}

/// Something that was not answered yet.
struct Said {
    key: Uuid,
    after: u64,
    text: String,
}

/// See the module.
pub(super) struct Talker {
    pub(super) user: User,
    room: i64,
    pub(super) copies: BTreeMap<i64, Copy>,
    waiting: Vec<Said>,
    /// Seq and text by key.
    pub(super) acknowledged: BTreeMap<Uuid, (u64, String)>,
    /// Answers that no publish may get.
    pub(super) failures: Vec<Value>,
    /// How its sockets ended.
    pub(super) ends: Vec<Ended>,
    count: usize,
}

impl Talker {
    pub(super) fn new(user: User, room: i64) -> Self {
        Self {
            user,
            room,
            copies: BTreeMap::new(),
            waiting: Vec::new(),
            acknowledged: BTreeMap::new(),
            failures: Vec::new(),
            ends: Vec::new(),
            count: 0,
        }
    }

    /// Talks until it is over and everything it said is answered.
    pub(super) async fn talk(mut self, balancer: Arc<Balancer>) -> Self {
        loop {
            let opened = timeout(PATIENCE, Socket::open(balancer.next(), Some(&self.user.token))).await;
            let Ok(mut socket) = opened.expect("a node takes no connection") else {
                // It has just gone.
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            socket.copies = std::mem::take(&mut self.copies);
            let outcome = self.session(&mut socket, &balancer).await;
            self.copies = std::mem::take(&mut socket.copies);
            match outcome {
                Ok(()) => return self,
                Err((ended, pause)) => {
                    self.ends.push(ended);
                    sleep(pause).await;
                }
            }
        }
    }

    /// Fails with how the socket ended, and how long the client was told to stay away.
    async fn session(&mut self, socket: &mut Socket, balancer: &Balancer) -> Result<(), (Ended, Duration)> {
        let mut away = Duration::ZERO;
        let mut on_their_way: BTreeMap<u64, Said> = BTreeMap::new();
        let ended = self
            .exchange(socket, balancer, &mut on_their_way, &mut away)
            .await;
        self.waiting.extend(on_their_way.into_values());
        ended.map_err(|ended| (ended, away))
    }

    async fn exchange(
        &mut self,
        socket: &mut Socket,
        balancer: &Balancer,
        on_their_way: &mut BTreeMap<u64, Said>,
        away: &mut Duration,
    ) -> Result<(), Ended> {
        let mut wanted = json!({ "room": self.room });
        if let Some(copy) = socket.copies.get(&self.room) {
            wanted["since"] = copy.since();
        }
        let join = socket.try_post("join", json!({ "rooms": [wanted] })).await;
        let mut joined = false;
        loop {
            let quiet = away.is_zero() && joined;
            while quiet && on_their_way.len() < IN_FLIGHT {
                let said = match self.waiting.pop() {
                    Some(said) => said,
                    None if balancer.over.load(Ordering::SeqCst) => break,
                    None => self.something_new(socket),
                };
                let publish = json!({
                    "room": self.room, "key": said.key, "after": said.after, "body": { "text": said.text },
                });
                let id = socket.try_post("publish", publish).await;
                on_their_way.insert(id.unwrap_or(0), said);
                if id.is_none() {
                    return Err(Ended::Cut);
                }
            }
            if quiet && on_their_way.is_empty() {
                return Ok(());
            }
            let frame = socket.frame().await?;
            if frame["push"] == "shutdown" {
                *away = Duration::from_millis(frame["retry_after_ms"].as_u64().unwrap());
            } else if frame["push"] == "joined" && frame["reset"] == true {
                self.failures.push(frame);
            } else if frame["id"].as_u64() == join && frame.get("push").is_none() {
                joined = true;
                let error = &frame["join"]["rooms"][0]["error"];
                if error["temporary"] == true {
                    return Err(Ended::Cut);
                } else if !error.is_null() {
                    self.failures.push(frame);
                    return Err(Ended::Cut);
                }
            } else if let Some(said) = frame["id"].as_u64().and_then(|id| on_their_way.remove(&id)) {
                if let Some(seq) = frame["publish"]["seq"].as_u64() {
                    balancer.acknowledged.fetch_add(1, Ordering::Relaxed);
                    self.acknowledged.insert(said.key, (seq, said.text));
                } else {
                    self.waiting.push(said);
                    if frame["error"]["temporary"] != true {
                        self.failures.push(frame);
                    }
                }
            }
        }
    }

    fn something_new(&mut self, socket: &Socket) -> Said {
        self.count += 1;
        Said {
            key: Uuid::new_v4(),
            after: socket.copy(self.room).seq,
            text: format!("{} {}", self.user.name, self.count),
        }
    }
}

/// Fails unless `record` holds what all of `talkers` were acknowledged, once, where they were told, nothing
/// else that they said, and everything that they were shown.
pub(super) fn assert_kept(record: &Copy, talkers: &[Talker], room: i64) {
    record.assert_whole();
    let mut places: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seq, entry) in &record.entries {
        if entry["kind"] == "message" {
            places
                .entry(entry["key"].as_str().unwrap())
                .or_default()
                .push(*seq);
        }
    }
    for talker in talkers {
        assert!(talker.failures.is_empty(), "{:?}", talker.failures);
        for (key, (seq, text)) in &talker.acknowledged {
            assert_eq!(places.get(&*key.to_string()), Some(&vec![*seq]), "{key}, {text}");
            assert_eq!(record.entries[seq]["body"]["text"], **text);
        }
        for (seq, entry) in &talker.copies[&room].entries {
            assert_eq!(
                record.entries.get(seq),
                Some(entry),
                "shown to {}",
                talker.user.name
            );
        }
    }
    let acknowledged: usize = talkers.iter().map(|talker| talker.acknowledged.len()).sum();
    assert_eq!(
        places.len(),
        acknowledged,
        "something stands that nobody was answered for"
    );
}
