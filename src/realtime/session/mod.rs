//! One actor per WebSocket: authenticates, parses, limits, and talks to rooms.
//!
//! The actor only reads; whatever is told to the socket goes through its
//! [`Outbox`]. A client that stops reading therefore never stops its own actor.
//!
//! - `socket`: the socket's bytes into frames, the outbox's into bytes.
//! - `commands`: what a client may ask.
//! - `deadlines`: what becomes due meanwhile.
//! - `v1`: what of that is different for a client of version 1.

mod commands;
mod deadlines;
mod socket;
mod v1;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, SpawnHandle, StreamHandler,
    WrapFuture as _,
};
use actix_http::ws::Item;
use actix_web_actors::ws::{self, ProtocolError, WebsocketContext};
use bytes::{Bytes, BytesMut};
use serde_json::json;
use uuid::Uuid;

pub(super) use commands::join_room;
pub(super) use socket::run;

use self::{
    socket::{FrameLimit, NOT_UTF8},
    v1::Bound,
};
use super::{
    limiter::PublishLimiter,
    outbox::Outbox,
    protocol::{
        CloseCode,
        v2::{self, Command, HelloLimits},
    },
    registry::Registry,
    room::ReplyTo,
    roster::{Roster, Seat},
    told::Progress,
};
use crate::{
    config,
    domain::{id::EventId, time::Clock},
    error::Coded,
    i18n::Language,
    ports::{Identity, SignIns},
};

/// How long a closed socket may take to hear of it before it is cut.
const CLOSE_GRACE: Duration = Duration::from_secs(3);

/// The least that a client's frame has around its payload, in bytes.
const FRAME_OVERHEAD: usize = 6;

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

/// What an upgrade hands over to its session.
pub(super) struct Opened {
    /// Who it is, where the upgrade said so.
    pub(super) identity: Option<Identity>,
    /// Language of texts until the user's own is known; of version 1 for good.
    pub(super) language: Language,
    /// The only way to the socket.
    pub(super) outbox: Outbox,
    /// The socket's place in the roster.
    pub(super) seat: Seat,
    /// Of version 1: the one room, which has attached the session already.
    pub(super) bound: Option<(EventId, Progress)>,
}

/// See the module.
struct Session {
    shared: Arc<Shared>,
    seat: Seat,
    outbox: Outbox,
    identity: Option<Identity>,
    /// Language of texts until the user's own is known.
    language: Language,
    joined: HashSet<EventId>,
    /// Commands behind one that waits for something.
    queue: VecDeque<(u64, Command, usize)>,
    /// Bytes of the frames they came in, the third of each.
    queue_bytes: usize,
    waiting: bool,
    /// The one room of a client of version 1.
    bound: Option<Bound>,
    /// The parts of a fragmented text message.
    fragments: Option<BytesMut>,
    bytes_before_auth: usize,
    frame_limit: FrameLimit,
    opened: Instant,
    heard: Instant,
    pinged: Instant,
    /// When it last told that its user types.
    typed: Option<Instant>,
    closing: bool,
    timer: Option<SpawnHandle>,
}

/// Whether `sign_in` stands, to be asked once its socket is in the roster: revoked between the
/// look at its token and that, nobody found the socket to close it.
///
/// What cannot be found out now is left to whoever looks at all sockets now and then.
pub(super) async fn stands(sign_ins: &dyn SignIns, sign_in: Uuid) -> bool {
    let revoked = sign_ins.revoked(&[sign_in]).await;
    !revoked.is_ok_and(|revoked| revoked.contains(&sign_in))
}

impl Session {
    fn new(shared: Arc<Shared>, opened: Opened, frame_limit: FrameLimit) -> Self {
        let Opened {
            identity,
            language,
            outbox,
            seat,
            bound,
        } = opened;
        let now = Instant::now();
        let own = identity.as_ref().filter(|_| bound.is_none());
        Self {
            shared,
            seat,
            outbox,
            language: own.map_or(language, |identity| identity.language),
            identity,
            bound: bound.map(|(event, told)| Bound::new(event, told)),
            joined: HashSet::new(),
            queue: VecDeque::new(),
            queue_bytes: 0,
            waiting: false,
            fragments: None,
            bytes_before_auth: 0,
            frame_limit,
            opened: now,
            heard: now,
            pinged: now,
            typed: None,
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
        if self.bound.is_some() {
            return self.hear_version_1(text, ctx);
        }
        let decoded = v2::decode(text);
        match (decoded.id, decoded.command) {
            (Some(id), Ok(command)) => self.accept(id, command, text.len(), ctx),
            (id, Err(error)) => self.fail(id, &error),
            // Commands without an id are not queued: nobody waits for them.
            (None, Ok(Command::Typing { room })) => self.typing(None, room, ctx),
            (None, Ok(_)) => {}
        }
    }
}

impl Actor for Session {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(identity) = self.identity.as_ref().filter(|_| self.bound.is_none()) {
            self.hello(None, identity);
            self.seat.listen(identity.language);
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
        self.leave_version_1();
        for room in self.joined.drain() {
            self.shared.registry.leave(room, self.seat.id());
        }
        // A session that panicked comes through here as well, while its thread unwinds.
        self.outbox.close(if std::thread::panicking() {
            CloseCode::Internal
        } else {
            CloseCode::Normal
        });
        let reason = self.outbox.closed().unwrap_or(CloseCode::Normal).reason();
        crate::metrics::session_closed(reason);
    }
}

impl StreamHandler<Result<ws::Message, ProtocolError>> for Session {
    fn handle(&mut self, message: Result<ws::Message, ProtocolError>, ctx: &mut Self::Context) {
        // A frame that was ready in the moment of the close is behind it all the same.
        if self.closing || self.outbox.closed().is_some() {
            return;
        }
        self.heard = Instant::now();
        if self.identity.is_none()
            && message
                .as_ref()
                .is_ok_and(|message| self.has_sent_too_much(message))
        {
            return self.outbox.close(CloseCode::NotAuthenticated);
        }
        match message {
            Ok(ws::Message::Text(text)) => self.text(&text, ctx),
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(ws::Message::Close(_)) => self.outbox.close(CloseCode::Normal),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Binary(_)) if self.bound.is_some() => {}
            // Such a frame would also be more than it may send.
            Err(ProtocolError::Overflow) if self.identity.is_none() => {
                self.outbox.close(CloseCode::NotAuthenticated);
            }
            Err(ProtocolError::Overflow) => self.outbox.close(CloseCode::TooBig),
            Err(ProtocolError::Io(error)) if error.kind() == NOT_UTF8 => {
                self.outbox.close(CloseCode::InvalidUtf8);
            }
            Ok(ws::Message::Binary(_)) | Err(_) => self.outbox.close(CloseCode::Broken),
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
            Item::FirstBinary(part) => {
                let Some(bound) = &mut self.bound else {
                    return self.outbox.close(CloseCode::Broken);
                };
                bound.begin_binary();
                self.fragments = Some(BytesMut::new());
                (part, false)
            }
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(whole) = &mut self.fragments else {
            return self.outbox.close(CloseCode::Broken);
        };
        if whole.len() + part.len() > self.shared.limits.frame_bytes {
            return self.outbox.close(CloseCode::TooBig);
        }
        whole.extend_from_slice(&part);
        if last {
            let whole = self.fragments.take().unwrap_or_default();
            if self.bound.as_mut().is_some_and(Bound::end_binary) {
                return;
            }
            match std::str::from_utf8(&whole) {
                Ok(text) => self.text(text, ctx),
                Err(_) => self.outbox.close(CloseCode::InvalidUtf8),
            }
        }
    }
}
