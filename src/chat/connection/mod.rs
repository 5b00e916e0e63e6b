//! One client's connection, across as many sockets as it takes.
//!
//! The whole of the protocol from a client's side, in the order in which things happen:
//!
//! 1. [`Connection::connect`]: open a socket, send `auth`, wait for `hello`.
//! 2. [`Connection::send_due`]: join every open room `since` the last certain
//!    position; publish the oldest unanswered message.
//! 3. [`Connection::received`]: take in pushes and replies. A push that leaves a
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
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest as _,
        http::{HeaderValue, header},
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use self::{credential::RenewalError, outgoing::Outgoing, pace::Backoff};
pub(super) use self::{
    credential::{AccessToken, Credential},
    pace::Pace,
};
use super::{
    api::Api,
    record::{Record, Step},
    wire::{
        self, Command, Entry, FromServer, Hello, JoinOutcome, JoinRoom, Joined, Page, Person, Push, Reply,
        WireError,
    },
};
use crate::domain::id::EventId;

/// Bytes of a frame from the server that are taken; it promises far less.
const MAX_FRAME_BYTES: usize = 4 << 20;
/// Rooms that one `join` may name.
const ROOMS_PER_JOIN: usize = 100;
/// Entries asked for in one page.
const PAGE: u32 = 100;
/// Joins in a row that gaps may cause on one socket before it is given up.
const MAX_REJOINS: u32 = 5;
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
    Older(EventId),
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
    async fn use_socket(
        &mut self,
        requests: &mut mpsc::Receiver<Request>,
    ) -> Result<std::convert::Infallible, Lost> {
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

    // ---- 1. connect

    async fn connect(&mut self) -> Result<Socket, Lost> {
        let renewed = self.credential.ensure_fresh(&self.api).await;
        renewed.map_err(|error| match error {
            RenewalError::SignedOut => Lost::ForGood(Ended::SignedOut),
            RenewalError::Temporary => Lost::ComeBack(None),
        })?;
        let mut upgrade = self
            .api
            .socket_url()
            .into_client_request()
            .map_err(|_| Lost::ForGood(Ended::Refused(0)))?;
        let headers = upgrade.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static("timingle.v2"),
        );
        headers.insert(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_static(self.api.language().as_str()),
        );
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let opening = connect_async_with_config(upgrade, Some(limits), true);
        let mut socket = match timeout(self.pace.answer, opening).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(response))) => return Err(refused(response.status().as_u16())),
            Ok(Err(_)) | Err(_) => return Err(Lost::ComeBack(None)),
        };
        // The credential goes into the first frame: never into a URL, which proxies write down.
        let access_token = self.credential.access_token();
        self.send(&mut socket, &Command::Auth { access_token }, About::Credential)
            .await?;
        while self.hello.is_none() {
            let deadline = self.next_look();
            tokio::select! {
                frame = socket.next() => self.heard_from(frame).await?,
                () = sleep_until(deadline) => {}
            }
            self.check_time(&mut socket).await?;
        }
        Ok(socket)
    }

    /// Nothing of a socket outlives it but rooms, positions and unanswered messages.
    fn forget_socket(&mut self) {
        self.waiting.clear();
        self.wishes.clear();
        self.hello = None;
        self.rejoins = 0;
        for record in self.rooms.values_mut() {
            record.absent(None);
        }
        if let Some(message) = self.outgoing.front_mut() {
            message.unanswered();
        }
    }

    // ---- 2. send

    /// Sends all that can be sent now: joins, what the person wished, the oldest message.
    async fn send_due(&mut self, socket: &mut Socket) -> Result<(), Lost> {
        let now = Instant::now();
        let mut join = Vec::new();
        for (room, record) in &mut self.rooms {
            if join.len() < ROOMS_PER_JOIN && record.is_join_due(now) {
                join.push(JoinRoom {
                    room: *room,
                    since: record.since(),
                });
                record.joining();
            }
        }
        if !join.is_empty() {
            let rooms = join.iter().map(|wanted| wanted.room).collect();
            self.send(socket, &Command::Join { rooms: join }, About::Rooms(rooms))
                .await?;
        }
        while let Some((command, about)) = self.wishes.pop_front() {
            self.send(socket, &command, about).await?;
        }
        let frame_bytes = self.hello.as_ref().map_or(0, |hello| hello.limits.frame_bytes);
        while let Some(message) = self.outgoing.front_mut() {
            let Some(record) = self.rooms.get(&message.room()) else {
                break;
            };
            let Some(command) = message.due(record, now) else {
                break;
            };
            if wire::encode(u64::MAX, &command).is_ok_and(|frame| frame.len() <= frame_bytes) {
                return self.send(socket, &command, About::Message).await;
            }
            self.refuse_message("FRAME_TOO_BIG".to_owned()).await;
        }
        Ok(())
    }

    async fn send(&mut self, socket: &mut Socket, command: &Command, about: About) -> Result<(), Lost> {
        self.last_id += 1;
        let frame = wire::encode(self.last_id, command).map_err(|_| Lost::ComeBack(None))?;
        self.waiting
            .insert(self.last_id, (about, Instant::now() + self.pace.answer));
        match timeout(self.pace.answer, socket.send(Message::text(frame))).await {
            Ok(Ok(())) => Ok(()),
            // A close frame may be waiting to be read; it says more than this failure.
            Ok(Err(_)) => Err(self.last_words(socket).await),
            Err(_) => Err(Lost::ComeBack(None)),
        }
    }

    /// Reads what the server still had to say on a socket that takes nothing more.
    async fn last_words(&mut self, socket: &mut Socket) -> Lost {
        let reading = async {
            loop {
                let frame = socket.next().await;
                if let Err(lost) = self.heard_from(frame).await {
                    return lost;
                }
            }
        };
        timeout(Duration::from_secs(1), reading)
            .await
            .unwrap_or(Lost::ComeBack(None))
    }

    // ---- 3. receive

    async fn heard_from(&mut self, frame: Option<Result<Message, tungstenite::Error>>) -> Result<(), Lost> {
        // Whatever comes shows that the server is there; pings are answered by the library.
        self.heard = Instant::now();
        match frame {
            Some(Ok(Message::Text(text))) => {
                let frame = wire::decode(&text).map_err(|_| Lost::ComeBack(None))?;
                self.received(frame).await
            }
            Some(Ok(Message::Close(frame))) => Err(self.closed(frame)),
            Some(Ok(Message::Binary(_)) | Err(_)) | None => Err(Lost::ComeBack(None)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
        }
    }

    fn closed(&mut self, frame: Option<CloseFrame>) -> Lost {
        let code = frame.map_or(1006, |frame| u16::from(frame.code));
        match code {
            4500..=4999 => Lost::ForGood(Ended::Closed(code)),
            4005 => {
                self.credential.expired();
                Lost::ComeBack(None)
            }
            _ => Lost::ComeBack(None),
        }
    }

    async fn received(&mut self, frame: FromServer) -> Result<(), Lost> {
        match frame {
            FromServer::Push(push) => self.pushed(push).await,
            FromServer::Reply { id, reply } => {
                // A reply that nothing waits for, or to a frame the server could not read, tells nothing.
                let Some((about, _)) = id.and_then(|id| self.waiting.remove(&id)) else {
                    return Ok(());
                };
                match reply {
                    Ok(reply) => self.succeeded(about, reply).await,
                    Err(error) => self.failed(about, error).await,
                }
            }
        }
    }

    async fn pushed(&mut self, push: Push) -> Result<(), Lost> {
        match push {
            Push::Joined(joined) => self.joined(joined).await,
            Push::Entries { room, entries, head } => {
                let step = self
                    .rooms
                    .get_mut(&room)
                    .map(|record| record.entries(entries, head));
                self.follow(room, step).await
            }
            Push::Head { room, head } => {
                let step = self.rooms.get_mut(&room).map(|record| record.head(head));
                self.follow(room, step).await
            }
            Push::Removed { room, reason } => {
                self.rooms.remove(&room);
                self.drop_messages_to(room, "").await;
                self.tell(Update::Removed { room, reason }).await;
                Ok(())
            }
            Push::Shutdown { retry_after_ms } => {
                self.come_back_in = Some(Duration::from_millis(retry_after_ms).min(self.pace.longest));
                Ok(())
            }
            Push::Unknown => Ok(()),
        }
    }

    async fn joined(&mut self, mut joined: Joined) -> Result<(), Lost> {
        let room = joined.room;
        let Some(record) = self.rooms.get_mut(&room) else {
            return Ok(());
        };
        let is_first = record.since().is_none();
        let step = record.joined(&mut joined);
        for message in self.outgoing.iter_mut().filter(|message| message.room() == room) {
            message.not_after(joined.head.seq);
        }
        let (title, people) = (joined.event.title, joined.participants);
        self.tell(Update::Opened {
            room,
            title,
            people,
            is_first,
            reset: joined.reset,
        })
        .await;
        self.follow(room, Some(step)).await
    }

    /// Does what a record says has to be done.
    async fn follow(&mut self, room: EventId, step: Option<Step>) -> Result<(), Lost> {
        let entries = match step {
            None => return Ok(()),
            Some(Step::Show(entries)) => entries,
            Some(Step::ShowAndPage(entries, after)) => {
                let page = Command::History {
                    room,
                    before: None,
                    after: Some(after),
                    limit: PAGE,
                };
                self.wishes.push_back((page, About::Missed(room)));
                entries
            }
            Some(Step::Rejoin) => {
                self.rejoins += 1;
                return if self.rejoins > MAX_REJOINS {
                    Err(Lost::ComeBack(None))
                } else {
                    Ok(())
                };
            }
        };
        if !entries.is_empty() {
            self.rejoins = 0;
            self.tell(Update::Entries { room, entries }).await;
        }
        Ok(())
    }

    async fn succeeded(&mut self, about: About, reply: Reply) -> Result<(), Lost> {
        match (about, reply) {
            (About::Credential, Reply::Hello(hello)) => {
                self.credential.accepted();
                if self.hello.is_none() {
                    self.tell(Update::Online(hello.user.clone())).await;
                }
                self.hello = Some(hello);
                Ok(())
            }
            (About::Rooms(_), Reply::Join { rooms }) => {
                for JoinOutcome { room, error } in rooms {
                    if let Some(error) = error {
                        self.not_joined(room, error).await;
                    }
                }
                Ok(())
            }
            (About::Message, Reply::Publish {}) => {
                self.outgoing.pop_front();
                Ok(())
            }
            (About::Missed(room), Reply::History(page)) => {
                let step = self.rooms.get_mut(&room).map(|record| record.page(page));
                self.follow(room, step).await
            }
            (
                About::Older(room),
                Reply::History(Page {
                    entries, complete, ..
                }),
            ) => {
                self.tell(Update::Older {
                    room,
                    entries,
                    complete,
                })
                .await;
                Ok(())
            }
            (About::Leave, Reply::Leave {}) => Ok(()),
            // A reply of another name than its command: not a server of this protocol.
            _ => Err(Lost::ComeBack(None)),
        }
    }

    async fn failed(&mut self, about: About, error: WireError) -> Result<(), Lost> {
        match about {
            About::Credential if error.code == "TOO_MANY_SOCKETS" => {
                return Err(Lost::ForGood(Ended::Closed(4503)));
            }
            About::Credential if error.temporary => return Err(Lost::ComeBack(self.pause(&error))),
            About::Credential => return Err(self.credential.refused()),
            About::Rooms(rooms) => {
                for room in rooms {
                    self.not_joined(room, error.clone()).await;
                }
            }
            About::Message => self.message_failed(error).await,
            About::Missed(room) => {
                let pause = self.pause(&error).unwrap_or(self.pace.first);
                if let Some(record) = self.rooms.get_mut(&room) {
                    record.absent(Some(Instant::now() + pause));
                }
            }
            About::Older(_) => {
                self.tell(Update::Failed {
                    message: error.message,
                })
                .await
            }
            About::Leave => {}
        }
        Ok(())
    }

    async fn not_joined(&mut self, room: EventId, error: WireError) {
        if error.temporary {
            let pause = self.pause(&error).unwrap_or(self.pace.first);
            if let Some(record) = self.rooms.get_mut(&room) {
                record.absent(Some(Instant::now() + pause));
            }
            return;
        }
        self.rooms.remove(&room);
        self.tell(Update::NotOpened {
            room,
            message: error.message.clone(),
        })
        .await;
        self.drop_messages_to(room, &error.message).await;
    }

    /// The server answered that the message at the front is not in the record, or not known to be.
    async fn message_failed(&mut self, error: WireError) {
        let pause = self.pause(&error).unwrap_or(self.pace.first);
        let Some(message) = self.outgoing.front_mut() else {
            return;
        };
        let not_before = Instant::now() + pause;
        match error.code.as_str() {
            // The same key and `after` again, once the room is joined (again).
            "NOT_JOINED" | "POSITION_UNKNOWN" => {
                message.repeat_at(not_before);
                if let Some(record) = self.rooms.get_mut(&message.room()) {
                    record.absent(None);
                }
            }
            // "Not known yet": it may stand in the record. The same key and `after` again.
            _ if error.temporary => {
                if message.repeat_at(not_before) {
                    self.tell(Update::StillTrying {
                        message: error.message,
                    })
                    .await;
                }
            }
            _ => self.refuse_message(error.message).await,
        }
    }

    async fn refuse_message(&mut self, message: String) {
        if let Some(refused) = self.outgoing.pop_front() {
            self.tell(Update::NotPublished {
                text: refused.into_text(),
                message,
            })
            .await;
        }
    }

    async fn drop_messages_to(&mut self, room: EventId, why: &str) {
        let (dropped, kept) = self
            .outgoing
            .drain(..)
            .partition::<VecDeque<_>, _>(|message| message.room() == room);
        self.outgoing = kept;
        for message in dropped {
            let (text, message) = (message.into_text(), why.to_owned());
            self.tell(Update::NotPublished { text, message }).await;
        }
        // The answer to one that was in flight is about nothing now.
        self.waiting.retain(|_, (about, _)| {
            !matches!(about, About::Message) || self.outgoing.front().is_some_and(Outgoing::is_in_flight)
        });
    }

    fn pause(&self, error: &WireError) -> Option<Duration> {
        error
            .retry_after_ms
            .map(|ms| Duration::from_millis(ms).min(self.pace.longest))
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
                let page = Command::History {
                    room,
                    before,
                    after: None,
                    limit: PAGE / 2,
                };
                self.wishes.push_back((page, About::Older(room)));
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

/// A refusal of the upgrade: what the client did wrong will not go away by itself.
fn refused(status: u16) -> Lost {
    match status {
        408 | 429 | 500.. => Lost::ComeBack(None),
        _ => Lost::ForGood(Ended::Refused(status)),
    }
}
