//! One actor per live room: order is decided here and nowhere else.
//!
//! A command passes rights and limits, waits in the pending batch, is appended
//! to the log (one append in flight), and only then is told to the sessions and
//! acknowledged. What the log has not confirmed nobody sees.

mod abroad;
mod ahead;
mod error;
mod lively;
mod pages;
mod reply;
mod start;
mod state;
mod tail;
mod work;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

#[expect(clippy::disallowed_types, reason = "this file owns the actor")]
use actix::Addr;
use actix::{
    Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, Handler, Message,
    ResponseActFuture, WrapFuture as _,
};
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

pub use error::RoomError;
pub use pages::Page;
pub(crate) use reply::Refused;
pub use reply::ReplyTo;
pub(super) use state::Board;
pub(crate) use state::{Attached, Join, OutboxRef, Publish, Settings};

use self::abroad::Abroad;
use self::ahead::Ahead;
use self::lively::Company;
use self::state::{JoinStep, PageRange, Search, State};
use super::{
    bridge::Interest,
    heal::{HealError, Ports, append_until_known, salt},
    protocol::v2::Window,
    registry::Registry,
    roster::SessionId,
};
use crate::{
    domain::{
        entry::Entry,
        id::{EventId, UserId},
    },
    ports::{Appended, Topic},
};

/// Messages waiting for a room's actor. Full means: answer `UNAVAILABLE`, the client repeats.
const MAILBOX: usize = 1_024;

/// How often a room looks at its deadlines.
const TICK: Duration = Duration::from_millis(500);

/// Entries read from the log in one go.
const PAGE: usize = 500;

/// Facts loaded in one go.
const FACT_PAGE: usize = 200;

/// Searches for keys waiting in one room; more are answered `UNAVAILABLE`.
const MAX_SEARCHES: usize = 256;

/// The times a room lives by.
#[derive(Debug, Clone)]
pub(crate) struct Times {
    pub(crate) idle_after: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) answer: Duration,
}

/// How one talks to a live room. Clones talk to the same one.
#[derive(Clone)]
pub struct RoomHandle {
    #[expect(clippy::disallowed_types, reason = "this file owns the actor")]
    addr: Addr<Room>,
    generation: u64,
    answer: Duration,
    board: Arc<Mutex<Board>>,
}

impl RoomHandle {
    /// Loads the room of `event` and starts its actor on `arbiter`.
    pub(crate) async fn start(
        arbiter: &actix::ArbiterHandle,
        registry: Registry,
        ports: Ports,
        event: EventId,
        generation: u64,
        settings: &Settings,
        times: Times,
    ) -> Result<Self, HealError> {
        // First, so that nothing is missed from here on.
        let (feed, presences) = registry.company();
        let interest = feed.bridge().listen(Topic::room(event));
        let (mut state, appended) = start::prepare(&ports, event, settings).await?;
        if appended > 0 {
            feed.bridge().look(event);
        }
        // Before anybody else can get at the room: to its sessions it never was away.
        state.adopt(registry.take_survivors(event));
        if registry.take_fall(event) {
            feed.reset(state.everyone());
        }
        let company = Company::new(event, feed, presences);
        let board = state.board();
        let answer = times.answer;
        let addr = Room::start_in_arbiter(arbiter, move |ctx| {
            ctx.set_mailbox_capacity(MAILBOX);
            Room {
                state,
                ports,
                times,
                registry,
                event,
                generation,
                ended: false,
                loading: Loading::No,
                abroad: Abroad::default(),
                ahead: Ahead::default(),
                recording: Vec::new(),
                quieting: Vec::new(),
                searches: VecDeque::new(),
                searching: false,
                last_told: Instant::now(),
                busy_at: Instant::now(),
                company,
                _interest: interest,
            }
        });
        Ok(Self {
            addr,
            generation,
            answer,
            board,
        })
    }

    /// Which of the rooms that this node has started this is.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What can be looked up about the room without asking its actor.
    pub(super) fn board(&self) -> &Mutex<Board> {
        &self.board
    }

    /// Whether the actor lives.
    pub fn is_alive(&self) -> bool {
        self.addr.connected()
    }

    /// Attaches a session; when this returns `Ok`, its `joined` push is in its outbox.
    ///
    /// # Errors
    /// The user may not, or the room is not there (any more).
    pub(crate) async fn join(&self, join: Join) -> Result<(), RoomError> {
        self.ask(join).await.ok_or(RoomError::Unavailable)?
    }

    /// Detaches a session. A room too busy to hear of it notices the closed outbox.
    pub(crate) fn leave(&self, session: SessionId) {
        let _ = self.addr.try_send(Leave(session));
    }

    /// Detaches a session; when this returns `Ok`, nothing more comes to it from this room.
    ///
    /// # Errors
    /// The room is too busy, or not there (any more).
    pub(crate) async fn leave_for_sure(&self, session: SessionId) -> Result<(), RoomError> {
        self.ask(Leave(session)).await.ok_or(RoomError::Unavailable)
    }

    /// Hands a message over; the answer goes to its `reply`.
    pub(crate) fn publish(&self, publish: Publish) {
        self.tell(publish);
    }

    /// Asks for a page of the record; the answer goes to `reply`.
    pub(crate) fn history(&self, user: UserId, window: Window, limit: Option<usize>, reply: ReplyTo) {
        self.tell(ReadHistory {
            user,
            window,
            limit,
            reply,
        });
    }

    /// Returns once the fact `through` is in the log.
    ///
    /// # Errors
    /// Not within the time a publish may take.
    pub(crate) async fn record(&self, through: u64) -> Result<(), RoomError> {
        let (done, heard) = oneshot::channel();
        self.addr
            .try_send(Record { through, done })
            .map_err(|_| RoomError::Unavailable)?;
        timeout(self.answer, heard)
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or(RoomError::Unavailable)?
    }

    /// From when this returns the room shows `user` by this name; without one, by none ever
    /// again. A room that is too busy to hear of it goes on with the old one until it rests.
    pub(crate) async fn rename(&self, user: UserId, name: Option<String>) {
        let _ = self.ask(Rename { user, name }).await;
    }

    /// Returns once nothing in the room waits for the log.
    pub(crate) async fn quiet(&self) {
        let (done, heard) = oneshot::channel();
        if self.addr.try_send(Quiet { done }).is_ok() {
            let _ = heard.await;
        }
    }

    async fn ask<M>(&self, message: M) -> Option<M::Result>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Room: Handler<M>,
    {
        timeout(self.answer, self.addr.send(message)).await.ok()?.ok()
    }

    /// What is not taken is dropped, and its [`ReplyTo`] says so.
    fn tell<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Room: Handler<M>,
    {
        let _ = self.addr.try_send(message);
    }
}

/// Whether facts are being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loading {
    No,
    Yes,
    /// And once more, because somebody asked meanwhile.
    Again,
}

/// See the module.
struct Room {
    state: State,
    ports: Ports,
    times: Times,
    registry: Registry,
    event: EventId,
    generation: u64,
    /// Whether it stops because it was asked to.
    ended: bool,
    loading: Loading,
    abroad: Abroad,
    ahead: Ahead,
    recording: Vec<(u64, oneshot::Sender<Result<(), RoomError>>)>,
    quieting: Vec<oneshot::Sender<()>>,
    searches: VecDeque<Search>,
    searching: bool,
    last_told: Instant,
    busy_at: Instant,
    company: Company,
    /// What keeps the room's news coming from other nodes.
    _interest: Interest,
}

impl Room {
    /// Appends what waits, unless something is on its way.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.busy_at = Instant::now();
        self.attend(ctx);
        self.release(ctx);
        if self.abroad.catching_up {
            return;
        }
        if self.is_behind() && !self.state.is_appending() {
            return self.catch_up(false, ctx);
        }
        let Some((expected, entries)) = self.state.next_batch(self.ports.clock.now(), salt) else {
            self.settle_waiters();
            return;
        };
        let (ports, room) = (self.ports.clone(), self.state.event().room);
        let append = async move {
            let outcome = append_until_known(&ports, room, expected, &entries).await;
            (outcome, entries)
        };
        ctx.spawn(
            append
                .into_actor(self)
                .map(move |(outcome, entries), room, ctx| match outcome {
                    Some(Appended { taken, .. }) => room.appended(expected.seq, &entries, taken, ctx),
                    None => room.catch_up(true, ctx),
                }),
        );
    }

    fn appended(&mut self, after: u64, entries: &[Entry], taken: usize, ctx: &mut Context<Self>) {
        self.last_told = Instant::now();
        self.abroad.won();
        self.state.appended(taken, Instant::now());
        let entries = &entries[..taken.min(entries.len())];
        let room = self.state.event().room;
        self.company.bridge().entries(self.event, room, after, entries);
        self.mark_places(ctx);
        self.look_if_asked(ctx);
        self.pump(ctx);
    }

    /// Tells those who wait for facts, or for quiet, what has come true.
    fn settle_waiters(&mut self) {
        let known = self.state.tip().fact_no;
        for (_, done) in self
            .recording
            .extract_if(.., |(through, done)| *through <= known || done.is_closed())
        {
            let _ = done.send(Ok(()));
        }
        if self.state.is_quiet() && self.loading == Loading::No && self.marks_are_settled() {
            for done in self.quieting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if self.state.has_deadlines() {
            self.state.expire(now);
        }
        self.expire_searches(now);
        self.ahead.expire(now);
        self.state.prune();
        self.state.forget_typing(now);
        self.write_marks(ctx);
        self.attend(ctx);
        if now.duration_since(self.last_told) >= self.times.heartbeat {
            self.last_told = now;
            self.state.push_head();
        }
        self.look_if_asked(ctx);
        self.settle_waiters();
        let idle = self.state.session_count() == 0
            && self.state.is_quiet()
            && self.state.marks_are_written()
            && self.state.feed_due(now).is_none()
            && self.recording.is_empty();
        if !idle || self.loading != Loading::No || self.searching {
            self.busy_at = now;
        } else if now.duration_since(self.busy_at) >= self.times.idle_after
            && self.registry.let_go(self.event, self.generation)
        {
            crate::metrics::room_stopped("idle");
            ctx.stop();
        }
    }
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        crate::metrics::room_started();
        ctx.run_interval(TICK, Self::tick);
        self.attend(ctx);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        // An actor that panicked comes through here as well, while its thread unwinds.
        self.ended = !std::thread::panicking();
        actix::Running::Stop
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.ended {
            crate::metrics::room_stopped("panic");
            self.registry
                .died(self.event, self.generation, self.state.take_sessions());
        }
    }
}

impl Message for Join {
    type Result = Result<(), RoomError>;
}

impl Handler<Join> for Room {
    type Result = ResponseActFuture<Self, Result<(), RoomError>>;

    fn handle(&mut self, join: Join, ctx: &mut Self::Context) -> Self::Result {
        self.busy_at = Instant::now();
        if !self.may_lag(join.user, join.since.map_or(0, |since| since.seq)) {
            return self.join_now(join);
        }
        let (done, current) = oneshot::channel();
        let go = Box::new(move |_: &mut Self, _: &mut Self::Context| {
            let _ = done.send(());
        });
        self.when_current(join.user, Instant::now() + self.times.answer, go, ctx);
        Box::pin(current.into_actor(self).then(|current, room, _| match current {
            Ok(()) => room.join_now(join),
            Err(_) => Box::pin(actix::fut::err(RoomError::Unavailable)),
        }))
    }
}

impl Room {
    fn join_now(&mut self, join: Join) -> ResponseActFuture<Self, Result<(), RoomError>> {
        let step = self.state.join(&join, None);
        let (log, room) = (self.ports.log.clone(), self.state.event().room);
        let look = async move {
            match (step, join.since) {
                (Ok(JoinStep::NeedHash(seq)), Some(since)) => {
                    // Hash of the entry itself; of seq 0 that of the empty log.
                    let known = if seq == 0 {
                        Ok(crate::domain::chain::genesis(room) == since.hash)
                    } else {
                        log.read(room, seq, 1)
                            .await
                            .map(|page| page.first().is_some_and(|entry| entry.hash == since.hash))
                    };
                    known.map(|known| Some((join, known))).map_err(|error| {
                        let error: &dyn std::error::Error = &error;
                        tracing::warn!(error, "a position cannot be looked up");
                        RoomError::Unavailable
                    })
                }
                (step, _) => step.map(|_| None),
            }
        };
        Box::pin(look.into_actor(self).map(|looked, room, ctx| {
            let joined = match looked? {
                None => Ok(()),
                Some((join, known)) => room.state.join(&join, Some(known)).map(|_| ()),
            };
            room.attend(ctx);
            joined
        }))
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Leave(SessionId);

impl Handler<Leave> for Room {
    type Result = ();

    fn handle(&mut self, Leave(session): Leave, _: &mut Self::Context) {
        self.state.leave(session);
    }
}

impl Message for Publish {
    type Result = ();
}

impl Handler<Publish> for Room {
    type Result = ();

    fn handle(&mut self, publish: Publish, ctx: &mut Self::Context) {
        let (user, deadline) = (publish.user, publish.deadline);
        if !self.may_lag(user, publish.after) && !self.ahead.holds(user) {
            return self.publish_now(publish, ctx);
        }
        let go = Box::new(move |room: &mut Self, ctx: &mut Self::Context| room.publish_now(publish, ctx));
        self.when_current(user, deadline, go, ctx);
    }
}

impl Room {
    fn publish_now(&mut self, publish: Publish, ctx: &mut Context<Self>) {
        let search = self.state.publish(publish, 0);
        self.take(search, ctx);
        self.pump(ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct ReadHistory {
    user: UserId,
    window: Window,
    limit: Option<usize>,
    reply: ReplyTo,
}

impl Handler<ReadHistory> for Room {
    type Result = ();

    fn handle(&mut self, asked: ReadHistory, ctx: &mut Self::Context) {
        let user = asked.user;
        if !matches!(self.state.check_participant(user), Err(RoomError::Unknown)) {
            return self.read_history(asked, ctx);
        }
        let go = Box::new(move |room: &mut Self, ctx: &mut Self::Context| room.read_history(asked, ctx));
        self.when_current(user, Instant::now() + self.times.answer, go, ctx);
    }
}

impl Room {
    fn read_history(&mut self, asked: ReadHistory, ctx: &mut Context<Self>) {
        let ReadHistory {
            user,
            window,
            limit,
            reply,
        } = asked;
        self.busy_at = Instant::now();
        let range: PageRange = match self.state.page(user, window, limit) {
            Ok(range) => range,
            Err(error) => return reply.fail(&error),
        };
        if let Some(entries) = self.state.page_in_memory(range) {
            return self.state.answer_page(reply, &entries, range);
        }
        let (log, room, patience) = (self.ports.log.clone(), self.state.event().room, self.times.answer);
        let count = usize::try_from(range.to + 1 - range.from).unwrap_or(PAGE);
        let read = async move { timeout(patience, log.read(room, range.from, count)).await };
        ctx.spawn(read.into_actor(self).map(move |page, room, _| match page {
            Ok(Ok(entries)) => room.state.answer_page(reply, &entries, range),
            Ok(Err(error)) => {
                let cause: &dyn std::error::Error = &error;
                tracing::warn!(event.id = %room.event, error = cause, "a page of history cannot be read");
                reply.fail(&error);
            }
            Err(_) => reply.fail(&RoomError::Unavailable),
        }));
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Record {
    through: u64,
    done: oneshot::Sender<Result<(), RoomError>>,
}

impl Handler<Record> for Room {
    type Result = ();

    fn handle(&mut self, Record { through, done }: Record, ctx: &mut Self::Context) {
        self.busy_at = Instant::now();
        if through <= self.state.tip().fact_no {
            let _ = done.send(Ok(()));
            return;
        }
        self.recording.push((through, done));
        if through > self.state.last_known_fact() {
            self.load_facts(ctx);
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Rename {
    user: UserId,
    name: Option<String>,
}

impl Handler<Rename> for Room {
    type Result = ();

    fn handle(&mut self, Rename { user, name }: Rename, _: &mut Self::Context) {
        self.state.rename(user, name);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Quiet {
    done: oneshot::Sender<()>,
}

impl Handler<Quiet> for Room {
    type Result = ();

    fn handle(&mut self, Quiet { done }: Quiet, ctx: &mut Self::Context) {
        self.quieting.push(done);
        self.write_marks(ctx);
        self.pump(ctx);
    }
}
