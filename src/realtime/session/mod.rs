//! One actor per WebSocket: authenticates, parses, limits, and talks to rooms.
//!
//! The actor only reads; whatever is told to the socket goes through its
//! [`Outbox`]. A client that stops reading therefore never stops its own actor.

mod socket;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, SpawnHandle, StreamHandler, WrapFuture as _,
};
use actix_http::ws::Item;
use actix_web_actors::ws::{self, ProtocolError, WebsocketContext};
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

pub(super) use socket::run;

use self::socket::{FrameLimit, NOT_UTF8};
use super::{
    limiter::PublishLimiter,
    outbox::Outbox,
    protocol::{
        CloseCode,
        v2::{self, Command, HelloLimits},
    },
    registry::Registry,
    room::{Join, OutboxRef, Publish, ReplyTo, RoomError},
    roster::{Roster, Seat},
};
use crate::{
    config,
    domain::{
        id::EventId,
        message::MessageBody,
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::{Identity, RateLimited, SignIns},
};

/// How long a closed socket may take to hear of it before it is cut.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// The least that a client's frame has around its payload, in bytes.
const FRAME_OVERHEAD: usize = 6;

/// Rooms started at the same time for one join.
const PARALLEL_STARTS: usize = 8;

/// What all sessions of a server share.
pub struct Shared {
    /// The rooms.
    pub registry: Registry,
    /// The sockets.
    pub roster: Roster,
    /// Who is behind a credential.
    pub sign_ins: Arc<dyn SignIns>,
    /// How often a user may publish.
    pub limiter: PublishLimiter,
    /// The wall clock.
    pub clock: Clock,
    /// `[limits]`
    pub limits: config::Limits,
    /// `[session]`
    pub session: config::Session,
    /// How long a publish may wait for the log.
    pub publish_timeout: Duration,
}

/// Why a session refuses a command before any room hears of it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the socket is not authenticated")]
    NotAuthenticated,
    #[error("the credential is another user's")]
    OtherUser,
    #[error("the socket has as many rooms as it may have")]
    TooManyRooms(usize),
    #[error("too many commands are in work")]
    Busy,
}

impl Coded for Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NotAuthenticated => ErrorCode::AuthTokenMissing,
            Self::OtherUser => ErrorCode::AuthTokenInvalid,
            Self::TooManyRooms(_) => ErrorCode::ValidationError,
            Self::Busy => ErrorCode::RateLimitExceeded,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::TooManyRooms(_) => "too-many-rooms",
            Self::OtherUser => "token-of-other-user",
            other => other.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, Value> {
        let mut details = serde_json::Map::new();
        if let Self::TooManyRooms(limit) = self {
            details.insert("limit".into(), (*limit).into());
        }
        details
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(500),
            _ => None,
        }
    }
}

/// See the module.
pub(super) struct Session {
    shared: Arc<Shared>,
    seat: Seat,
    outbox: Outbox,
    identity: Option<Identity>,
    /// Language of texts until the user's own is known.
    language: Language,
    joined: HashSet<EventId>,
    /// Commands behind one that waits for something.
    queue: VecDeque<(u64, Command)>,
    waiting: bool,
    /// The parts of a fragmented text message.
    fragments: Option<BytesMut>,
    bytes_before_auth: usize,
    frame_limit: FrameLimit,
    opened: Instant,
    heard: Instant,
    pinged: Instant,
    closing: bool,
    timer: Option<SpawnHandle>,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        seat: Seat,
        outbox: Outbox,
        identity: Option<Identity>,
        language: Language,
        frame_limit: FrameLimit,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            seat,
            outbox,
            language: identity.as_ref().map_or(language, |identity| identity.language),
            identity,
            joined: HashSet::new(),
            queue: VecDeque::new(),
            waiting: false,
            fragments: None,
            bytes_before_auth: 0,
            frame_limit,
            opened: now,
            heard: now,
            pinged: now,
            closing: false,
            timer: None,
        }
    }

    fn push(&self, frame: Bytes) {
        // A closed outbox has nobody behind it to tell.
        let _ = self.outbox.try_push(frame);
    }

    fn fail(&self, id: Option<u64>, error: &dyn Coded) {
        self.push(v2::error_reply(id, self.language, error));
    }

    fn reply_to(&self, id: u64) -> ReplyTo {
        ReplyTo::new(self.outbox.clone(), id, self.language)
    }

    fn hello(&self, id: Option<u64>, identity: &Identity) {
        let user = json!({
            "id": identity.user,
            "name": identity.name,
            "language": identity.language,
            "timezone": identity.timezone,
        });
        let limits = HelloLimits {
            body_chars: self.shared.limits.body_chars,
            frame_bytes: self.shared.limits.frame_bytes,
            publishes_per_s: self.shared.limits.publishes_per_s,
            rooms: self.shared.limits.rooms_per_socket,
        };
        let heartbeat_s = self.shared.session.heartbeat.as_secs();
        self.push(v2::hello(id, &user, self.shared.clock.now(), heartbeat_s, limits));
    }

    // ---- what the client sends

    /// Whether a client that is not authenticated has now sent more than it may.
    fn has_sent_too_much(&mut self, message: &ws::Message) -> bool {
        let payload = match message {
            ws::Message::Text(text) => text.len(),
            ws::Message::Continuation(
                Item::FirstText(part) | Item::FirstBinary(part) | Item::Continue(part) | Item::Last(part),
            ) => part.len(),
            ws::Message::Binary(bytes) | ws::Message::Ping(bytes) | ws::Message::Pong(bytes) => bytes.len(),
            ws::Message::Close(_) | ws::Message::Nop => 0,
        };
        self.bytes_before_auth += payload + FRAME_OVERHEAD;
        self.bytes_before_auth > self.shared.limits.auth_bytes
    }

    fn text(&mut self, text: &str, ctx: &mut WebsocketContext<Self>) {
        let decoded = v2::decode(text);
        match (decoded.id, decoded.command) {
            (Some(id), Ok(command)) => self.accept(id, command, ctx),
            (id, Err(error)) => self.fail(id, &error),
            (None, Ok(_)) => {}
        }
    }

    fn accept(&mut self, id: u64, command: Command, ctx: &mut WebsocketContext<Self>) {
        if self.queue.len() >= self.shared.limits.commands_in_flight {
            return self.fail(Some(id), &Refusal::Busy);
        }
        self.queue.push_back((id, command));
        self.work(ctx);
    }

    /// Works through the commands in their order; one that has to wait holds up those behind it.
    fn work(&mut self, ctx: &mut WebsocketContext<Self>) {
        while !self.waiting
            && !self.closing
            && let Some((id, command)) = self.queue.pop_front()
        {
            match command {
                Command::Auth { access_token } => self.authenticate(id, access_token, ctx),
                _ if self.identity.is_none() => self.fail(Some(id), &Refusal::NotAuthenticated),
                Command::Join(join) => self.join(id, join, ctx),
                Command::Leave { rooms } => self.leave(id, &rooms),
                Command::Publish(publish) => self.publish(id, publish),
                Command::History(history) => self.history(id, history, ctx),
            }
        }
    }

    /// Runs `work`, then `after` with what it gave, and only then the commands behind.
    fn wait_for<T: 'static>(
        &mut self,
        ctx: &mut WebsocketContext<Self>,
        work: impl Future<Output = T> + 'static,
        after: impl FnOnce(&mut Self, T, &mut WebsocketContext<Self>) + 'static,
    ) {
        self.waiting = true;
        ctx.spawn(work.into_actor(self).map(move |outcome, session, ctx| {
            session.waiting = false;
            after(session, outcome, ctx);
            session.work(ctx);
        }));
    }

    fn authenticate(&mut self, id: u64, access_token: String, ctx: &mut WebsocketContext<Self>) {
        let sign_ins = Arc::clone(&self.shared.sign_ins);
        let identify = async move { sign_ins.identify(&access_token).await };
        self.wait_for(ctx, identify, move |session, identified, ctx| match identified {
            Err(error) => session.fail(Some(id), &*error),
            Ok(identity) => {
                if session.identity.as_ref().is_some_and(|known| known.user != identity.user) {
                    return session.fail(Some(id), &Refusal::OtherUser);
                }
                if let Err(error) = session.seat.authenticate(identity.user, identity.sign_in) {
                    session.fail(Some(id), &error);
                    return session.outbox.close(CloseCode::TooManySockets);
                }
                session.language = identity.language;
                session.hello(Some(id), &identity);
                session.identity = Some(identity);
                session.frame_limit.set(session.shared.limits.frame_bytes);
                session.watch(ctx);
            }
        });
    }

    fn join(&mut self, id: u64, join: v2::Join, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else { return };
        let limit = self.shared.limits.rooms_per_socket;
        let new = join.rooms.iter().filter(|wanted| !self.joined.contains(&wanted.room)).count();
        if self.joined.len() + new > limit {
            return self.fail(Some(id), &Refusal::TooManyRooms(limit));
        }
        let (shared, outbox) = (Arc::clone(&self.shared), self.outbox.clone());
        let (session, language) = (self.seat.id(), self.language);
        let work = async move {
            let mut outcomes: Vec<(EventId, Option<Value>)> = Vec::with_capacity(join.rooms.len());
            for wanted in join.rooms.chunks(PARALLEL_STARTS) {
                let starts = wanted.iter().map(|wanted| shared.registry.room(wanted.room));
                futures_util::future::join_all(starts).await;
                for wanted in wanted {
                    // The answer to this one may be large: let the one before it get out first.
                    outbox.has_room().await;
                    let join = Join {
                        session,
                        user,
                        outbox: OutboxRef(outbox.clone()),
                        language,
                        since: wanted.since,
                        limit: wanted.limit,
                        id,
                    };
                    let error = join_room(&shared.registry, wanted.room, join).await.err();
                    outcomes.push((wanted.room, error.map(|error| v2::error_value(language, &*error))));
                }
            }
            outcomes
        };
        self.wait_for(ctx, work, move |session, outcomes, _| {
            let done = outcomes.iter().filter(|(_, error)| error.is_none());
            session.joined.extend(done.map(|(room, _)| *room));
            session.push(v2::join_reply(id, &outcomes));
        });
    }

    fn leave(&mut self, id: u64, rooms: &[EventId]) {
        for room in rooms {
            self.joined.remove(room);
            self.shared.registry.leave(*room, self.seat.id());
        }
        self.push(v2::leave_reply(id));
    }

    fn publish(&mut self, id: u64, publish: v2::Publish) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else { return };
        let body = match self.check_publish(user, publish.body.text) {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                crate::metrics::publish_refused(error.code());
                return self.fail(Some(id), &*error);
            }
        };
        let reply = self.reply_to(id);
        if !self.joined.contains(&publish.room) {
            return reply.fail(&RoomError::NotJoined);
        }
        // A joined room that is not live is being built again: the dropped reply says `UNAVAILABLE`.
        let Some(room) = self.shared.registry.live(publish.room) else { return };
        let arrived = Instant::now();
        room.publish(Publish {
            session: self.seat.id(),
            user,
            key: publish.key,
            after: publish.after,
            body,
            reply_to: publish.reply_to,
            deadline: arrived + self.shared.publish_timeout,
            arrived,
            reply,
        });
    }

    fn check_publish(&self, user: crate::domain::id::UserId, text: String) -> Result<MessageBody, Box<dyn Coded>> {
        if self.shared.roster.is_draining() {
            return Err(Box::new(RoomError::Unavailable));
        }
        self.shared.limiter.take(user).map_err(|error: RateLimited| Box::new(error) as Box<dyn Coded>)?;
        MessageBody::parse(text, self.shared.limits.body_chars).map_err(|error| Box::new(error) as Box<dyn Coded>)
    }

    fn history(&mut self, id: u64, history: v2::History, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else { return };
        let (shared, outbox, reply) = (Arc::clone(&self.shared), self.outbox.clone(), self.reply_to(id));
        let work = async move {
            outbox.has_room().await;
            match shared.registry.room(history.room).await {
                Ok(room) => room.history(user, history.window, history.limit, reply),
                Err(error) => reply.fail(&error),
            }
        };
        self.wait_for(ctx, work, |_, (), _| {});
    }

    // ---- time

    /// Sets the one timer to the next moment at which something is due.
    fn watch(&mut self, ctx: &mut WebsocketContext<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let due = self.check(ctx);
        if let Some(due) = due {
            let wait = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            self.timer = Some(ctx.run_later(wait, Self::watch));
        }
    }

    /// Does what is due, and says when to look again.
    fn check(&mut self, ctx: &mut WebsocketContext<Self>) -> Option<Instant> {
        if self.closing {
            return None;
        }
        let (now, times) = (Instant::now(), &self.shared.session);
        let silent = self.heard + times.timeout;
        if now >= silent {
            self.outbox.close(CloseCode::NoPong);
            return None;
        }
        let credential = match &self.identity {
            None => self.opened + self.shared.limits.auth_timeout,
            Some(identity) => now + until(self.shared.clock.now(), identity.expires_at.plus(times.token_grace)),
        };
        if now >= credential {
            let code =
                if self.identity.is_none() { CloseCode::NotAuthenticated } else { CloseCode::TokenExpired };
            self.outbox.close(code);
            return None;
        }
        let mut ping = self.heard.max(self.pinged) + times.heartbeat;
        if now >= ping {
            self.pinged = now;
            ctx.ping(b"");
            ping = now + times.heartbeat;
        }
        Some(ping.min(silent).min(credential))
    }
}

/// How long until `end`; zero when it has passed. Capped at a day: the wall clock may be turned.
fn until(now: Micros, end: Micros) -> Duration {
    let micros = end.0.saturating_sub(now.0).clamp(0, 86_400_000_000);
    Duration::from_micros(micros.unsigned_abs())
}

/// Joins a room; one that was let go of, or fell, in between is asked for again.
async fn join_room(registry: &Registry, event: EventId, join: Join) -> Result<(), Box<dyn Coded>> {
    let mut tries = 0;
    loop {
        let room = registry.room(event).await.map_err(|error| Box::new(error) as Box<dyn Coded>)?;
        tries += 1;
        match room.join(join.clone()).await {
            Err(RoomError::Unavailable) if tries < 3 && !room.is_alive() => {
                tokio::time::sleep(RoomError::RETRY).await;
            }
            outcome => return outcome.map_err(|error| Box::new(error) as Box<dyn Coded>),
        }
    }
}

impl Actor for Session {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(identity) = &self.identity {
            self.hello(None, identity);
        }
        let outbox = self.outbox.clone();
        let ended = async move { outbox.ended().await };
        ctx.spawn(ended.into_actor(self).map(|_, session, ctx| {
            session.closing = true;
            ctx.run_later(CLOSE_GRACE, |_, ctx| ctx.stop());
        }));
        self.watch(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        for room in self.joined.drain() {
            self.shared.registry.leave(room, self.seat.id());
        }
        self.outbox.close(CloseCode::Normal);
        let reason = self.outbox.closed().unwrap_or(CloseCode::Normal).reason();
        crate::metrics::session_closed(reason);
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Session {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        if self.closing {
            return;
        }
        self.heard = Instant::now();
        if self.identity.is_none() && message.as_ref().is_ok_and(|message| self.has_sent_too_much(message)) {
            return self.outbox.close(CloseCode::NotAuthenticated);
        }
        match message {
            Ok(ws::Message::Text(text)) => self.text(&text, ctx),
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Close(_)) => self.outbox.close(CloseCode::Normal),
            Ok(ws::Message::Binary(_)) => self.outbox.close(CloseCode::Broken),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            // Such a frame would also be more than it may send.
            Err(ProtocolError::Overflow) if self.identity.is_none() => {
                self.outbox.close(CloseCode::NotAuthenticated);
            }
            Err(ProtocolError::Overflow) => self.outbox.close(CloseCode::TooBig),
            Err(ProtocolError::Io(error)) if error.kind() == NOT_UTF8 => self.outbox.close(CloseCode::InvalidUtf8),
            Err(_) => self.outbox.close(CloseCode::Broken),
        }
    }

    fn finished(&mut self, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Session {
    /// Puts a fragmented text message together, within the limit of one frame.
    fn fragment(&mut self, item: Item, ctx: &mut WebsocketContext<Self>) {
        let (part, last) = match item {
            Item::FirstText(part) => {
                self.fragments = Some(BytesMut::new());
                (part, false)
            }
            Item::FirstBinary(_) => return self.outbox.close(CloseCode::Broken),
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(whole) = &mut self.fragments else { return self.outbox.close(CloseCode::Broken) };
        if whole.len() + part.len() > self.shared.limits.frame_bytes {
            return self.outbox.close(CloseCode::TooBig);
        }
        whole.extend_from_slice(&part);
        if last {
            let whole = self.fragments.take().unwrap_or_default();
            match std::str::from_utf8(&whole) {
                Ok(text) => self.text(text, ctx),
                Err(_) => self.outbox.close(CloseCode::InvalidUtf8),
            }
        }
    }
}
