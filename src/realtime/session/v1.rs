//! A session of version 1: one room, no replies, words in and chat messages out.
//!
//! The room attached it before the upgrade was answered. What its user says is
//! published one after the other, under keys that the server makes and keeps
//! while it tries again; the user sees it when it comes back like everybody
//! else's. Only a private note says that something was not sent.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt as _, AsyncContext as _, WrapFuture as _};
use actix_web_actors::ws::WebsocketContext;
use bytes::Bytes;
use uuid::Uuid;

use super::{Session, Shared, commands::QUEUE_BYTES};
use crate::{
    domain::id::{EventId, UserId},
    error::{Coded, ErrorCode},
    i18n::{self, Language},
    ports::RateLimited,
    realtime::{
        pages,
        protocol::{
            CloseCode,
            v1::{self, Incoming},
        },
        room::{Publish, Refused, ReplyTo, RoomError},
        told::Progress,
    },
};

/// The longest pause between two tries of the same message.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How often the room is told that the user is typing, however often the client says so.
const TYPING_PAUSE: Duration = Duration::from_secs(1);

/// What a session of version 1 has that one of version 2 has not.
pub(super) struct Bound {
    event: EventId,
    told: Progress,
    /// What was said and not handed to the room yet.
    queue: VecDeque<Said>,
    queue_bytes: usize,
    /// Whether the message before waits for the log.
    busy: bool,
    /// Whether the fragments that come now are a binary message's, which says nothing.
    in_binary: bool,
    /// When the room was last told that the user is typing.
    typed: Option<Instant>,
}

/// A message of the client's.
struct Said {
    body: Bytes,
    reply_to: Option<u64>,
}

impl Bound {
    pub(super) fn new(event: EventId, told: Progress) -> Self {
        Self {
            event,
            told,
            queue: VecDeque::new(),
            queue_bytes: 0,
            busy: false,
            in_binary: false,
            typed: None,
        }
    }

    /// A binary message comes in fragments.
    pub(super) fn begin_binary(&mut self) {
        self.in_binary = true;
    }

    /// A message in fragments is whole; whether it was a binary one.
    pub(super) fn end_binary(&mut self) -> bool {
        std::mem::take(&mut self.in_binary)
    }
}

impl Session {
    /// Takes in a text frame of a version 1 client.
    pub(super) fn hear_version_1(&mut self, text: &str, ctx: &mut WebsocketContext<Self>) {
        match v1::decode(text) {
            Some(Incoming::Message { text, reply_to }) => {
                let Some(bound) = &self.bound else { return };
                let reply_to = reply_to.filter(|id| id.event == bound.event).map(|id| id.seq);
                self.say(text, reply_to, ctx);
            }
            Some(Incoming::Typing) => self.tell_typing(),
            // Nobody waits to hear that junk is junk.
            None => {}
        }
    }

    fn tell_typing(&mut self) {
        let now = Instant::now();
        if let (Some(identity), Some(bound)) = (&self.identity, &mut self.bound)
            && bound
                .typed
                .is_none_or(|typed| now.duration_since(typed) >= TYPING_PAUSE)
            && let Some(room) = self.shared.registry.live(bound.event)
        {
            bound.typed = Some(now);
            room.typing(identity.user, None);
        }
    }

    /// Leaves the room. A client that closed by itself was in the conversation until then:
    /// its user has read what it was told.
    ///
    /// What it said before that and what still waits for its turn is published all the same.
    pub(super) fn leave_version_1(&mut self) {
        let may_go_on = self.may_publish();
        let (Some(identity), Some(bound)) = (&self.identity, &mut self.bound) else {
            return;
        };
        let registry = &self.shared.registry;
        if self.outbox.closed() == Some(CloseCode::Normal) {
            pages::read_up_to(registry, bound.event, identity.user, bound.told.seq());
        }
        registry.leave(bound.event, self.seat.id());
        let rest = std::mem::take(&mut bound.queue);
        if may_go_on && !rest.is_empty() {
            let (shared, user, event) = (Arc::clone(&self.shared), identity.user, bound.event);
            let (after, language) = (bound.told.seq(), self.language);
            registry.go_on(async move {
                for said in rest {
                    let publishing = Publishing {
                        shared: Arc::clone(&shared),
                        user,
                        event,
                        after,
                        language,
                        said,
                    };
                    // Behind one that may yet come into the log nothing else may come first.
                    if publish(publishing).await.is_err() {
                        break;
                    }
                }
            });
        }
    }

    /// Whether what the client has said is to be published: also when it has gone by itself.
    fn may_publish(&self) -> bool {
        let is_here = matches!(self.outbox.closed(), None | Some(CloseCode::Normal));
        is_here && !std::thread::panicking()
    }

    fn say(&mut self, text: String, reply_to: Option<u64>, ctx: &mut WebsocketContext<Self>) {
        let Some(user) = self.identity.as_ref().map(|identity| identity.user) else {
            return;
        };
        let body = match self.check_publish(user, text) {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                crate::metrics::publish_refused(error.code());
                return self.note(&Refused::new(self.language, &*error));
            }
        };
        let limit = self.shared.limits.commands_in_flight;
        let Some(bound) = &mut self.bound else { return };
        if bound.queue.len() >= limit || bound.queue_bytes + body.len() > QUEUE_BYTES {
            let busy = RateLimited {
                retry_after: MAX_PAUSE,
            };
            crate::metrics::publish_refused(busy.code());
            return self.note(&Refused::new(self.language, &busy));
        }
        bound.queue_bytes += body.len();
        bound.queue.push_back(Said { body, reply_to });
        self.publish_next(ctx);
    }

    /// Publishes what was said first; one at a time, so that nothing overtakes what is tried again.
    fn publish_next(&mut self, ctx: &mut WebsocketContext<Self>) {
        let (language, may_go_on) = (self.language, self.may_publish());
        let (Some(identity), Some(bound)) = (&self.identity, &mut self.bound) else {
            return;
        };
        if bound.busy || !may_go_on {
            return;
        }
        let Some(said) = bound.queue.pop_front() else {
            return;
        };
        bound.queue_bytes -= said.body.len();
        bound.busy = true;
        let work = publish(Publishing {
            shared: Arc::clone(&self.shared),
            user: identity.user,
            event: bound.event,
            // Told to somebody, so it is in the log, and the key is made after that.
            after: bound.told.seq(),
            language,
            said,
        });
        ctx.spawn(work.into_actor(self).map(|outcome, session, ctx| {
            if let Err(refused) = outcome {
                session.note(&refused);
            }
            if let Some(bound) = &mut session.bound {
                bound.busy = false;
            }
            session.publish_next(ctx);
        }));
    }

    /// Tells the client alone that something was not sent; it is in no record.
    fn note(&self, refused: &Refused) {
        let Some(bound) = &self.bound else { return };
        let text = if refused.code == ErrorCode::Unavailable {
            i18n::text(self.language, "message-unconfirmed", &[])
        } else {
            i18n::text(
                self.language,
                "message-refused",
                &[("reason", (&refused.text).into())],
            )
        };
        self.push(v1::note_frame(bound.event, &text, self.shared.clock.now()));
    }
}

struct Publishing {
    shared: Arc<Shared>,
    user: UserId,
    event: EventId,
    after: u64,
    language: Language,
    said: Said,
}

/// Publishes a message under a new key, and tries again with the same one for as long as a
/// publish may take. `UNAVAILABLE` in the end: nobody knows whether it is or will be in the log.
async fn publish(publishing: Publishing) -> Result<(), Refused> {
    let Publishing {
        shared,
        user,
        event,
        after,
        language,
        said: Said { body, mut reply_to },
    } = publishing;
    let (key, arrived) = (Uuid::new_v4(), Instant::now());
    let deadline = arrived + shared.publish_timeout;
    let mut pause = RoomError::RETRY;
    loop {
        let outcome = match shared.registry.room_for(event, user).await {
            Err(error) => Err(Refused::new(language, &error)),
            Ok(room) => {
                let (reply, outcome) = ReplyTo::to_session(language);
                room.publish(Publish {
                    session: None,
                    user,
                    key,
                    after,
                    body: body.clone(),
                    reply_to,
                    deadline,
                    arrived,
                    reply,
                });
                let lost = || Err(Refused::new(language, &RoomError::Unavailable));
                outcome.await.unwrap_or_else(|_| lost())
            }
        };
        match outcome {
            // Nothing was stored, so the key is free: the words matter more than what they answer.
            Err(refused) if refused.code == ErrorCode::ValidationError && reply_to.is_some() => {
                reply_to = None;
            }
            Err(refused) if refused.code == ErrorCode::Unavailable && Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            outcome => return outcome,
        }
    }
}
