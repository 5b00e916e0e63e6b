//! A client that keeps all it was shown, and goes to another node when the one it talks to does not answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{Rng as _, rngs::StdRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite;

use super::Shared;
use crate::harness::{Copy, Socket, User, socket::Ended};

/// How long a node may take to take a connection or a frame.
const ANSWER: Duration = Duration::from_secs(6);

/// How long a request may take: longer than a node is frozen. Else it would be made after all, behind what
/// its sender did next on another node.
const REQUEST: Duration = Duration::from_secs(15);

/// How long a socket may be silent before its client looks for another node.
const SILENCE: Duration = Duration::from_secs(8);

/// Why a client cannot go on as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The socket ended, or is silent.
    Gone,
    /// The node cannot do it now.
    Later,
    /// It may not, with this code.
    Refused(String),
}

/// Until when a client goes on.
#[derive(Clone, Copy)]
pub(super) enum Until {
    /// The world is told to come to rest.
    Over,
    /// This moment; not to be done by then is a violation.
    Deadline(Instant),
}

/// A client that listens.
pub(super) struct Client {
    pub(super) user: User,
    pub(super) rooms: Vec<i64>,
    /// Lives in the socket while there is one.
    pub(super) copies: BTreeMap<i64, Copy>,
    /// By room: up to here everything was compared and forgotten.
    pub(super) compared: BTreeMap<i64, u64>,
    /// What went wrong, in words.
    pub(super) complaints: Vec<String>,
    pub(super) rng: StdRng,
    pub(super) shared: Arc<Shared>,
    /// Which node its socket is on.
    pub(super) node: usize,
    /// Sockets opened.
    pub(super) attached: u64,
    /// Entries shown.
    pub(super) shown: u64,
    /// Whether it comes and goes, so that it may see only parts of its rooms.
    pub(super) in_parts: bool,
    /// Rooms in which the server said that it left something out.
    behind: BTreeSet<i64>,
}

impl Client {
    pub(super) fn new(user: User, rooms: Vec<i64>, in_parts: bool, rng: StdRng, shared: Arc<Shared>) -> Self {
        Self {
            user,
            rooms,
            copies: BTreeMap::new(),
            compared: BTreeMap::new(),
            complaints: Vec::new(),
            rng,
            shared,
            node: 0,
            attached: 0,
            shown: 0,
            in_parts,
            behind: BTreeSet::new(),
        }
    }

    /// Listens until it is over, now on this node, now on another.
    pub(super) async fn listen(mut self) -> Self {
        while let Ok(mut socket) = self.attach(Until::Over).await {
            let stays = Instant::now() + Duration::from_millis(self.rng.random_range(500..15_000));
            while Instant::now() < stays
                && !self.shared.is_over()
                && self.next(&mut socket, SILENCE).await.is_ok()
            {}
            self.detach(socket);
        }
        self
    }

    /// Hears what it missed.
    pub(super) async fn catch_up(mut self, deadline: Instant) -> Self {
        if let Ok(socket) = self.attach(Until::Deadline(deadline)).await {
            self.detach(socket);
        }
        self
    }

    /// Whether it is time to go; a deadline that passed is complained about.
    pub(super) fn stopped(&mut self, until: Until) -> bool {
        match until {
            Until::Over => self.shared.is_over(),
            Until::Deadline(deadline) => {
                let late = Instant::now() > deadline;
                if late {
                    self.complain("was not served although every node was back");
                }
                late
            }
        }
    }

    /// Connects to some node, and joins every room where its copy ends.
    ///
    /// Fails with `Gone` when it is time to go, with `Refused` when the rooms do not let it in.
    pub(super) async fn attach(&mut self, until: Until) -> Result<Socket, Trouble> {
        loop {
            if self.stopped(until) {
                return Err(Trouble::Gone);
            }
            let Some(mut socket) = self.open().await else {
                sleep(Duration::from_millis(self.rng.random_range(5..100))).await;
                continue;
            };
            socket.copies = std::mem::take(&mut self.copies);
            let joined = self.join(&mut socket).await;
            self.shared.journal.note(
                &self.user.name,
                format!("joined on node {}: {joined:?}", self.node),
            );
            match joined {
                Ok(()) => {
                    self.attached += 1;
                    return Ok(socket);
                }
                Err(trouble) => {
                    self.detach(socket);
                    if let Trouble::Refused(_) = trouble {
                        return Err(trouble);
                    }
                }
            }
        }
    }

    async fn open(&mut self) -> Option<Socket> {
        let (node, address) = self.shared.some_node(&mut self.rng)?;
        (self.node, self.user.address) = (node, address);
        match timeout(ANSWER, Socket::open(address, Some(&self.user.token))).await {
            Ok(Ok(socket)) => Some(socket),
            Ok(Err(tungstenite::Error::Http(answer))) if !is_no_answer(answer.status()) => {
                self.complain(&format!("the upgrade was answered {}", answer.status()));
                None
            }
            _ => None,
        }
    }

    pub(super) fn detach(&mut self, socket: Socket) {
        self.copies = socket.copies;
    }

    async fn join(&mut self, socket: &mut Socket) -> Result<(), Trouble> {
        let wanted: Vec<Value> = self
            .rooms
            .iter()
            .map(|room| match socket.copies.get(room) {
                Some(copy) => json!({ "room": room, "since": copy.since() }),
                None => json!({ "room": room }),
            })
            .collect();
        let reply = self.ask(socket, "join", json!({ "rooms": wanted })).await?;
        for room in reply["join"]["rooms"].as_array().into_iter().flatten() {
            if let Some(error) = room.get("error") {
                return Err(trouble(error));
            }
        }
        if !self.in_parts {
            for room in self.rooms.clone() {
                self.fill(socket, room).await?;
            }
        }
        Ok(())
    }

    /// Pages what a join left out.
    async fn fill(&mut self, socket: &mut Socket, room: i64) -> Result<(), Trouble> {
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
                return Err(Trouble::Later);
            }
            self.count_shown(entries);
            socket.copies.entry(room).or_default().add(entries);
        }
        Ok(())
    }

    fn first_missing(&self, socket: &Socket, room: i64) -> Option<u64> {
        let copy = socket.copies.get(&room)?;
        let from = self.compared.get(&room).copied().unwrap_or(0) + 1;
        (from..=copy.seq).find(|seq| !copy.entries.contains_key(seq))
    }

    async fn ask(&mut self, socket: &mut Socket, name: &str, arguments: Value) -> Result<Value, Trouble> {
        let Some(id) = self.post(socket, name, arguments).await else {
            return Err(Trouble::Gone);
        };
        loop {
            let frame = self.next(socket, SILENCE).await?;
            if frame["id"] == id && frame.get("push").is_none() {
                return match frame.get("error") {
                    Some(error) => Err(trouble(error)),
                    None => Ok(frame),
                };
            }
        }
    }

    /// Sends a command if the socket takes it; its id.
    pub(super) async fn post(&mut self, socket: &mut Socket, name: &str, arguments: Value) -> Option<u64> {
        timeout(ANSWER, socket.try_post(name, arguments)).await.ok()?
    }

    /// The next frame, taken note of.
    pub(super) async fn next(&mut self, socket: &mut Socket, patience: Duration) -> Result<Value, Trouble> {
        match timeout(patience, socket.frame_whenever()).await {
            Ok(Ok(frame)) => {
                self.note(socket, &frame);
                Ok(frame)
            }
            Ok(Err(ended)) => {
                // Cut by a kill, told to come back, or silent for too long while its node was frozen.
                if !matches!(ended, Ended::Cut | Ended::Closed(4001 | 4003)) {
                    self.complain(&format!("node {} ended its socket: {ended:?}", self.node));
                }
                Err(Trouble::Gone)
            }
            Err(_) => Err(Trouble::Gone),
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
                        "node {}, room {room} says that what was shown is not so; its head is {}",
                        self.node, frame["head"]
                    ));
                } else if frame["complete"] != true {
                    self.behind.insert(room);
                } else if !self.in_parts
                    && !self.behind.contains(&room)
                    && let Some(missing) = self.first_missing(socket, room)
                {
                    self.complain(&format!(
                        "node {}, room {room} left out {missing} and said it was complete",
                        self.node
                    ));
                }
            }
            Some("removed") if !self.in_parts => {
                self.complain(&format!("nobody had removed this participant: {frame}"));
            }
            _ => {}
        }
    }

    fn count_shown(&mut self, entries: &Value) {
        self.shown += entries.as_array().map_or(0, Vec::len) as u64;
    }

    /// One call over HTTP to some node; nothing when it was not answered.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Option<(StatusCode, Value)> {
        let Some((node, address)) = self.shared.some_node(&mut self.rng) else {
            sleep(Duration::from_millis(20)).await;
            return None;
        };
        let user = self.user.at(address);
        let what = format!("{method} {path} on node {node}");
        self.shared.journal.note(&self.user.name, format!("asks {what}"));
        let answer = timeout(REQUEST, user.try_call_with(method, path, headers, body)).await;
        let answer = answer.ok().and_then(Result::ok);
        let answer = answer.filter(|(status, _)| *status != StatusCode::REQUEST_TIMEOUT);
        let told = match &answer {
            Some((status, _)) => status.to_string(),
            None => "nothing".to_owned(),
        };
        self.shared
            .journal
            .note(&self.user.name, format!("{what} was answered {told}"));
        if answer.is_none() {
            sleep(Duration::from_millis(self.rng.random_range(5..200))).await;
        }
        answer
    }

    pub(super) fn complain(&mut self, what: &str) {
        self.shared
            .journal
            .note(&self.user.name, format!("complains: {what}"));
        self.complaints.push(format!("{}: {what}", self.user.name));
    }
}

/// Whether this status says that a node cannot answer now. To one that was frozen a request seems to have
/// come too slowly.
fn is_no_answer(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT
    )
}

fn trouble(error: &Value) -> Trouble {
    if error["temporary"] == true {
        Trouble::Later
    } else {
        Trouble::Refused(error["code"].as_str().unwrap_or_default().to_owned())
    }
}
