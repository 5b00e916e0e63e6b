//! What happens to events by itself, at its time: looked for on every node, done by one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    adapters::sql::events::Due,
    domain::{id::EventId, time::Clock},
    error::Coded as _,
    metrics,
    realtime::{Registry, heal::HealError},
    service::events::{Events, EventsError},
};

/// Events read in one query.
const PAGE: usize = 200;
/// Events that change at a time.
const AT_ONCE: usize = 16;
/// How long a change waits for the event's room to start.
const ROOM_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes whose way into the log is waited for at a time; the sweeper records the others.
const RECORDS: usize = 256;
/// How long each of them may take.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
/// The first and the longest pause of an event that could not be changed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// Events whose pauses are kept; of more, all are tried at once again.
const PAUSED: usize = 10_000;

/// Why an event that is due did not change; it is tried again after a pause.
#[derive(Debug, thiserror::Error)]
enum DueError {
    /// Its room cannot start, so nobody knows which facts its log has.
    #[error("the event's room cannot start")]
    Room(#[source] HealError),
    /// Its room did not start in time.
    #[error("the event's room does not start in time")]
    Late,
    /// It cannot be changed.
    #[error(transparent)]
    Events(#[from] EventsError),
}

/// What this task knows between two looks.
#[derive(Default)]
struct Keeper {
    /// Until when an event that could not be changed is left alone, and its pause.
    paused: HashMap<EventId, (Instant, Duration)>,
    /// Changes on their way into the log. Ended with this task.
    records: JoinSet<()>,
}

/// Every `poll` for ever, lets happen what is due, and has it recorded.
pub(super) async fn keep_time(events: Events, registry: Registry, clock: Clock, poll: Duration) {
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut keeper, mut away) = (Keeper::default(), false);
    loop {
        ticks.tick().await;
        match keeper.look(&events, &registry, &clock).await {
            Ok(()) => away = false,
            Err(error) if !away => {
                away = true;
                let code = error.code().as_str();
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error.code = code, error, "due events cannot be looked for");
            }
            Err(_) => {}
        }
    }
}

impl Keeper {
    /// One look at everything that is due, page by page.
    async fn look(&mut self, events: &Events, registry: &Registry, clock: &Clock) -> Result<(), EventsError> {
        let mut after = None;
        loop {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let page = events.due(after, limit).await?;
            after = page.last().copied();
            let is_last = page.len() < PAGE;
            let now = Instant::now();
            let wall = clock.now();
            let awake = page.into_iter().filter(|due| {
                let paused = self.paused.get(&due.event);
                // Another node's turn comes first; once it has done it, it is not due any more.
                let is_own_turn = due.due_at.plus(registry.turn(due.event)) <= wall;
                is_own_turn && paused.is_none_or(|(until, _)| *until <= now)
            });
            let awake: Vec<Due> = awake.collect();
            let mut outcomes = stream::iter(awake)
                .map(|due| async move { (due, change(events, registry, due).await) })
                .buffer_unordered(AT_ONCE);
            while let Some((due, outcome)) = outcomes.next().await {
                self.note(registry, due, outcome);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn note(&mut self, registry: &Registry, due: Due, outcome: Result<Option<u64>, DueError>) {
        let event = due.event;
        match outcome {
            Ok(fact_no) => {
                self.paused.remove(&event);
                if let Some(fact_no) = fact_no {
                    self.record(registry, event, fact_no);
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(event.id = %event, error, "event {event} is due and cannot change");
                self.pause(event);
            }
        }
    }

    fn pause(&mut self, event: EventId) {
        if self.paused.len() >= PAUSED {
            self.paused.clear();
        }
        let (first, longest) = PAUSE;
        let pause = self
            .paused
            .get(&event)
            .map_or(first, |(_, pause)| longest.min(*pause * 2));
        self.paused.insert(event, (Instant::now() + pause, pause));
    }

    /// Brings what happened into the room's log, beside this task: a log that is away holds
    /// up no other event.
    fn record(&mut self, registry: &Registry, event: EventId, fact_no: u64) {
        while self.records.try_join_next().is_some() {}
        if self.records.len() >= RECORDS {
            return;
        }
        let registry = registry.clone();
        self.records.spawn(async move {
            let recorded = timeout(RECORD_TIMEOUT, registry.record(event, fact_no)).await;
            if !matches!(recorded, Ok(Ok(()))) {
                tracing::warn!(event.id = %event, "a fact of event {event} waits for the log");
            }
        });
    }
}

/// Lets happen to one event what is due; up to which fact its log then has to go.
///
/// Its room comes first, as before every change: after a restore the store takes over what
/// the log has. Nobody waits for this change, so unlike others it does not go on without.
async fn change(events: &Events, registry: &Registry, due: Due) -> Result<Option<u64>, DueError> {
    let started = timeout(ROOM_TIMEOUT, registry.room(due.event)).await;
    started.map_err(|_| DueError::Late)?.map_err(DueError::Room)?;
    let Some(fallen) = events.fall_due(due).await? else {
        return Ok(None);
    };
    metrics::fell_due(fallen.late);
    Ok(Some(fallen.fact_no))
}
