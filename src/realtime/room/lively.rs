//! What a room does for people beside its record: feeds, read marks, typing, presence.

use std::{
    mem,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use tokio::time::timeout;

use super::{ReplyTo, Room, RoomError, RoomHandle, TICK, state::Read};
use crate::{
    domain::id::{EventId, UserId},
    i18n::Language,
    ports::SourceError,
    realtime::{bridge::Bridge, feed::Feed, presence::Presences, protocol::v2::Here, roster::SessionId},
};

/// The least time between two writings of marks: what is read meanwhile is written together.
const MARKS_PAUSE: Duration = Duration::from_millis(100);

/// What a room does for people beside its record, and when.
pub(super) struct Company {
    event: EventId,
    feed: Feed,
    presences: Presences,
    /// Whose coming and going the room hears of, and as of which circle.
    watching: Vec<UserId>,
    watched: Option<(bool, u64)>,
    /// Whether a moment is set at which the feeds are told.
    feed_is_set: bool,
    /// Whether a moment is set at which marks are written.
    marks_are_set: bool,
    marks_at: Option<Instant>,
    /// Whether the last writing of marks failed.
    marks_failed: bool,
}

impl Company {
    pub(super) fn new(event: EventId, feed: Feed, presences: Presences) -> Self {
        Self {
            event,
            feed,
            presences,
            watching: Vec::new(),
            watched: None,
            feed_is_set: false,
            marks_are_set: false,
            marks_at: None,
            marks_failed: false,
        }
    }
}

impl Company {
    /// The other nodes.
    pub(super) fn bridge(&self) -> &Bridge {
        self.feed.bridge()
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.presences.unwatch(self.event, &self.watching);
    }
}

impl Room {
    /// Does for people whatever has become due.
    pub(super) fn attend(&mut self, ctx: &mut Context<Self>) {
        self.tell_feeds(ctx);
        if self.state.readers_wait() {
            self.write_marks(ctx);
        }
        self.watch_company();
    }

    fn tell_feeds(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(due) = self.state.feed_due(now) else {
            return;
        };
        if due <= now {
            let feed = &self.company.feed;
            let news = self.state.take_news(now, |user| feed.is_heard_by(user));
            feed.tell(&news);
        } else if !mem::replace(&mut self.company.feed_is_set, true) {
            ctx.run_later(due - now, |room, ctx| {
                room.company.feed_is_set = false;
                room.tell_feeds(ctx);
            });
        }
    }

    /// Hears from now on of the coming and going of those whom the room's sockets are told of.
    fn watch_company(&mut self) {
        let wanted = self.state.watch_key();
        if self.company.watched != Some(wanted) {
            self.company.watched = Some(wanted);
            let users = self.state.watched();
            let company = &mut self.company;
            company.presences.unwatch(self.event, &company.watching);
            company.presences.watch(self.event, &users);
            company.watching = users;
        }
    }

    /// Whether no mark waits for the store, or the store does not take any.
    pub(super) fn marks_are_settled(&self) -> bool {
        self.state.marks_are_written() || self.company.marks_failed
    }

    /// Writes down the marks that moved, at once or after a short pause.
    pub(super) fn write_marks(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let pause = if self.company.marks_failed {
            TICK
        } else {
            MARKS_PAUSE
        };
        let due = self.company.marks_at.map_or(now, |at| at + pause);
        if due > now {
            if !mem::replace(&mut self.company.marks_are_set, true) {
                ctx.run_later(due - now, |room, ctx| {
                    room.company.marks_are_set = false;
                    room.write_marks(ctx);
                });
            }
            return;
        }
        let Some(marks) = self.state.next_marks() else {
            return;
        };
        self.company.marks_at = Some(now);
        let (facts, event, patience) = (self.ports.facts.clone(), self.event, self.times.answer);
        let write = async move {
            let written = timeout(patience, facts.mark_read(event, &marks)).await;
            written.unwrap_or_else(|late| Err(SourceError::Unavailable(Box::new(late))))
        };
        ctx.spawn(write.into_actor(self).map(|outcome, room, ctx| {
            let failed = outcome.is_err();
            if let Err(error) = &outcome
                && !room.company.marks_failed
            {
                let error: &dyn std::error::Error = error;
                tracing::warn!(event.id = %room.event, error, "read marks cannot be written, trying again");
            }
            room.company.marks_failed = failed;
            room.state.marks_written(failed, &room.company.feed);
            room.settle_waiters();
            if !failed {
                room.attend(ctx);
            }
        }));
    }
}

impl RoomHandle {
    /// Takes in that the record was read up to `seq`; the answer goes to `reply`, once that is
    /// written down.
    pub(crate) fn read(&self, user: UserId, session: SessionId, seq: u64, reply: ReplyTo) {
        self.tell(Read {
            user,
            session: Some(session),
            seq,
            reply: Some(reply),
        });
    }

    /// Takes in that the record was read up to `seq`, or to its head if that is less, if the
    /// user takes part. Nobody is answered.
    pub(crate) fn read_up_to(&self, user: UserId, seq: u64) {
        self.tell(Read {
            user,
            session: None,
            seq,
            reply: None,
        });
    }

    /// Tells the others that `user` is writing. Only a refusal goes to the `reply`, if there is one.
    pub(crate) fn typing(&self, user: UserId, reply: Option<ReplyTo>) {
        self.tell(Typing { user, reply });
    }

    /// The first 200 who take part, for one of them.
    ///
    /// # Errors
    /// The user may not, or the room is not there (any more).
    pub(crate) async fn company_of(&self, user: UserId) -> Result<Vec<UserId>, RoomError> {
        self.ask(CompanyOf(user)).await.ok_or(RoomError::Unavailable)?
    }

    /// Tells the room's sockets that somebody came or went.
    pub(crate) fn tell_presence(&self, here: Here) {
        self.tell(TellPresence(here));
    }

    /// A session reads texts in another language from now on.
    pub(crate) fn speak(&self, session: SessionId, language: Language) {
        self.tell(Speak { session, language });
    }
}

impl Message for Read {
    type Result = ();
}

impl Handler<Read> for Room {
    type Result = ();

    fn handle(&mut self, read: Read, ctx: &mut Self::Context) {
        let Some(read) = self.state.read(read, None, self.ports.clock.now()) else {
            return self.attend(ctx);
        };
        let (log, room, patience) = (self.ports.log.clone(), self.state.event().room, self.times.answer);
        let look = async move {
            let page = timeout(patience, log.read(room, read.seq, 1)).await;
            let entry = page
                .ok()
                .and_then(Result::ok)
                .and_then(|page| page.into_iter().next());
            (read, entry)
        };
        ctx.spawn(look.into_actor(self).map(|(read, entry), room, ctx| {
            let now = room.ports.clock.now();
            // Without the entry the log is away: the dropped reply says so.
            drop(room.state.read(read, entry.as_ref(), now));
            room.attend(ctx);
        }));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Typing {
    user: UserId,
    reply: Option<ReplyTo>,
}

impl Handler<Typing> for Room {
    type Result = ();

    fn handle(&mut self, Typing { user, reply }: Typing, _: &mut Self::Context) {
        let typing = self.state.typing(user, Instant::now(), self.ports.clock.now());
        if let Ok(true) = typing {
            self.company.bridge().typing(self.event, user);
        }
        let Some(reply) = reply else { return };
        match typing {
            Ok(_) => reply.nothing(),
            Err(error) => reply.fail(&error),
        }
    }
}

#[derive(Message)]
#[rtype(result = "Result<Vec<UserId>, RoomError>")]
struct CompanyOf(UserId);

impl Handler<CompanyOf> for Room {
    type Result = Result<Vec<UserId>, RoomError>;

    fn handle(&mut self, CompanyOf(user): CompanyOf, _: &mut Self::Context) -> Self::Result {
        self.state.company_of(user)
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct TellPresence(Here);

impl Handler<TellPresence> for Room {
    type Result = ();

    fn handle(&mut self, TellPresence(here): TellPresence, _: &mut Self::Context) {
        self.state.tell_presence(here);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Speak {
    session: SessionId,
    language: Language,
}

impl Handler<Speak> for Room {
    type Result = ();

    fn handle(&mut self, Speak { session, language }: Speak, _: &mut Self::Context) {
        self.state.speak(session, language);
    }
}
