//! One client's connection, across as many sockets as it takes.
//!
//! The whole of the protocol from a client's side, in the order in which things happen:
//!
//! 1. [`Connection::connect`] (`socket.rs`): open a socket, send `auth`, wait for `hello`.
//! 2. [`Connection::send_due`] (`socket.rs`): join every open room `since` the last certain
//!    position; publish the oldest unanswered message.
//! 3. [`Connection::heard_from`] (`receive.rs`): take in pushes and replies. A push that leaves a
//!    gap leads to a join ([`super::record`]).
//! 4. When the socket ends, [`Connection::run`] waits with full jitter, or as long
//!    as the server asked for, and starts again at 1. Some ends are final ([`Ended`]).
//!
//! A publish that was not answered is repeated with the *same* key and the *same*
//! `after`, however many sockets it takes: the server then finds the first try, and
//! the words stand in the record once. One is in flight at a time, so that a
//! repetition never overtakes the message before it.

mod credential;
mod outgoing;
mod pace;
mod receive;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use self::{credential::RenewalError, outgoing::Outgoing, pace::Backoff};
pub(super) use self::{
    credential::{AccessToken, Credential},
    pace::Pace,
};
use super::{
    api::Api,
    record::Record,
    wire::{Command, Entry, Hello, Person},
};
use crate::domain::id::EventId;

/// Entries asked for in one page.
const PAGE: u32 = 100;
/// How long unanswered messages are waited for when the person quits.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the person wants.
#[derive(Debug)]
pub(super) enum Request {
    /// Receive a room from here on.
    Open(EventId),
    /// Receive it no longer.
    Close(EventId),
    /// Say something in an open room.
    Publish(EventId, String),
    /// Entries before this seq; before none: the newest.
    Older(EventId, Option<u64>),
    /// Send what is left, then end.
    Finish,
}

/// What the person should see.
#[derive(Debug)]
pub(super) enum Update {
    /// The server knows who this is.
    Online(Person),
    /// The connection is lost; the next try is this far away.
    Offline(Duration),
    /// A room is joined; `reset` when what was shown of it counts no more.
    Opened {
        room: EventId,
        title: String,
        people: Vec<Person>,
        is_first: bool,
        reset: bool,
    },
    /// A room cannot be joined, in the server's words.
    NotOpened { room: EventId, message: String },
    /// Entries that follow what was shown.
    Entries { room: EventId, entries: Vec<Entry> },
    /// The page that was asked for; `complete` when nothing lies before it.
    Older {
        room: EventId,
        entries: Vec<Entry>,
        complete: bool,
    },
    /// A message is not acknowledged yet and will be repeated, in the server's words.
    StillTrying { message: String },
    /// A message was refused for good: its words, and why in the server's words. Without
    /// them the room is not open any more.
    NotPublished { text: String, message: String },
    /// A request failed, in the server's words.
    Failed { message: String },
    /// The room tells nothing more: `left`, `removed` or `event_gone`.
    Removed { room: EventId, reason: String },
}

/// Why a connection ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ended {
    /// The sign-in counts no more.
    #[error("the sign-in is not accepted any more")]
    SignedOut,
    /// The server said not to come back by oneself: a close code from 4500 on.
    #[error("the server closed the socket with {0}")]
    Closed(u16),
    /// The server refused the socket: an HTTP status.
    #[error("the server refused the socket with status {0}")]
    Refused(u16),
    /// The person quit before every message was acknowledged.
    #[error("messages were left unsent")]
    Unsent,
}

/// Why a socket is not used any more.
#[derive(Debug)]
enum Lost {
    /// Everything is done.
    Finished,
    /// There is no use in another one.
    ForGood(Ended),
    /// Another one may do; at this distance if the server named one.
    ComeBack(Option<Duration>),
}

/// What the answer to a command is about.
#[derive(Debug)]
enum About {
    Credential,
    Rooms(Vec<EventId>),
    Leave,
    /// The message at the front of the queue.
    Message,
    Missed(EventId),
    /// The entries before this seq.
    Older(EventId, Option<u64>),
}

/// A connection to one server as one user.
pub(super) struct Connection {
    api: Api,
    credential: Credential,
    pace: Pace,
    updates: mpsc::Sender<Update>,
    /// Open rooms and where this client stands in each; kept across sockets.
    rooms: BTreeMap<EventId, Record>,
    /// Where closed rooms were left, so that opening them again resumes.
    left: BTreeMap<EventId, Record>,
    /// Messages that are not acknowledged, the oldest first; kept across sockets.
    outgoing: VecDeque<Outgoing>,
    /// Commands to send as soon as there is a socket.
    wishes: VecDeque<(Command, About)>,
    /// Commands without an answer yet, and until when it has to come.
    waiting: BTreeMap<u64, (About, Instant)>,
    last_id: u64,
    hello: Option<Hello>,
    heard: Instant,
    rejoins: u32,
    come_back_in: Option<Duration>,
    finish_by: Option<Instant>,
}

impl Connection {
    /// Connects with `credential` as soon as it is run, and tells of everything in `updates`.
    pub(super) fn new(api: Api, credential: Credential, pace: Pace, updates: mpsc::Sender<Update>) -> Self {
        Self {
            api,
            credential,
            pace,
            updates,
            rooms: BTreeMap::new(),
            left: BTreeMap::new(),
            outgoing: VecDeque::new(),
            wishes: VecDeque::new(),
            waiting: BTreeMap::new(),
            last_id: 0,
            hello: None,
            heard: Instant::now(),
            rejoins: 0,
            come_back_in: None,
            finish_by: None,
        }
    }

    /// Runs until the person has quit and everything is sent, or there is no use in going on.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), Ended> {
        let mut backoff = Backoff::new(self.pace);
        loop {
            let started = Instant::now();
            let Err(lost) = self.use_socket(&mut requests).await;
            self.forget_socket();
            let again_in = match lost {
                Lost::Finished => return Ok(()),
                Lost::ForGood(ended) => return Err(ended),
                Lost::ComeBack(asked) => {
                    if started.elapsed() > self.pace.steady {
                        backoff.reset();
                    }
                    asked
                        .or(self.come_back_in.take())
                        .unwrap_or_else(|| backoff.next())
                }
            };
            self.tell(Update::Offline(again_in)).await;
            let again_at = Instant::now() + again_in;
            while Instant::now() < again_at {
                if self
                    .finish_by
                    .is_some_and(|by| self.outgoing.is_empty() || Instant::now() >= by)
                {
                    return if self.outgoing.is_empty() {
                        Ok(())
                    } else {
                        Err(Ended::Unsent)
                    };
                }
                let until = again_at.min(self.finish_by.unwrap_or(again_at));
                tokio::select! {
                    () = sleep_until(until) => {}
                    request = requests.recv(), if self.finish_by.is_none() => self.requested(request).await,
                }
            }
        }
    }

    /// Uses one socket from its opening to its end.
    async fn use_socket(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<Infallible, Lost> {
        let mut socket = self.connect().await?;
        loop {
            self.send_due(&mut socket).await?;
            let look = self.next_look();
            tokio::select! {
                frame = socket.next() => self.heard_from(frame).await?,
                request = requests.recv(), if self.finish_by.is_none() => self.requested(request).await,
                renewed = self.credential.renewed() => self.renewed(renewed)?,
                () = sleep_until(look) => {}
            }
            self.check_time(&mut socket).await?;
        }
    }

    // ---- what the person wants, and what time brings

    async fn requested(&mut self, request: Option<Request>) {
        match request {
            Some(Request::Open(room)) => {
                let left = self.left.remove(&room);
                self.rooms
                    .entry(room)
                    .or_insert_with(|| left.unwrap_or_else(Record::new));
            }
            Some(Request::Close(room)) => {
                if let Some(mut record) = self.rooms.remove(&room) {
                    record.absent(None);
                    self.left.insert(room, record);
                    self.wishes
                        .push_back((Command::Leave { rooms: vec![room] }, About::Leave));
                    self.drop_messages_to(room, "").await;
                }
            }
            Some(Request::Publish(room, text)) if self.rooms.contains_key(&room) => {
                self.outgoing.push_back(Outgoing::new(room, text));
            }
            Some(Request::Publish(_, text)) => {
                self.tell(Update::NotPublished {
                    text,
                    message: String::new(),
                })
                .await;
            }
            Some(Request::Older(room, before)) => {
                self.wishes.push_back(older(room, before));
            }
            Some(Request::Finish) | None => self.finish_by = Some(Instant::now() + FINISH_TIMEOUT),
        }
    }

    fn renewed(&mut self, renewed: Result<(), RenewalError>) -> Result<(), Lost> {
        match renewed {
            Ok(()) => {
                let access_token = self.credential.access_token();
                self.wishes
                    .push_back((Command::Auth { access_token }, About::Credential));
                Ok(())
            }
            Err(RenewalError::SignedOut) => Err(Lost::ForGood(Ended::SignedOut)),
            // It is tried again while the old one still counts.
            Err(RenewalError::Temporary) => Ok(()),
        }
    }

    /// The next moment at which something may be due without the server or the person stirring.
    fn next_look(&self) -> Instant {
        let answers = self.waiting.values().map(|(_, by)| *by);
        let joins = self.rooms.values().filter_map(Record::join_at);
        let message = self.outgoing.front().and_then(Outgoing::not_before);
        answers
            .chain(joins)
            .chain(message)
            .chain(self.finish_by)
            .chain([self.credential.renew_at(), self.silent_at()])
            .min()
            .unwrap_or_else(|| self.silent_at())
    }

    /// The server pings every heartbeat; after two and a bit without a sign it is gone.
    fn silent_at(&self) -> Instant {
        let heartbeat = self.hello.as_ref().map_or(self.pace.answer, |hello| {
            Duration::from_secs(hello.heartbeat_s.min(3_600))
        });
        self.heard + heartbeat * 2 + self.pace.answer
    }

    async fn check_time(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        let now = Instant::now();
        if now >= self.silent_at() || self.waiting.values().any(|(_, by)| now >= *by) {
            return Err(Lost::ComeBack(None));
        }
        self.credential.renew_if_due(&self.api);
        if let Some(by) = self.finish_by {
            let is_idle = self.waiting.is_empty() && self.wishes.is_empty() && self.outgoing.is_empty();
            if is_idle && self.rooms.values().all(Record::is_live) {
                let _ = timeout(self.pace.answer, socket.close(None)).await;
                return Err(Lost::Finished);
            }
            if now >= by {
                let ended = if self.outgoing.is_empty() {
                    Lost::Finished
                } else {
                    Lost::ForGood(Ended::Unsent)
                };
                return Err(ended);
            }
        }
        Ok(())
    }

    async fn tell(&mut self, update: Update) {
        // Waiting here is the back-pressure: a reader that takes nothing stops this client's reading, and
        // the server its sending. One that is gone needs nothing more.
        if self.updates.send(update).await.is_err() {
            self.finish_by.get_or_insert_with(Instant::now);
        }
    }
}

/// The wish for the page of a room before a seq.
fn older(room: EventId, before: Option<u64>) -> (Command, About) {
    let page = Command::History {
        room,
        before,
        after: None,
        limit: PAGE / 2,
    };
    (page, About::Older(room, before))
}
