//! What a client may ask of its session, in the order it asks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt as _, AsyncContext as _, WrapFuture as _};
use actix_web_actors::ws::WebsocketContext;
use serde_json::Value;

use super::{Session, stands};
use crate::{
    domain::{
        id::{EventId, UserId},
        message::MessageBody,
    },
    error::{Coded, ErrorCode},
    ports::RateLimited,
    realtime::{
        protocol::{
            CloseCode,
            v2::{self, Command},
        },
        registry::Registry,
        room::{Join, OutboxRef, Publish, RoomError},
    },
};

/// The least between two `typing` frames without an id that a socket's rooms hear of.
const TYPING_PAUSE: Duration = Duration::from_millis(200);

/// Rooms started at the same time for one join.
const PARALLEL_STARTS: usize = 8;

/// Bytes of the commands that may wait behind one that waits for something.
pub(super) const QUEUE_BYTES: usize = 1024 * 1024;

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

impl Session {
    /// Takes a command in that came in a frame of `bytes`.
    pub(super) fn accept(
        &mut self,
        id: u64,
        command: Command,
        bytes: usize,
        ctx: &mut WebsocketContext<Self>,
    ) {
        if self.queue.len() >= self.shared.limits.commands_in_flight
            || self.queue_bytes + bytes > QUEUE_BYTES.max(self.shared.limits.frame_bytes)
        {
            return self.fail(Some(id), &Refusal::Busy);
        }
        self.queue_bytes += bytes;
        self.queue.push_back((id, command, bytes));
        self.work(ctx);
    }

    /// Works through the commands in their order; one that has to wait holds up those behind it.
    fn work(&mut self, ctx: &mut WebsocketContext<Self>) {
        while !self.waiting
            && !self.closing
            && let Some((id, command, bytes)) = self.queue.pop_front()
        {
            self.queue_bytes -= bytes;
            match command {
                Command::Auth { access_token } => self.authenticate(id, access_token, ctx),
                _ if self.identity.is_none() => self.fail(Some(id), &Refusal::NotAuthenticated),
                Command::Join(join) => self.join(id, join, ctx),
                Command::Leave { rooms } => self.leave(id, rooms, ctx),
                Command::Publish(publish) => self.publish(id, publish, ctx),
                Command::History(history) => self.history(id, history, ctx),
                Command::Read(read) => self.read(id, read, ctx),
                Command::Typing { room } => self.typing(Some(id), room, ctx),
                Command::Presence { room } => self.presence(id, room, ctx),
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
        let work = async move { sign_ins.identify(&access_token).await };
        self.wait_for(ctx, work, move |session, outcome, ctx| match outcome {
            Err(error) => session.fail(Some(id), &*error),
            Ok(identity) => {
                if session
                    .identity
                    .as_ref()
                    .is_some_and(|known| known.user != identity.user)
                {
                    return session.fail(Some(id), &Refusal::OtherUser);
                }
                if let Err(error) = session.seat.authenticate(identity.user, identity.sign_in) {
                    session.fail(Some(id), &error);
                    return session.outbox.close(CloseCode::TooManySockets);
                }
                if std::mem::replace(&mut session.language, identity.language) != identity.language {
                    session.speak();
                }
                session.hello(Some(id), &identity);
                session.seat.listen(identity.language);
                let (sign_ins, sign_in) = (Arc::clone(&session.shared.sign_ins), identity.sign_in);
                let outbox = session.outbox.clone();
                let look = async move {
                    if !stands(&*sign_ins, sign_in).await {
                        outbox.close(CloseCode::Revoked);
                    }
                };
                ctx.spawn(look.into_actor(session));
                session.identity = Some(identity);
                session.frame_limit.set(session.shared.limits.frame_bytes);
                session.watch(ctx);
            }
        });
    }

    fn join(&mut self, id: u64, join: v2::Join, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        let limit = self.shared.limits.rooms_per_socket;
        let new = join
            .rooms
            .iter()
            .filter(|wanted| !self.joined.contains(&wanted.room))
            .count();
        if self.joined.len() + new > limit {
            return self.fail(Some(id), &Refusal::TooManyRooms(limit));
        }
        let (shared, outbox) = (Arc::clone(&self.shared), self.outbox.clone());
        let (session, language) = (self.seat.id(), self.language);
        let work = async move {
            let mut outcomes: Vec<(EventId, Option<Value>)> = Vec::with_capacity(join.rooms.len());
            for wanted in join.rooms.chunks(PARALLEL_STARTS) {
                let starts = wanted
                    .iter()
                    .map(|wanted| shared.registry.room_for(wanted.room, user));
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
                        told: None,
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

    fn leave(&mut self, id: u64, rooms: Vec<EventId>, ctx: &mut WebsocketContext<Self>) {
        let (shared, session) = (Arc::clone(&self.shared), self.seat.id());
        let work = async move {
            let leaves = rooms.iter().map(async |room| {
                let left = shared.registry.leave_for_sure(*room, session).await;
                (*room, left)
            });
            futures_util::future::join_all(leaves).await
        };
        self.wait_for(ctx, work, move |session, outcomes, _| {
            let mut failed = None;
            for (room, left) in outcomes {
                match left {
                    Ok(()) => {
                        session.joined.remove(&room);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                None => session.push(v2::leave_reply(id)),
                Some(error) => session.fail(Some(id), &error),
            }
        });
    }

    fn publish(&mut self, id: u64, publish: v2::Publish, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
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
        let Some(room) = self.shared.registry.live(publish.room) else {
            // It is being built again, or was let go of after this socket had been put out of
            // it. The dropped reply says `UNAVAILABLE`; the live room will tell the repetition.
            let (shared, event) = (Arc::clone(&self.shared), publish.room);
            let start = async move { shared.registry.room(event).await.map(|_| ()) };
            ctx.spawn(start.into_actor(self).map(|_, _, _| ()));
            return;
        };
        let arrived = Instant::now();
        room.publish(Publish {
            session: Some(self.seat.id()),
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

    pub(super) fn check_publish(&self, user: UserId, text: String) -> Result<MessageBody, Box<dyn Coded>> {
        if self.shared.roster.is_draining() {
            return Err(Box::new(RoomError::Unavailable));
        }
        self.shared
            .limiter
            .take(user)
            .map_err(|error: RateLimited| Box::new(error) as Box<dyn Coded>)?;
        MessageBody::parse(text, self.shared.limits.body_chars)
            .map_err(|error| Box::new(error) as Box<dyn Coded>)
    }

    fn history(&mut self, id: u64, asked: v2::History, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        let (shared, outbox, mut reply) = (Arc::clone(&self.shared), self.outbox.clone(), self.reply_to(id));
        let answered = reply.answered();
        let work = async move {
            outbox.has_room().await;
            match shared.registry.room_for(asked.room, user).await {
                Ok(room) => room.history(user, asked.window, asked.limit, reply),
                Err(error) => reply.fail(&error),
            }
            // One page of a socket at a time: many at once would overflow its own outbox and
            // take the log's few readers from everybody else.
            answered.await;
        };
        self.wait_for(ctx, work, |_, (), _| {});
    }
}

impl Session {
    fn read(&mut self, id: u64, read: v2::Read, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        let (session, reply) = (self.seat.id(), self.reply_to(id));
        if let Some(room) = self.shared.registry.live(read.room) {
            return room.read(user, session, read.seq, reply);
        }
        let shared = Arc::clone(&self.shared);
        let work = async move {
            match shared.registry.room_for(read.room, user).await {
                Ok(room) => room.read(user, session, read.seq, reply),
                Err(error) => reply.fail(&error),
            }
        };
        self.wait_for(ctx, work, |_, (), _| {});
    }

    /// Takes in that the client's user is writing; without an `id` not even a refusal is told.
    pub(super) fn typing(&mut self, id: Option<u64>, room: EventId, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        // A room's mailbox is everybody's: one client's keys must not fill it.
        let Some(id) = id else {
            if self.typed.is_none_or(|at| at.elapsed() >= TYPING_PAUSE) {
                self.typed = Some(Instant::now());
                if let Some(room) = self.shared.registry.live(room) {
                    room.typing(user, None);
                }
            }
            return;
        };
        if let Err(error) = self.shared.limiter.take(user) {
            return self.fail(Some(id), &error);
        }
        let reply = self.reply_to(id);
        if let Some(room) = self.shared.registry.live(room) {
            return room.typing(user, Some(reply));
        }
        // In a room that is not live nobody listens: only who asks for it is answered.
        let shared = Arc::clone(&self.shared);
        let work = async move {
            match shared.registry.room_for(room, user).await {
                Ok(room) => room.typing(user, Some(reply)),
                Err(error) => reply.fail(&error),
            }
        };
        self.wait_for(ctx, work, |_, (), _| {});
    }

    fn presence(&mut self, id: u64, event: EventId, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        let (shared, outbox, reply) = (Arc::clone(&self.shared), self.outbox.clone(), self.reply_to(id));
        let work = async move {
            outbox.has_room().await;
            let company = async {
                let room = shared.registry.room_for(event, user).await;
                let room = room.map_err(|error| Box::new(error) as Box<dyn Coded>)?;
                let company = room.company_of(user).await;
                company.map_err(|error| Box::new(error) as Box<dyn Coded>)
            };
            match company.await {
                Ok(users) => {
                    let here = shared.registry.presences().of(&users).await;
                    let frame = v2::presence_reply(reply.id(), event, &here);
                    reply.send(frame);
                }
                Err(error) => reply.fail(&*error),
            }
        };
        self.wait_for(ctx, work, |_, (), _| {});
    }

    /// The rooms joined so far tell this session texts in its language of now.
    fn speak(&self) {
        for event in &self.joined {
            if let Some(room) = self.shared.registry.live(*event) {
                room.speak(self.seat.id(), self.language);
            }
        }
    }
}

/// Joins a room; one that was let go of, or fell, in between is asked for again.
pub(in crate::realtime) async fn join_room(
    registry: &Registry,
    event: EventId,
    join: Join,
) -> Result<(), Box<dyn Coded>> {
    let mut tries = 0;
    loop {
        let room = registry
            .room_for(event, join.user)
            .await
            .map_err(|error| Box::new(error) as Box<dyn Coded>)?;
        tries += 1;
        match room.join(join.clone()).await {
            Err(RoomError::Unavailable) if tries < 3 && !room.is_alive() => {
                tokio::time::sleep(RoomError::RETRY).await;
            }
            outcome => return outcome.map_err(|error| Box::new(error) as Box<dyn Coded>),
        }
    }
}
