//! Brings the log and the relational store to one state, before a room opens.
//!
//! The log is behind when the process died between a commit and its append, or
//! when the log was restored from an older backup: the missing facts are
//! appended. The store is behind when *it* was restored: it takes the facts it
//! lost from the log, and a `restored` fact states the event as it now stands.

use std::{sync::Arc, time::Duration};

use rand::Rng as _;

use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Kind},
        fact::Fact,
        id::{EventId, RoomId},
        time::Clock,
    },
    error::{Coded, ErrorCode},
    metrics::AppendResult,
    ports::{AppendError, Appended, FactPlace, FactSource, ReadError, RoomLog, RoomSnapshot, SourceError},
};

/// Entries or facts read in one go.
const PAGE: usize = 200;

/// How often a start begins again because somebody else moved the log meanwhile.
const ROUNDS: usize = 50;

/// Why a room could not start, or an event could not be repaired.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HealError {
    /// The relational store says no, or does not answer.
    #[error("the event cannot be loaded")]
    Source(#[source] Arc<SourceError>),
    /// The log does not answer.
    #[error("the log cannot be read")]
    Log(#[source] Arc<ReadError>),
    /// The log and the store did not come to one state.
    #[error("the log and the relational store keep moving")]
    Unsettled,
    /// The log holds a fact that this version cannot read.
    #[error("the fact at seq {seq} cannot be read")]
    UnreadableFact {
        /// Where.
        seq: u64,
    },
    /// It took too long, or fell.
    #[error("it did not finish in time")]
    Unfinished,
}

impl From<SourceError> for HealError {
    fn from(error: SourceError) -> Self {
        Self::Source(Arc::new(error))
    }
}

impl From<ReadError> for HealError {
    fn from(error: ReadError) -> Self {
        Self::Log(Arc::new(error))
    }
}

impl Coded for HealError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Source(error) => error.code(),
            Self::Log(error) => error.code(),
            Self::Unsettled | Self::Unfinished => ErrorCode::Unavailable,
            Self::UnreadableFact { .. } => ErrorCode::InternalError,
        }
    }
}

/// The ports a room stands on.
#[derive(Clone)]
pub struct Ports {
    /// The record of every room.
    pub log: Arc<dyn RoomLog>,
    /// The relational truth about events.
    pub facts: Arc<dyn FactSource>,
    /// The wall clock.
    pub clock: Clock,
}

/// What a healing found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Healed {
    /// Facts that the log lacked.
    pub appended: u64,
    /// Facts that the relational store lacked.
    pub adopted: u64,
    /// Facts whose place in the log was not written down.
    pub marked: u64,
}

/// Brings log and store of `event` to one state, and says what that took.
///
/// # Errors
/// One of them does not answer, or they keep moving.
pub async fn heal(ports: &Ports, event: EventId) -> Result<Healed, HealError> {
    Ok(settle(ports, event).await?.2)
}

pub(super) async fn settle(ports: &Ports, event: EventId) -> Result<(RoomSnapshot, Tip, Healed), HealError> {
    let mut healed = Healed::default();
    let room = ports.facts.load(event).await?.event.room;
    for _ in 0..ROUNDS {
        // The log first: whatever fact it has was committed before, so a store that
        // does not know it *afterwards* has lost it.
        let tip = ports.log.tip(room).await?;
        let snapshot = ports.facts.load(event).await?;
        if tip.fact_no > snapshot.event.fact_no {
            healed.adopted += adopt_lost(ports, event, room, tip, snapshot.event.fact_no).await?;
        } else if tip.fact_no < snapshot.event.fact_no {
            healed.appended += append_missing(ports, &snapshot, tip).await?;
        } else if snapshot.unmarked.is_empty() {
            return Ok((snapshot, tip, healed));
        } else {
            healed.marked += mark_unmarked(ports, event, room, tip, &snapshot.unmarked).await?;
        }
    }
    Err(HealError::Unsettled)
}

/// Appends facts behind `tip` that the store has and the log has not.
///
/// `tip` was read before `snapshot`.
async fn append_missing(ports: &Ports, snapshot: &RoomSnapshot, mut tip: Tip) -> Result<u64, HealError> {
    let (event, room) = (snapshot.event.id, snapshot.event.room);
    let page = ports.facts.facts(event, tip.fact_no, PAGE).await?;
    let before = tip;
    let expected = tip.head;
    let mut entries = Vec::new();
    for fact in &page.facts {
        // Of what was committed after the snapshot nothing is known yet.
        if fact.no != tip.fact_no + 1 || fact.no > snapshot.event.fact_no {
            break;
        }
        entries.push(tip.seal(fact.draft(), ports.clock.now(), salt()));
    }
    if entries.is_empty() {
        return Err(HealError::Unsettled);
    }
    let places: Vec<FactPlace> = entries
        .iter()
        .map(|entry| FactPlace {
            no: entry.fact_no,
            seq: entry.seq,
        })
        .collect();
    // Whose place is written down already had it in a log that is no more. That must not
    // be believed, not even when this process dies right after the append.
    let stale: Vec<FactPlace> = places
        .iter()
        .filter(|place| snapshot.unmarked.binary_search(&place.no).is_err())
        .copied()
        .collect();
    if !stale.is_empty() {
        // Whoever marked them had appended them first: had they come after `tip` was read,
        // the log would have moved.
        if ports.log.tip(room).await? != before {
            return Ok(0);
        }
        ports.facts.mark(event, &stale).await?;
    }
    let entries: Arc<[Entry]> = entries.into();
    let Some(Appended { taken, .. }) = append_until_known(ports, room, expected, &entries).await else {
        // Somebody else appended, perhaps these very facts, and then at other places.
        let stale: Vec<u64> = stale.iter().map(|place| place.no).collect();
        mark_unmarked(ports, event, room, ports.log.tip(room).await?, &stale).await?;
        return Ok(0);
    };
    let places = &places[..taken.min(places.len())];
    crate::metrics::facts_appended(places.len() as u64);
    ports.facts.mark(event, places).await?;
    Ok(places.len() as u64)
}

/// A new salt for an entry's digest.
pub(super) fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    rand::rng().fill(&mut salt);
    salt
}

/// Repeats the very same append until the log says what became of it; `None` on a conflict.
pub(super) async fn append_until_known(
    ports: &Ports,
    room: RoomId,
    expected: crate::domain::entry::Head,
    entries: &Arc<[Entry]>,
) -> Option<Appended> {
    let mut pause = Duration::from_millis(50);
    let mut warned = false;
    loop {
        let started = std::time::Instant::now();
        let answer = ports.log.append(room, expected, Arc::clone(entries)).await;
        let elapsed = started.elapsed();
        match answer {
            Ok(appended) => {
                crate::metrics::append(elapsed, AppendResult::Appended, appended.taken);
                return Some(appended);
            }
            Err(AppendError::Conflict { .. }) => {
                crate::metrics::append(elapsed, AppendResult::Conflict, 0);
                return None;
            }
            Err(AppendError::InDoubt(error)) => {
                crate::metrics::append(elapsed, AppendResult::InDoubt, 0);
                if !warned {
                    warned = true;
                    let error = error.as_deref().map(|error| error as &dyn std::error::Error);
                    tracing::warn!(room = %room, error, "an append is in doubt, repeating it until it is known");
                }
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

/// Between half of `pause` and all of it, so that racers do not meet again.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Gives the store the facts behind `known` that only the log has.
async fn adopt_lost(
    ports: &Ports,
    event: EventId,
    room: RoomId,
    tip: Tip,
    known: u64,
) -> Result<u64, HealError> {
    let mut lost = Vec::new();
    let mut before = tip.head.seq + 1;
    'scan: while before > 1 {
        let page = ports.log.read_back(room, before, PAGE).await?;
        let Some(first) = page.first() else { break };
        before = first.seq;
        for entry in page.iter().rev() {
            if entry.fact_no <= known {
                break 'scan;
            }
            if entry.kind == Kind::Fact {
                let fact = Fact::of(entry).ok_or(HealError::UnreadableFact { seq: entry.seq })?;
                lost.push((fact, entry.seq));
            }
        }
    }
    lost.reverse();
    tracing::warn!(event.id = %event, facts = lost.len(), "the relational store is older than the log, it takes over what it lost");
    ports.facts.adopt(event, &lost, ports.clock.now()).await?;
    Ok(lost.len() as u64)
}

/// Writes down where facts stand that the log has.
async fn mark_unmarked(
    ports: &Ports,
    event: EventId,
    room: RoomId,
    tip: Tip,
    unmarked: &[u64],
) -> Result<u64, HealError> {
    let Some(first_wanted) = unmarked.first().copied() else {
        return Ok(0);
    };
    let mut places = Vec::new();
    let mut before = tip.head.seq + 1;
    'scan: while before > 1 {
        let page = ports.log.read_back(room, before, PAGE).await?;
        let Some(first) = page.first() else { break };
        before = first.seq;
        for entry in page.iter().rev() {
            if entry.fact_no < first_wanted {
                break 'scan;
            }
            if entry.kind == Kind::Fact && unmarked.binary_search(&entry.fact_no).is_ok() {
                places.push(FactPlace {
                    no: entry.fact_no,
                    seq: entry.seq,
                });
            }
        }
    }
    ports.facts.mark(event, &places).await?;
    Ok(places.len() as u64)
}

impl std::ops::AddAssign for Healed {
    fn add_assign(&mut self, other: Self) {
        self.appended += other.appended;
        self.adopted += other.adopted;
        self.marked += other.marked;
    }
}

#[cfg(test)]
mod tests;
