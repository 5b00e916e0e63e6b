//! Finds, starts, rebuilds and lets go of the rooms of this node.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{runtime, sync::watch, time::timeout};

use super::{
    bridge::Hint,
    feed::Feed,
    heal::{self, HealError, Healed, Ports},
    presence::Presences,
    room::{Attached, RoomError, RoomHandle, Settings, Times},
    roster::SessionId,
    told::Told,
};
use crate::{
    config,
    domain::{
        id::{EventId, UserId},
        time::Clock,
    },
    error::{Coded, ErrorCode},
    ports::{FactSource, RoomLog, SourceError},
};

/// How long one start may take; those who wait for it are told `UNAVAILABLE` then.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest pause before a room that keeps failing is built again.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Rooms told of another name at the same time.
const RENAMES_AT_ONCE: usize = 64;

/// The rooms of this node. Clones share them.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    ports: Ports,
    settings: Settings,
    times: Times,
    arbiters: Vec<actix::ArbiterHandle>,
    background: runtime::Handle,
    closed: AtomicBool,
    generation: AtomicU64,
    book: Mutex<Book>,
    told: Told,
    feed: Feed,
    presences: Presences,
}

#[derive(Default)]
struct Book {
    slots: HashMap<EventId, Slot>,
    /// Rooms that panicked lately: how often in a row, and when last.
    falls: HashMap<EventId, (u32, Instant)>,
    /// Sessions of rooms that panicked, until the next room of the event takes them.
    survivors: HashMap<EventId, Vec<(SessionId, Attached)>>,
    /// Rooms that panicked and were not built again yet: feeds may have missed something.
    fallen: HashSet<EventId>,
}

type Started = Option<Result<RoomHandle, HealError>>;

enum Slot {
    /// It is being loaded; whether something was told of it meanwhile.
    Starting(watch::Receiver<Started>, Arc<AtomicBool>),
    Live(RoomHandle),
}

/// A fact is committed but not yet in the log: it will be, the answer need not wait.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The room could not start.
    #[error("the event's room cannot start")]
    Start(#[source] HealError),
    /// The room did not get it into the log in time.
    #[error("the event's room did not record the fact in time")]
    Room(#[source] RoomError),
}

impl Coded for RecordError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Start(error) => error.code(),
            Self::Room(error) => error.code(),
        }
    }
}

impl Registry {
    /// A registry without rooms; those it starts live on `arbiters`, their starts run on `background`.
    pub fn new(
        log: Arc<dyn RoomLog>,
        facts: Arc<dyn FactSource>,
        clock: Clock,
        arbiters: Vec<actix::ArbiterHandle>,
        background: runtime::Handle,
        presences: Presences,
        config: &config::Config,
    ) -> Self {
        let (room, limits) = (&config.room, &config.limits);
        let settings = Settings {
            tail_entries: room.tail_entries,
            tail_bytes: room.tail_bytes,
            append_entries: room.append_entries,
            append_bytes: room.append_bytes,
            pending_entries: room.pending_entries,
            key_window: room.key_window,
            answer_bytes: limits.answer_bytes,
            history_page: limits.history_page,
            chat_after_end: config.events.chat_after_end,
        };
        let times = Times {
            idle_after: room.idle_after,
            heartbeat: config.session.heartbeat,
            answer: room.publish_timeout,
        };
        Self {
            shared: Arc::new(Shared {
                ports: Ports { log, facts, clock },
                settings,
                times,
                arbiters,
                background,
                closed: AtomicBool::new(false),
                generation: AtomicU64::new(1),
                book: Mutex::default(),
                told: Told::default(),
                feed: presences.feed(),
                presences,
            }),
        }
    }

    /// How far sign-ins of version 1 have been told the rooms.
    pub fn told(&self) -> &Told {
        &self.shared.told
    }

    /// The room of `event`, started if need be. However many ask, it starts once; a caller
    /// that goes away hinders nobody.
    ///
    /// # Errors
    /// It cannot start, or not in time.
    pub async fn room(&self, event: EventId) -> Result<RoomHandle, HealError> {
        let mut started = {
            let mut book = self.shared.book.lock();
            match book.slots.get(&event) {
                Some(Slot::Live(room)) if room.is_alive() => return Ok(room.clone()),
                Some(Slot::Starting(started, _)) => started.clone(),
                Some(Slot::Live(_)) | None => {
                    let pause = book.backoff(event);
                    let (tell, started) = watch::channel(None);
                    let stirred = Arc::new(AtomicBool::new(false));
                    let slot = Slot::Starting(started.clone(), Arc::clone(&stirred));
                    book.slots.insert(event, slot);
                    self.shared
                        .background
                        .spawn(self.clone().start(event, pause, tell, stirred));
                    started
                }
            }
        };
        let heard = timeout(START_TIMEOUT, started.wait_for(Option::is_some)).await;
        match heard {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(HealError::Unfinished)),
            // The start panicked, or takes too long.
            Ok(Err(_)) | Err(_) => Err(HealError::Unfinished),
        }
    }

    /// The room of `event` for `user`: started only for somebody who takes part or ever did,
    /// so that nobody fills this node with rooms by guessing numbers.
    ///
    /// # Errors
    /// As [`Registry::room`]; to a stranger an event that is not live does not exist.
    pub(crate) async fn room_for(&self, event: EventId, user: UserId) -> Result<RoomHandle, HealError> {
        if let Some(room) = self.live(event) {
            return Ok(room);
        }
        if !self.shared.ports.facts.knows(event, user).await? {
            return Err(SourceError::NotFound.into());
        }
        self.room(event).await
    }

    /// The room of `event` if it is live now.
    pub fn live(&self, event: EventId) -> Option<RoomHandle> {
        match self.shared.book.lock().slots.get(&event) {
            Some(Slot::Live(room)) if room.is_alive() => Some(room.clone()),
            _ => None,
        }
    }

    async fn start(
        self,
        event: EventId,
        pause: Duration,
        tell: watch::Sender<Started>,
        stirred: Arc<AtomicBool>,
    ) {
        // Whatever becomes of this task, the slot must not stay in the way.
        let guard = StartGuard {
            registry: self.clone(),
            event,
            done: false,
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let generation = self.shared.generation.fetch_add(1, Ordering::Relaxed);
        let started = RoomHandle::start(
            self.arbiter(event),
            self.clone(),
            self.shared.ports.clone(),
            event,
            generation,
            &self.shared.settings,
            self.shared.times.clone(),
        );
        let outcome = timeout(START_TIMEOUT, started)
            .await
            .unwrap_or(Err(HealError::Unfinished));
        match &outcome {
            Ok(room) => {
                guard.live(room.clone());
                if stirred.load(Ordering::Acquire) {
                    room.look(false);
                }
            }
            Err(error) => {
                let stopping = self.shared.closed.load(Ordering::Acquire);
                if !stopping
                    && !matches!(error, HealError::Source(source) if matches!(**source, SourceError::NotFound))
                {
                    let error: &dyn std::error::Error = error;
                    tracing::warn!(event.id = %event, error, "room {event} cannot start");
                }
                drop(guard);
            }
        }
        tell.send_replace(Some(outcome));
    }

    fn arbiter(&self, event: EventId) -> &actix::ArbiterHandle {
        let index = usize::try_from(event.0.unsigned_abs()).unwrap_or(0) % self.shared.arbiters.len();
        &self.shared.arbiters[index]
    }

    /// Takes an idle room off the books, if it still is the one that asks: then nobody can
    /// get at it any more, and it may stop. Who had its handle already asks again.
    pub(crate) fn let_go(&self, event: EventId, generation: u64) -> bool {
        let mut book = self.shared.book.lock();
        match book.slots.get(&event) {
            Some(Slot::Live(room)) if room.generation() == generation => {
                book.slots.remove(&event);
                book.falls.remove(&event);
                true
            }
            _ => false,
        }
    }

    /// A room panicked: builds it again from the log, after a pause that grows, and gives it
    /// its sessions back.
    pub(crate) fn died(&self, event: EventId, generation: u64, survivors: Vec<(SessionId, Attached)>) {
        {
            let mut book = self.shared.book.lock();
            if let Some(Slot::Live(room)) = book.slots.get(&event)
                && room.generation() == generation
            {
                book.slots.remove(&event);
            }
            let (count, last) = book.falls.entry(event).or_insert((0, Instant::now()));
            *count = if last.elapsed() > Duration::from_secs(60) {
                1
            } else {
                *count + 1
            };
            *last = Instant::now();
            tracing::error!(event.id = %event, sessions = survivors.len(), "room {event} panicked, building it again");
            book.survivors.entry(event).or_default().extend(survivors);
            book.fallen.insert(event);
        }
        crate::metrics::room_restarted();
        self.shared.background.spawn(self.clone().rebuild(event));
    }

    /// Builds a room that panicked again: once for the feeds, and for as long as it has sessions
    /// that wait for it.
    async fn rebuild(self, event: EventId) {
        let mut pause = Duration::from_millis(50);
        let mut first = true;
        while std::mem::take(&mut first) || self.has_survivors(event) {
            // Whatever starts takes them; what does not start is tried again.
            let _ = self.room(event).await;
            if self.has_survivors(event) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_BACKOFF);
            }
        }
    }

    fn has_survivors(&self, event: EventId) -> bool {
        let mut book = self.shared.book.lock();
        let Some(survivors) = book.survivors.get_mut(&event) else {
            return false;
        };
        survivors.retain(|(_, attached)| attached.outbox.closed().is_none());
        let any = !survivors.is_empty();
        if !any {
            book.survivors.remove(&event);
        }
        any
    }

    /// Whether the room of `event` fell and this is the first one after it.
    pub(crate) fn take_fall(&self, event: EventId) -> bool {
        self.shared.book.lock().fallen.remove(&event)
    }

    /// What tells people of rooms, and rooms of people.
    pub(crate) fn company(&self) -> (Feed, Presences) {
        (self.shared.feed.clone(), self.shared.presences.clone())
    }

    /// Goes on with `work` beside everything else, also when whoever wants it is gone.
    pub(super) fn go_on(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.shared.background.spawn(work);
    }

    /// What rooms stand on.
    pub(super) fn ports(&self) -> &Ports {
        &self.shared.ports
    }

    /// Who is here.
    pub(super) fn presences(&self) -> &Presences {
        &self.shared.presences
    }

    /// The sessions that wait for the room of `event` to be built again.
    pub(crate) fn take_survivors(&self, event: EventId) -> Vec<(SessionId, Attached)> {
        self.shared
            .book
            .lock()
            .survivors
            .remove(&event)
            .unwrap_or_default()
    }

    /// Detaches a session from a room, also from one that has just panicked.
    pub(crate) fn leave(&self, event: EventId, session: SessionId) {
        if let Some(room) = self.live(event) {
            room.leave(session);
        } else if let Some(survivors) = self.shared.book.lock().survivors.get_mut(&event) {
            survivors.retain(|(survivor, _)| *survivor != session);
        }
    }

    /// [`Registry::leave`], but when this returns `Ok` the room tells the session nothing more.
    ///
    /// # Errors
    /// The room is too busy to hear of it.
    pub(crate) async fn leave_for_sure(&self, event: EventId, session: SessionId) -> Result<(), RoomError> {
        let is_starting = matches!(
            self.shared.book.lock().slots.get(&event),
            Some(Slot::Starting(..))
        );
        let room = if is_starting {
            // It may have taken its sessions over already.
            self.room(event).await.ok()
        } else {
            self.live(event)
        };
        if let Some(room) = room
            && let Err(error) = room.leave_for_sure(session).await
            && room.is_alive()
        {
            return Err(error);
        }
        if let Some(survivors) = self.shared.book.lock().survivors.get_mut(&event) {
            survivors.retain(|(survivor, _)| *survivor != session);
        }
        Ok(())
    }

    /// Returns once the fact `fact_no` of `event` is in the log.
    ///
    /// # Errors
    /// Not in time; the sweeper goes on trying.
    pub async fn record(&self, event: EventId, fact_no: u64) -> Result<(), RecordError> {
        for _ in 0..3 {
            let room = self.room(event).await.map_err(RecordError::Start)?;
            match room.record(fact_no).await {
                // It was let go of, or fell, in between.
                Err(RoomError::Unavailable) if !room.is_alive() => tokio::time::sleep(RoomError::RETRY).await,
                outcome => return outcome.map_err(RecordError::Room),
            }
        }
        Err(RecordError::Room(RoomError::Unavailable))
    }

    /// Brings the event's log and store to one state before the event changes, so that
    /// a change after a restore takes a number that the log has not used. A log that is
    /// away does not hinder the change.
    pub async fn before_change(&self, event: EventId) {
        let _ = self.room(event).await;
    }

    /// Brings every given event's log and store to one state.
    ///
    /// # Errors
    /// It cannot be done for this event.
    pub async fn heal(&self, event: EventId) -> Result<Healed, HealError> {
        heal::heal(&self.shared.ports, event).await
    }

    // ---- what other nodes tell

    /// Takes in entries that another node appended to a room; whether it has time to hear of it.
    pub(super) fn hear(&self, hint: Hint) -> bool {
        let event = hint.event;
        self.tell_room(event, |room| room.hear(hint))
    }

    /// Has the room of `event` look at its log, if it is here; whether it has time to hear of it.
    pub(super) fn look(&self, event: EventId, deep: bool) -> bool {
        self.tell_room(event, |room| room.look(deep))
    }

    fn tell_room(&self, event: EventId, tell: impl FnOnce(&RoomHandle) -> bool) -> bool {
        let room = match self.shared.book.lock().slots.get(&event) {
            Some(Slot::Live(room)) if room.is_alive() => room.clone(),
            Some(Slot::Starting(_, stirred)) => {
                stirred.store(true, Ordering::Release);
                return true;
            }
            Some(Slot::Live(_)) | None => return true,
        };
        tell(&room) || !room.is_alive()
    }

    /// The events whose rooms are live or starting here.
    pub(super) fn events(&self) -> Vec<EventId> {
        self.shared.book.lock().slots.keys().copied().collect()
    }

    /// Whether the room of `event` on this node tells the feeds of it what happened from the
    /// entry `from` on.
    pub(super) fn tells(&self, event: EventId, from: u64) -> bool {
        self.live(event)
            .is_some_and(|room| room.board().lock().began_at < from)
    }

    /// From when this returns the live rooms among those of `events` show `user` by this name;
    /// without one, by none ever again. Rooms that are not live learn names when they start;
    /// those on other nodes soon.
    pub async fn rename(&self, events: &[EventId], user: UserId, name: Option<&str>) {
        self.shared.feed.bridge().renamed(events, user, name);
        self.rename_here(events, user, name).await;
    }

    /// [`Registry::rename`] on this node.
    pub(super) async fn rename_here(&self, events: &[EventId], user: UserId, name: Option<&str>) {
        let known: Vec<EventId> = {
            let book = self.shared.book.lock();
            let known = events.iter().filter(|event| book.slots.contains_key(event));
            known.copied().collect()
        };
        for events in known.chunks(RENAMES_AT_ONCE) {
            let renames = events.iter().map(async |event| {
                // One that is starting may have read the old name already.
                if let Ok(room) = self.room(*event).await {
                    room.rename(user, name.map(str::to_owned)).await;
                }
            });
            futures_util::future::join_all(renames).await;
        }
    }

    /// Returns once no room waits for the log.
    pub async fn quiesce(&self) {
        let rooms: Vec<RoomHandle> = {
            let book = self.shared.book.lock();
            let live = book.slots.values().filter_map(|slot| match slot {
                Slot::Live(room) => Some(room.clone()),
                Slot::Starting(..) => None,
            });
            live.collect()
        };
        futures_util::future::join_all(rooms.iter().map(RoomHandle::quiet)).await;
    }

    /// The server stops: a room that cannot start any more is nothing to report.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
    }

    /// How many rooms are live.
    pub fn live_count(&self) -> usize {
        self.shared.book.lock().slots.len()
    }
}

impl Book {
    /// How long a room that fell lately has to wait before it is built again.
    fn backoff(&mut self, event: EventId) -> Duration {
        let Some((count, last)) = self.falls.get(&event).copied() else {
            return Duration::ZERO;
        };
        if last.elapsed() > Duration::from_secs(60) {
            self.falls.remove(&event);
            return Duration::ZERO;
        }
        let pause = Duration::from_millis(100).saturating_mul(1 << count.saturating_sub(2).min(10));
        if count < 2 {
            Duration::ZERO
        } else {
            pause.min(MAX_BACKOFF).saturating_sub(last.elapsed())
        }
    }
}

struct StartGuard {
    registry: Registry,
    event: EventId,
    done: bool,
}

impl StartGuard {
    fn live(mut self, room: RoomHandle) {
        self.done = true;
        self.registry
            .shared
            .book
            .lock()
            .slots
            .insert(self.event, Slot::Live(room));
    }
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        if !self.done {
            self.registry.shared.book.lock().slots.remove(&self.event);
        }
    }
}
