//! Races between a healing and a live room, which no real pair of stores can be held at.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use super::{Ports, heal};
use crate::{
    domain::{
        chain::Tip,
        entry::{Entry, Head, Kind},
        event::{Course, Event, EventStatus, ReadMark, Rule},
        fact::{Change, Fact},
        id::{EventId, RoomId, UserId},
        time::{Clock, Micros},
    },
    ports::{
        AppendError, Appended, FactPage, FactPlace, FactSource, ReadError, Reading, RoomLog, RoomSnapshot,
        SourceError,
    },
};

const ROOM: RoomId = RoomId(Uuid::from_u128(3));

fn fact(no: u64) -> Fact {
    Fact {
        id: Uuid::from_u128(no.into()),
        no,
        actor: Some(UserId(1)),
        at: Micros(1),
        change: Change::Confirmed {},
    }
}

/// Both stores, and what somebody else does the moment the log's end was told.
#[derive(Default)]
struct World {
    log: Vec<Entry>,
    facts: Vec<(Fact, Option<u64>)>,
    /// Facts that are committed only after the next snapshot.
    later: Vec<Fact>,
    /// The live room appends a fact and marks it, once, after the log's end was told.
    live_appends: bool,
}

impl World {
    fn tip(&self) -> Tip {
        self.log.last().map_or(Tip::empty(ROOM), Tip::of)
    }

    fn append(&mut self, fact: &Fact) -> u64 {
        let entry = self.tip().seal(fact.draft(), Micros(2), [0; 16]);
        self.log.push(entry);
        self.log.len() as u64
    }

    fn event(&self) -> Event {
        Event {
            id: EventId(7),
            room: ROOM,
            title: "Lesson".into(),
            description: None,
            location: None,
            start_time: Micros(0),
            end_time: Micros(1),
            timezone: "Asia/Seoul".into(),
            status: EventStatus::Proposed,
            creator: UserId(1),
            rule: Rule::default(),
            course: Course::default(),
            fact_no: self.facts.len() as u64,
            created_at: Micros(0),
            updated_at: Micros(0),
        }
    }
}

#[derive(Clone, Default)]
struct Stores(Arc<Mutex<World>>);

#[async_trait]
impl RoomLog for Stores {
    async fn append(
        &self,
        _: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError> {
        let mut world = self.0.lock();
        let head = world.tip().head;
        if head != expected {
            return Err(AppendError::Conflict { head });
        }
        world.log.extend(entries.iter().cloned());
        Ok(Appended {
            head: world.tip().head,
            taken: entries.len(),
        })
    }

    async fn read(&self, _: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let from = usize::try_from(from - 1).unwrap();
        Ok(self.0.lock().log.iter().skip(from).take(limit).cloned().collect())
    }

    async fn read_back(&self, _: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let world = self.0.lock();
        let end = usize::try_from(before - 1).unwrap().min(world.log.len());
        Ok(world.log[end.saturating_sub(limit)..end].to_vec())
    }

    async fn tip(&self, _: RoomId) -> Result<Tip, ReadError> {
        let mut world = self.0.lock();
        let tip = world.tip();
        if std::mem::take(&mut world.live_appends) {
            // Words first, so that the fact does not come to stand where the healing would put it.
            let mut words = fact(0).draft();
            words.kind = Kind::Message;
            let entry = world.tip().seal(words, Micros(2), [0; 16]);
            world.log.push(entry);
            let next = world.facts[usize::try_from(tip.fact_no).unwrap()].0.clone();
            let seq = world.append(&next);
            world.facts[usize::try_from(tip.fact_no).unwrap()].1 = Some(seq);
        }
        Ok(tip)
    }
}

#[async_trait]
impl FactSource for Stores {
    async fn load(&self, _: EventId) -> Result<RoomSnapshot, SourceError> {
        let world = self.0.lock();
        let unmarked = world.facts.iter().filter(|(_, seq)| seq.is_none());
        Ok(RoomSnapshot {
            event: world.event(),
            participants: Vec::new(),
            people: Vec::new(),
            memberships: Vec::new(),
            unmarked: unmarked.map(|(fact, _)| fact.no).collect(),
        })
    }

    async fn facts(&self, _: EventId, after: u64, limit: usize) -> Result<FactPage, SourceError> {
        let mut world = self.0.lock();
        for late in std::mem::take(&mut world.later) {
            world.facts.push((late, None));
        }
        let after = usize::try_from(after).unwrap();
        Ok(FactPage {
            event: world.event(),
            participants: Vec::new(),
            facts: world
                .facts
                .iter()
                .skip(after)
                .take(limit)
                .map(|(fact, _)| fact.clone())
                .collect(),
            people: Vec::new(),
        })
    }

    async fn knows(&self, _: EventId, _: UserId) -> Result<bool, SourceError> {
        Ok(true)
    }

    async fn mark(&self, _: EventId, places: &[FactPlace]) -> Result<(), SourceError> {
        let mut world = self.0.lock();
        for place in places {
            let stands = world
                .log
                .get(usize::try_from(place.seq - 1).unwrap())
                .map(|entry| entry.key);
            let (fact, seq) = &mut world.facts[usize::try_from(place.no - 1).unwrap()];
            assert_eq!(
                stands,
                Some(fact.id),
                "marked at a place where it does not stand: {place:?}"
            );
            *seq = Some(place.seq);
        }
        Ok(())
    }

    async fn unmarked(&self, _: usize) -> Result<Vec<EventId>, SourceError> {
        Ok(Vec::new())
    }

    async fn adopt(&self, _: EventId, _: &[(Fact, u64)], _: Micros) -> Result<(), SourceError> {
        panic!("nothing was lost")
    }

    async fn mark_read(&self, _: EventId, _: &[(UserId, ReadMark)]) -> Result<(), SourceError> {
        Ok(())
    }

    async fn readings(&self, _: UserId, _: &[EventId]) -> Result<Vec<Reading>, SourceError> {
        Ok(Vec::new())
    }
}

async fn heals(world: World) -> Vec<Option<u64>> {
    let stores = Stores(Arc::new(Mutex::new(world)));
    let ports = Ports {
        log: Arc::new(stores.clone()),
        facts: Arc::new(stores.clone()),
        clock: Clock::from_fn(|| Micros(5)),
    };
    heal(&ports, EventId(7)).await.unwrap();
    let world = stores.0.lock();
    world.facts.iter().map(|(_, seq)| *seq).collect()
}

#[tokio::test]
async fn fact_committed_after_the_snapshot_is_not_taken_for_one_that_lost_its_place() {
    let mut world = World::default();
    let seq = world.append(&fact(1));
    world.facts = vec![(fact(1), Some(seq)), (fact(2), None)];
    world.later = vec![fact(3)];
    assert_eq!(heals(world).await, [Some(1), Some(2), Some(3)]);
}

#[tokio::test]
async fn fact_that_a_live_room_has_just_marked_is_not_taken_for_one_that_lost_its_place() {
    let mut world = World {
        live_appends: true,
        ..World::default()
    };
    let seq = world.append(&fact(1));
    world.facts = vec![(fact(1), Some(seq)), (fact(2), None)];
    // The healing's first question for the log's end comes before the live room's append.
    assert_eq!(heals(world).await, [Some(1), Some(3)]);
}
