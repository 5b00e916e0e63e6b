//! A WebSocket of version 2, and the copy of a room that its frames make.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::CloseFrame},
};

use super::{
    PATIENCE,
    frames::{self, From, Wire},
    soon,
};

/// Why no frame came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this close code.
    Closed(u16),
    /// Without a close frame.
    Cut,
}

/// A socket of version 2.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    /// Which messages of the socket's description it has sent and read.
    pub(crate) seen: BTreeSet<&'static str>,
    /// Commands that are not answered yet.
    asked: BTreeMap<u64, Value>,
    /// Pushes read while a reply was waited for.
    pushes: VecDeque<Value>,
    /// What this socket knows of each room it joined.
    pub(crate) copies: BTreeMap<i64, Copy>,
}

/// A client's copy of a room.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Copy {
    /// By seq.
    pub(crate) entries: BTreeMap<u64, Value>,
    /// The head that was told last.
    pub(crate) seq: u64,
    pub(crate) hash: String,
    pub(crate) removed: bool,
}

impl Copy {
    /// Takes in entries of an answer.
    pub(crate) fn add(&mut self, entries: &Value) {
        for entry in entries.as_array().unwrap() {
            self.entries.insert(entry["seq"].as_u64().unwrap(), entry.clone());
        }
    }

    fn head(&mut self, head: &Value) {
        self.seq = head["seq"].as_u64().unwrap();
        head["hash"].as_str().unwrap().clone_into(&mut self.hash);
    }

    /// The position to resume from.
    pub(crate) fn since(&self) -> Value {
        json!({ "seq": self.seq, "hash": self.hash })
    }

    /// The texts of all messages, in order.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.entries
            .values()
            .filter_map(|entry| Some(entry["body"]["text"].as_str()?.to_owned()))
            .collect()
    }

    /// The types of all facts, in order.
    pub(crate) fn facts(&self) -> Vec<String> {
        self.entries
            .values()
            .filter_map(|entry| Some(entry["fact"]["type"].as_str()?.to_owned()))
            .collect()
    }

    /// Fails, with the first difference, unless this copy holds exactly `entries`.
    pub(crate) fn assert_holds(&self, entries: &BTreeMap<u64, Value>, whose: &str) {
        let seqs: BTreeSet<u64> = self.entries.keys().chain(entries.keys()).copied().collect();
        for seq in seqs {
            assert_eq!(self.entries.get(&seq), entries.get(&seq), "{whose}: seq {seq}");
        }
    }

    /// Fails unless the entries are 1..=head without a gap.
    pub(crate) fn assert_whole(&self) {
        assert!(
            self.entries.keys().copied().eq(1..=self.seq),
            "{:?} up to {}",
            self.entries.keys(),
            self.seq
        );
    }
}

impl Socket {
    /// Opens a socket, perhaps with a credential in the header.
    pub(crate) async fn open(
        address: SocketAddr,
        token: Option<&str>,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://{address}/api/v1/ws").into_client_request().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "timingle.v2".parse().unwrap());
        request
            .headers_mut()
            .insert("accept-language", "en".parse().unwrap());
        if let Some(token) = token {
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (stream, _) = soon("the upgrade", Box::pin(tokio_tungstenite::connect_async(request))).await?;
        Ok(Self {
            stream,
            next_id: 1,
            seen: BTreeSet::new(),
            asked: BTreeMap::new(),
            pushes: VecDeque::new(),
            copies: BTreeMap::new(),
        })
    }

    /// Closes it as a client does that goes.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }

    /// Sends a frame as it is.
    pub(crate) async fn send(&mut self, message: Message) {
        self.stream.send(message).await.unwrap();
    }

    /// Sends a frame if the socket takes it.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.stream.send(message).await.is_ok()
    }

    /// Sends a text frame as it is.
    pub(crate) async fn text(&mut self, text: &str) {
        self.send(Message::text(text)).await;
    }

    /// The next JSON frame.
    pub(crate) async fn frame(&mut self) -> Result<Value, Ended> {
        soon("a frame", self.frame_whenever()).await
    }

    /// The next JSON frame, however late.
    pub(crate) async fn frame_whenever(&mut self) -> Result<Value, Ended> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.seen.insert(frames::check(Wire::V2, From::Server, &frame));
                    self.accepted(&frame);
                    self.note(&frame);
                    return Ok(frame);
                }
                Some(Ok(Message::Close(Some(CloseFrame { code, .. })))) => {
                    return Err(Ended::Closed(code.into()));
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Err(Ended::Cut),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Reads on until the socket ends.
    pub(crate) async fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.frame().await {
                return ended;
            }
        }
    }

    /// Keeps what was asked until it is answered.
    fn ask_for(&mut self, id: u64, command: Value) {
        // The one command that is not answered.
        if command.get("typing").is_some() {
            self.seen
                .extend(frames::matching(Wire::V2, From::Client, &command));
        } else {
            self.asked.insert(id, command);
        }
    }

    /// Fails when the server has done what the description does not know.
    fn accepted(&mut self, reply: &Value) {
        if reply.get("push").is_some() {
            return;
        }
        let asked = reply["id"].as_u64().and_then(|id| self.asked.remove(&id));
        if let Some(asked) = asked.filter(|_| reply.get("error").is_none()) {
            self.seen.insert(frames::check(Wire::V2, From::Client, &asked));
        }
    }

    /// Keeps the copies, and fails on any push out of order.
    fn note(&mut self, frame: &Value) {
        let Some(room) = frame["room"].as_i64() else {
            return;
        };
        if frame["push"] == "read" && !self.copies.contains_key(&room) {
            // One's own mark is told whether one has joined or not.
            return;
        }
        let copy = self.copies.entry(room).or_default();
        assert!(
            !copy.removed || frame["push"] == "joined",
            "told of a room after `removed`: {frame}"
        );
        match frame["push"].as_str() {
            Some("joined") => {
                copy.removed = false;
                if frame["reset"] == true {
                    copy.entries.clear();
                }
                copy.add(&frame["entries"]);
                copy.head(&frame["head"]);
            }
            Some("entries") => {
                let first = frame["entries"][0]["seq"].as_u64().unwrap();
                assert_eq!(first, copy.seq + 1, "a gap or an overlap in room {room}");
                let count = frame["entries"].as_array().unwrap().len() as u64;
                copy.add(&frame["entries"]);
                copy.head(&frame["head"]);
                assert_eq!(copy.seq, first + count - 1, "the head is not the last entry");
            }
            Some("head") => assert_eq!(frame["head"]["seq"].as_u64(), Some(copy.seq), "a lost push"),
            Some("removed") => copy.removed = true,
            _ => {}
        }
    }

    /// Sends a command and reads up to its reply.
    pub(crate) async fn ask(&mut self, name: &str, arguments: Value) -> Value {
        let id = self.post(name, arguments).await;
        self.reply(id).await
    }

    /// Sends a command without waiting; its id.
    pub(crate) async fn post(&mut self, name: &str, arguments: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let frame = json!({ "id": id, name: arguments });
        self.text(&frame.to_string()).await;
        self.ask_for(id, frame);
        id
    }

    /// As [`Socket::post`], if the socket takes it.
    pub(crate) async fn try_post(&mut self, name: &str, arguments: Value) -> Option<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = json!({ "id": id, name: arguments });
        let sent = self.try_send(Message::text(frame.to_string())).await;
        self.ask_for(id, frame);
        sent.then_some(id)
    }

    /// Reads up to the reply with this id.
    pub(crate) async fn reply(&mut self, id: u64) -> Value {
        self.first_reply(&[id]).await
    }

    /// Reads up to the first reply with one of these ids; fails on any other.
    pub(crate) async fn first_reply(&mut self, ids: &[u64]) -> Value {
        // As a whole: other frames that keep coming must not make it wait for ever.
        let give_up = Instant::now() + 3 * PATIENCE;
        loop {
            let frame = self.frame().await.unwrap();
            if frame.get("push").is_some() {
                assert!(Instant::now() < give_up, "no reply to {ids:?}, only pushes");
                self.pushes.push_back(frame);
            } else {
                assert!(
                    frame["id"].as_u64().is_some_and(|id| ids.contains(&id)),
                    "{frame}"
                );
                return frame;
            }
        }
    }

    /// The next push of this name; others before it are skipped.
    pub(crate) async fn push(&mut self, name: &str) -> Value {
        let give_up = Instant::now() + 3 * PATIENCE;
        loop {
            let frame = match self.pushes.pop_front() {
                Some(frame) => frame,
                None => self.frame().await.unwrap(),
            };
            if frame["push"] == name {
                return frame;
            }
            assert!(Instant::now() < give_up, "no push {name}, only others");
        }
    }

    /// Every push that came so far; of `room`, all that it had told by now.
    pub(crate) async fn heard(&mut self, room: i64) -> Vec<Value> {
        // Answered by the room, down the same path as its pushes.
        self.ask("history", json!({ "room": room, "limit": 1 })).await;
        self.pushes.drain(..).collect()
    }

    /// Joins a room from its start, or goes on where this socket's copy ends.
    pub(crate) async fn join(&mut self, room: i64) -> Value {
        let mut wanted = json!({ "room": room });
        if let Some(copy) = self.copies.get(&room) {
            wanted["since"] = copy.since();
        }
        let reply = self.ask("join", json!({ "rooms": [wanted] })).await;
        assert!(reply["join"]["rooms"][0].get("error").is_none(), "{reply}");
        self.push("joined").await
    }

    /// Says something under a new key; the reply.
    pub(crate) async fn publish(&mut self, room: i64, text: &str) -> Value {
        let after = self.copies.get(&room).map_or(0, |copy| copy.seq);
        self.publish_as(room, &uuid::Uuid::new_v4().to_string(), after, text)
            .await
    }

    /// Says something under this key; the reply.
    pub(crate) async fn publish_as(&mut self, room: i64, key: &str, after: u64, text: &str) -> Value {
        self.ask(
            "publish",
            json!({ "room": room, "key": key, "after": after, "body": { "text": text } }),
        )
        .await
    }

    /// The copy of `room`.
    pub(crate) fn copy(&self, room: i64) -> &Copy {
        &self.copies[&room]
    }

    /// Reads until the copy of `room` reaches `seq`.
    pub(crate) async fn read_to(&mut self, room: i64, seq: u64) {
        while self.copies.get(&room).is_none_or(|copy| copy.seq < seq) {
            self.frame().await.unwrap();
        }
    }

    /// Pages, `page` entries at a time, whatever the copy of `room` lacks below its head.
    pub(crate) async fn fill(&mut self, room: i64, page: usize) {
        loop {
            let copy = &self.copies[&room];
            let Some(missing) = (1..=copy.seq).find(|seq| !copy.entries.contains_key(seq)) else {
                return;
            };
            let arguments = json!({ "room": room, "after": missing - 1, "limit": page });
            let reply = self.ask("history", arguments).await;
            let entries = &reply["history"]["entries"];
            assert_eq!(entries[0]["seq"], missing, "{reply}");
            self.copies.entry(room).or_default().add(entries);
        }
    }

    /// Fetches the whole record of `room` by pages, oldest first.
    pub(crate) async fn whole_record(&mut self, room: i64) -> Copy {
        let mut copy = Copy::default();
        loop {
            let arguments = json!({ "room": room, "after": copy.seq, "limit": 100 });
            let reply = self.ask("history", arguments).await;
            let page = &reply["history"];
            copy.add(&page["entries"]);
            copy.seq = copy.entries.keys().next_back().copied().unwrap_or(0);
            if page["complete"] == true {
                return copy;
            }
        }
    }
}
