//! What a room takes in that others appended to its log: because it lost a race, because it
//! was told, or because it looked.

use std::time::Duration;

use actix::{ActorFutureExt as _, AsyncContext as _, Context, Handler, Message, WrapFuture as _};
use tokio::time::timeout;

use super::{PAGE, Room, RoomHandle};
use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Kind},
        event::ReadMark,
        id::{RoomId, UserId},
    },
    ports::{FactPage, Person, ReadError, RoomLog, SourceError},
    realtime::{bridge::Hint, heal::jittered},
};

/// How long a room that lost a race leaves the log to others, at most. After each further loss
/// it is half of that, so that whoever wins now does not win for ever.
const YIELD: Duration = Duration::from_millis(20);

/// How often that is halved.
const MAX_HALVINGS: u32 = 5;

/// The longest pause between two tries to read a log that does not answer.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two tries to read a log that holds something wrong.
const MAX_PAUSE_DAMAGED: Duration = Duration::from_secs(30);

/// How long entries wait for the names of those whom they bring in.
const NAMES_PATIENCE: Duration = Duration::from_secs(1);

/// What a room knows of entries that it does not have.
#[derive(Debug, Default)]
pub(super) struct Abroad {
    /// Whether it is reading them: nothing is appended meanwhile.
    pub(super) catching_up: bool,
    /// The furthest that it was told of.
    heard: u64,
    /// Whether it is looking where the log's head is.
    looking: bool,
    /// Whether it has to look, once it can.
    look_again: bool,
    /// Races lost since it last won one.
    losses: u32,
}

impl Abroad {
    /// The room has appended something.
    pub(super) fn won(&mut self) {
        self.losses = 0;
    }

    /// Somebody else was first; how long to leave the log to others.
    fn lost(&mut self) -> Duration {
        let pause = YIELD / (1 << self.losses.min(MAX_HALVINGS));
        self.losses = self.losses.saturating_add(1);
        jittered(pause)
    }
}

/// How a reading of the log goes on.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    failures: u32,
    has_facts: bool,
    /// The furthest entry that was told of when the last page was asked for.
    heard: u64,
}

impl Room {
    /// Whether there are entries that are not here yet; then they come before anything is appended.
    pub(super) fn is_behind(&self) -> bool {
        self.abroad.heard > self.state.tip().head.seq
    }

    /// Reads what somebody else appended, and goes on. After a `conflict` it leaves the log to
    /// others for a moment.
    pub(super) fn catch_up(&mut self, conflict: bool, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.abroad.catching_up, true) {
            return;
        }
        let pause = if conflict {
            self.abroad.lost()
        } else {
            Duration::ZERO
        };
        self.read_on(pause, Progress::default(), ctx);
    }

    fn read_on(&mut self, pause: Duration, progress: Progress, ctx: &mut Context<Self>) {
        let (log, room) = (self.ports.log.clone(), self.state.event().room);
        let (tip, patience) = (self.state.tip(), self.times.answer);
        let progress = Progress {
            heard: self.abroad.heard,
            ..progress
        };
        let read = async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let page = timeout(patience, read_behind(&*log, room, tip)).await;
            page.unwrap_or_else(|late| Err(ReadError::Unavailable(Box::new(late))))
        };
        ctx.spawn(read.into_actor(self).map(
            move |page: Result<Vec<Entry>, ReadError>, room, ctx| match page {
                Ok(entries) if room.state.names_strangers(&entries) => room.ask_names(entries, progress, ctx),
                Ok(entries) => room.take_page(entries, progress, ctx),
                Err(error) => room.read_again(&error, progress, ctx),
            },
        ));
    }

    fn read_again(&mut self, error: &ReadError, progress: Progress, ctx: &mut Context<Self>) {
        let failures = progress.failures + 1;
        let longest = match error {
            ReadError::Unavailable(_) => MAX_PAUSE,
            ReadError::Corrupt { .. } => MAX_PAUSE_DAMAGED,
        };
        if failures.is_power_of_two() {
            let error: &dyn std::error::Error = error;
            tracing::warn!(event.id = %self.event, error, failures, "the log cannot be read, trying again");
        }
        let pause = YIELD.saturating_mul(1 << failures.min(20)).min(longest);
        self.read_on(jittered(pause), Progress { failures, ..progress }, ctx);
    }

    /// Loads the names of those whom `entries` bring in, so that nobody is shown without one.
    /// A store that does not answer does not hold the entries up for long.
    fn ask_names(&mut self, entries: Vec<Entry>, progress: Progress, ctx: &mut Context<Self>) {
        let (facts, event, after) = (self.ports.facts.clone(), self.event, self.state.last_known_fact());
        let load = async move {
            let page: Result<FactPage, SourceError> = timeout(NAMES_PATIENCE, facts.facts(event, after, 1))
                .await
                .unwrap_or_else(|late| Err(SourceError::Unavailable(Box::new(late))));
            let people: Vec<Person> = page.map(|page| page.people).unwrap_or_default();
            (people, entries)
        };
        ctx.spawn(load.into_actor(self).map(move |(people, entries), room, ctx| {
            room.state.meet(people);
            room.take_page(entries, progress, ctx);
        }));
    }

    fn take_page(&mut self, entries: Vec<Entry>, progress: Progress, ctx: &mut Context<Self>) {
        let is_whole = entries.len() >= PAGE;
        let has_facts = progress.has_facts || has_facts(&entries);
        self.state.conflicted(entries);
        self.mark_places(ctx);
        if is_whole {
            let progress = Progress {
                has_facts,
                ..Progress::default()
            };
            return self.read_on(Duration::ZERO, progress, ctx);
        }
        self.abroad.catching_up = false;
        if self.abroad.heard == progress.heard {
            // Further there is nothing, whatever was told.
            self.abroad.heard = 0;
        }
        self.took_in(has_facts, ctx);
    }

    fn took_in(&mut self, has_facts: bool, ctx: &mut Context<Self>) {
        if has_facts {
            self.load_facts(ctx);
        }
        self.pump(ctx);
    }

    /// Takes in what another node has told, or remembers that there is something.
    fn hear(&mut self, hint: Hint, ctx: &mut Context<Self>) {
        let tip = self.state.tip();
        if hint.room != self.state.event().room || hint.head.seq <= tip.head.seq {
            return;
        }
        self.abroad.heard = self.abroad.heard.max(hint.head.seq);
        // What is on its way will find out; afterwards it is looked at.
        if self.abroad.catching_up || self.state.is_appending() {
            return;
        }
        let follows = following(tip, hint);
        match follows {
            Some(entries) if !self.state.names_strangers(&entries) => {
                let has_facts = has_facts(&entries);
                self.state.conflicted(entries);
                self.took_in(has_facts, ctx);
            }
            Some(_) | None => self.catch_up(false, ctx),
        }
    }

    /// Looks where the log's head is; `deep`: also at the event and the read marks.
    pub(super) fn look(&mut self, deep: bool, ctx: &mut Context<Self>) {
        if deep && self.state.session_count() > 0 {
            self.load_facts(ctx);
        }
        self.abroad.look_again = true;
        self.look_if_asked(ctx);
    }

    /// Looks where the log's head is, if that is to be done and nothing else will tell.
    pub(super) fn look_if_asked(&mut self, ctx: &mut Context<Self>) {
        let is_busy = self.abroad.looking || self.abroad.catching_up || self.state.is_appending();
        if is_busy || !std::mem::take(&mut self.abroad.look_again) {
            return;
        }
        self.abroad.looking = true;
        let number = self.ahead.begin_look();
        let (log, room, patience) = (self.ports.log.clone(), self.state.event().room, self.times.answer);
        let look = async move { timeout(patience, log.tip(room)).await };
        ctx.spawn(look.into_actor(self).map(move |tip, room, ctx| {
            room.abroad.looking = false;
            match tip {
                Ok(Ok(tip)) => {
                    room.ahead.looked(number, tip.head.seq);
                    room.abroad.heard = room.abroad.heard.max(tip.head.seq);
                    room.pump(ctx);
                }
                // The log is away; at the next tick it may be there.
                Ok(Err(_)) | Err(_) => room.abroad.look_again = true,
            }
        }));
    }
}

fn has_facts(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.kind == Kind::Fact)
}

/// The page of entries behind `tip`, which must continue its chain.
async fn read_behind(log: &dyn RoomLog, room: RoomId, mut tip: Tip) -> Result<Vec<Entry>, ReadError> {
    let page = log.read(room, tip.head.seq + 1, PAGE).await?;
    for entry in &page {
        let seq = entry.seq;
        tip.follow(entry).map_err(|_| ReadError::Corrupt { room, seq })?;
    }
    Ok(page)
}

/// The entries of `hint` behind `tip`, if they continue its chain up to where the hint says.
fn following(mut tip: Tip, hint: Hint) -> Option<Vec<Entry>> {
    if hint.after > tip.head.seq {
        return None;
    }
    let mut entries = hint.entries;
    entries.retain(|entry| entry.seq > tip.head.seq);
    for entry in &entries {
        tip.follow(entry).ok()?;
    }
    (tip.head == hint.head).then_some(entries)
}

impl RoomHandle {
    /// Tells the room of entries that another node appended; whether it has time to hear of it.
    pub(in crate::realtime) fn hear(&self, hint: Hint) -> bool {
        self.addr.try_send(Hear(hint)).is_ok()
    }

    /// Has the room look at its log; whether it has time to hear of it.
    pub(in crate::realtime) fn look(&self, deep: bool) -> bool {
        self.addr.try_send(Look { deep }).is_ok()
    }

    /// Tells the room that somebody is writing on another node.
    pub(in crate::realtime) fn hear_typing(&self, user: UserId) {
        self.tell(HearTyping(user));
    }

    /// Tells the room up to where somebody has read on another node.
    pub(in crate::realtime) fn hear_mark(&self, user: UserId, mark: ReadMark) {
        self.tell(HearMark { user, mark });
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Hear(Hint);

impl Handler<Hear> for Room {
    type Result = ();

    fn handle(&mut self, Hear(hint): Hear, ctx: &mut Self::Context) {
        self.hear(hint, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Look {
    deep: bool,
}

impl Handler<Look> for Room {
    type Result = ();

    fn handle(&mut self, Look { deep }: Look, ctx: &mut Self::Context) {
        self.look(deep, ctx);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct HearTyping(UserId);

impl Handler<HearTyping> for Room {
    type Result = ();

    fn handle(&mut self, HearTyping(user): HearTyping, _: &mut Self::Context) {
        // Who may not write is not told of; the other node knew no better.
        let _ = self
            .state
            .typing(user, std::time::Instant::now(), self.ports.clock.now());
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct HearMark {
    user: UserId,
    mark: ReadMark,
}

impl Handler<HearMark> for Room {
    type Result = ();

    fn handle(&mut self, HearMark { user, mark }: HearMark, _: &mut Self::Context) {
        self.state.hear_mark(user, mark);
    }
}
