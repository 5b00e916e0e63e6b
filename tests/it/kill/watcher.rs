//! Who listens: a client that keeps all it was shown, and resumes after every kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite;

use crate::harness::{Copy, Socket, User, socket::Ended};

/// What the clients of one server's life share.
#[derive(Default)]
pub(super) struct Life {
    /// Set right before the kill: from then on a cut is no surprise.
    pub(super) killed: AtomicBool,
    /// Something was acknowledged.
    pub(super) acknowledged: Notify,
    /// Entries shown, each time to somebody.
    pub(super) shown: AtomicU64,
}

/// A client that listens. It keeps what it is shown until that is compared with the log.
pub(super) struct Watcher {
    pub(super) user: User,
    pub(super) rooms: Vec<i64>,
    /// Lives in the socket while there is one.
    pub(super) copies: BTreeMap<i64, Copy>,
    /// By room: up to here everything was shown, compared and forgotten.
    pub(super) compared: BTreeMap<i64, u64>,
    /// Rooms in which the server said that it left something out.
    behind: BTreeSet<i64>,
    /// What went wrong, in words.
    pub(super) complaints: Vec<String>,
    life: Arc<Life>,
}

impl Watcher {
    pub(super) fn new(user: User, rooms: Vec<i64>) -> Self {
        Self {
            user,
            rooms,
            copies: BTreeMap::new(),
            compared: BTreeMap::new(),
            behind: BTreeSet::new(),
            complaints: Vec::new(),
            life: Arc::default(),
        }
    }

    /// A new server runs there.
    pub(super) fn meet(&mut self, address: std::net::SocketAddr, life: &Arc<Life>) {
        self.user.address = address;
        self.life = Arc::clone(life);
    }

    /// Listens until the server is gone; with `once` only until everything missed has come.
    pub(super) async fn listen(mut self, once: bool) -> Self {
        if let Some(mut socket) = self.attach().await {
            while !once && self.next(&mut socket).await.is_some() {}
            self.detach(socket);
        }
        self
    }

    /// Connects, and joins every room where its copy ends. `None` once the server is gone.
    pub(super) async fn attach(&mut self) -> Option<Socket> {
        let mut socket = match Socket::open(self.user.address, Some(&self.user.token)).await {
            Ok(socket) => socket,
            Err(tungstenite::Error::Http(answer)) => {
                self.complain(&format!("the upgrade was answered {}", answer.status()));
                return None;
            }
            Err(_) => {
                self.cut(&Ended::Cut);
                return None;
            }
        };
        socket.copies = std::mem::take(&mut self.copies);
        let joined = self.join(&mut socket).await;
        if joined.is_none() {
            self.detach(socket);
            return None;
        }
        Some(socket)
    }

    pub(super) fn detach(&mut self, socket: Socket) {
        self.copies = socket.copies;
    }

    async fn join(&mut self, socket: &mut Socket) -> Option<()> {
        let wanted: Vec<Value> = self
            .rooms
            .iter()
            .map(|room| match socket.copies.get(room) {
                Some(copy) => json!({ "room": room, "since": copy.since() }),
                None => json!({ "room": room }),
            })
            .collect();
        let reply = self.ask(socket, "join", json!({ "rooms": wanted })).await?;
        for room in reply["join"]["rooms"].as_array()? {
            if room.get("error").is_some() {
                self.complain(&format!("cannot join: {room}"));
                return None;
            }
        }
        for room in self.rooms.clone() {
            self.fill(socket, room).await?;
        }
        Some(())
    }

    /// Pages what a join left out.
    async fn fill(&mut self, socket: &mut Socket, room: i64) -> Option<()> {
        while self.behind.contains(&room) {
            let Some(missing) = self.first_missing(socket, room) else {
                self.behind.remove(&room);
                break;
            };
            let page = json!({ "room": room, "after": missing - 1, "limit": 100 });
            let reply = self.ask(socket, "history", page).await?;
            let entries = &reply["history"]["entries"];
            if entries[0]["seq"].as_u64() != Some(missing) {
                self.complain(&format!(
                    "the page after {} of room {room} begins elsewhere: {reply}",
                    missing - 1
                ));
                return None;
            }
            self.count_shown(entries);
            socket.copies.get_mut(&room)?.add(entries);
        }
        Some(())
    }

    fn first_missing(&self, socket: &Socket, room: i64) -> Option<u64> {
        let copy = socket.copies.get(&room)?;
        let from = self.compared.get(&room).copied().unwrap_or(0) + 1;
        (from..=copy.seq).find(|seq| !copy.entries.contains_key(seq))
    }

    async fn ask(&mut self, socket: &mut Socket, name: &str, arguments: Value) -> Option<Value> {
        let Some(id) = socket.try_post(name, arguments).await else {
            self.cut(&Ended::Cut);
            return None;
        };
        loop {
            let frame = self.next(socket).await?;
            if frame["id"] == id && frame.get("push").is_none() {
                if frame.get("error").is_some() {
                    self.complain(&format!("{name} was answered {frame}"));
                    return None;
                }
                return Some(frame);
            }
        }
    }

    /// The next frame, taken note of; `None` once the server is gone.
    pub(super) async fn next(&mut self, socket: &mut Socket) -> Option<Value> {
        match socket.frame_whenever().await {
            Ok(frame) => {
                self.note(socket, &frame);
                Some(frame)
            }
            Err(ended) => {
                self.cut(&ended);
                None
            }
        }
    }

    /// That pushes come without gap and overlap the socket has checked by itself.
    fn note(&mut self, socket: &Socket, frame: &Value) {
        let Some(room) = frame["room"].as_i64() else {
            return;
        };
        match frame["push"].as_str() {
            Some("entries") => self.count_shown(&frame["entries"]),
            Some("joined") => {
                self.count_shown(&frame["entries"]);
                if frame["reset"] == true {
                    self.complain(&format!(
                        "room {room} says that what it had shown is not so: {frame}"
                    ));
                } else if frame["complete"] != true {
                    self.behind.insert(room);
                } else if !self.behind.contains(&room)
                    && let Some(missing) = self.first_missing(socket, room)
                {
                    self.complain(&format!(
                        "room {room} left out {missing} and said it was complete"
                    ));
                }
            }
            Some("removed") => self.complain(&format!("nobody had removed this participant: {frame}")),
            _ => {}
        }
    }

    fn count_shown(&self, entries: &Value) {
        let count = entries.as_array().map_or(0, Vec::len) as u64;
        self.life.shown.fetch_add(count, Ordering::Relaxed);
    }

    /// The socket ended, which only a kill may bring about.
    pub(super) fn cut(&mut self, ended: &Ended) {
        if *ended != Ended::Cut || !self.life.killed.load(Ordering::SeqCst) {
            self.complain(&format!("the server ended a socket by itself: {ended:?}"));
        }
    }

    pub(super) fn complain(&mut self, what: &str) {
        self.complaints.push(format!("{}: {what}", self.user.name));
    }

    pub(super) fn acknowledged(&self) {
        self.life.acknowledged.notify_one();
    }
}
