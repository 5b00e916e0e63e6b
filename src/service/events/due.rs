//! What happens to events by itself: deadlines, ends, and hosts whose accounts are gone.

use std::time::Duration;

use super::{Changed, Events, EventsError, apply, changed};
use crate::{
    adapters::sql::{self, events::Due},
    domain::{
        event::life::Ask,
        id::{EventId, UserId},
    },
};

/// What became of an event by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallen {
    /// Up to which fact its room's log has to go.
    pub fact_no: u64,
    /// How long after its moment it happened.
    pub late: Duration,
}

impl Events {
    /// A page of the events to which something has to happen by itself now: the longest due
    /// first, those behind `after`, at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn due(&self, after: Option<Due>, limit: i64) -> Result<Vec<Due>, EventsError> {
        let mut conn = self.sql.get().await?;
        Ok(sql::events::due(&mut conn, self.clock.now(), after, limit).await?)
    }

    /// Lets happen to an event what is due; `None` if nothing is, or no longer: of several
    /// callers, on whichever nodes, one does it.
    ///
    /// # Errors
    /// The event is gone, or the store failed.
    pub async fn fall_due(&self, due: Due) -> Result<Option<Fallen>, EventsError> {
        self.sql
            .change(due.event, async |conn| {
                let now = self.clock.now();
                let outcome = apply::<EventsError>(conn, due.event, None, Ask::Due, now).await?;
                let late = now.0.saturating_sub(due.due_at.0);
                Ok((!outcome.changes.is_empty()).then(|| Fallen {
                    fact_no: outcome.event.fact_no,
                    late: Duration::from_micros(u64::try_from(late).unwrap_or(0)),
                }))
            })
            .await
    }

    /// Calls an event off whose host's account is gone, unless it is over already.
    ///
    /// # Errors
    /// There is no such event, or the store failed.
    pub async fn orphan(&self, event: EventId) -> Result<Changed, EventsError> {
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                let outcome = apply::<EventsError>(conn, event, None, Ask::Orphan, now).await?;
                Ok(changed(conn, &outcome.event).await?)
            })
            .await
    }

    /// Ends the taking part of `user`, who is not the host, as if by leaving.
    ///
    /// # Errors
    /// `user` does not take part or is the host, or the store failed.
    pub async fn depart(&self, event: EventId, user: UserId) -> Result<Changed, EventsError> {
        self.change(user, event, Ask::Remove(user)).await
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicI64, Ordering},
        },
        time::Duration,
    };

    use crate::{
        adapters::sql::fixture::TestDb,
        domain::{
            event::{Denied, EventStatus},
            fact::Change,
            id::{EventId, UserId},
            time::{Clock, Micros},
        },
        service::events::{
            CreateEvent, Events, EventsError,
            tests::{dinner, facts_of},
        },
    };

    /// 2026-11-01T00:00:00Z, a month before the dinner.
    const NOW: i64 = 1_793_491_200_000_000;

    fn turnable() -> (Clock, Arc<AtomicI64>) {
        let hands = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&hands);
        (
            Clock::from_fn(move || Micros(shown.load(Ordering::SeqCst))),
            hands,
        )
    }

    fn undecided(seconds: i64) -> CreateEvent {
        CreateEvent {
            confirm_by: Some(Micros(NOW + seconds * 1_000_000).to_string()),
            ..dinner()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_two_services_over_one_database_one_lets_each_deadline_fall() {
        let db = TestDb::open().await;
        let (clock, hands) = turnable();
        let events = Events::new(db.sql.clone(), clock.clone());
        let host = db.user("미나").await;
        let mut made = Vec::new();
        for _ in 0..20 {
            made.push(events.create(host, undecided(60)).await.unwrap().event.id);
        }
        assert_eq!(events.due(None, 100).await.unwrap(), []);
        hands.fetch_add(61_000_000, Ordering::SeqCst);
        let due = events.due(None, 100).await.unwrap();
        assert_eq!(due.iter().map(|due| due.event).collect::<Vec<_>>(), made);

        let other = db.again(8, Duration::from_secs(30)).await;
        let other = Events::new(other, clock);
        let nodes = [&events, &other].map(|events| {
            let (events, due) = (events.clone(), due.clone());
            tokio::spawn(async move {
                let mut fallen = Vec::new();
                for due in due {
                    fallen.extend(events.fall_due(due).await.unwrap());
                }
                fallen
            })
        });
        let mut fallen = Vec::new();
        for node in nodes {
            fallen.extend(node.await.unwrap());
        }
        assert_eq!(fallen.len(), 20, "each falls on one of the two");
        assert!(fallen.iter().all(|fallen| fallen.fact_no == 2));
        assert!(fallen.iter().all(|fallen| fallen.late == Duration::from_secs(1)));
        for event in made {
            let facts = facts_of(&db.sql, event).await;
            let missing = Vec::new();
            assert_eq!(facts.len(), 2);
            assert_eq!(
                (facts[1].actor, &facts[1].change),
                (None, &Change::DeadlinePassed { missing })
            );
        }
        assert_eq!(other.due(None, 100).await.unwrap(), [], "nothing falls twice");
    }

    #[tokio::test]
    async fn what_is_due_comes_in_pages_without_overlap_or_hole() {
        let db = TestDb::open().await;
        let (clock, hands) = turnable();
        let events = Events::new(db.sql.clone(), clock);
        let host = db.user("미나").await;
        let mut expected = Vec::new();
        for second in [30, 10, 20, 20, 20, 99] {
            let id = events.create(host, undecided(second)).await.unwrap().event.id;
            expected.push((second, id));
        }
        hands.fetch_add(30_000_000, Ordering::SeqCst);
        expected.retain(|(second, _)| *second != 99);
        expected.sort_unstable();
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = events.due(after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(*last);
            pages.extend(
                page.iter()
                    .map(|due| ((due.due_at.0 - NOW) / 1_000_000, due.event)),
            );
        }
        assert_eq!(pages, expected);
    }

    #[tokio::test]
    async fn event_without_its_host_is_canceled_once_and_others_depart() {
        let db = TestDb::open().await;
        let (clock, hands) = turnable();
        let events = Events::new(db.sql.clone(), clock);
        let (host, guest) = (db.user("미나").await, db.user("준").await);
        let first = events.create(host, dinner()).await.unwrap().event.id;
        super::super::tests::join(&db, host, first, guest).await;
        assert_eq!(events.depart(first, guest).await.unwrap().fact_no, 3);
        let again = events.depart(first, guest).await;
        assert!(matches!(again, Err(EventsError::Denied(Denied::Unknown))));
        let canceled = events.orphan(first).await.unwrap();
        assert_eq!(
            (canceled.event.status, canceled.fact_no),
            (EventStatus::Canceled, 4)
        );
        assert_eq!(events.orphan(first).await.unwrap().fact_no, 4);
        let facts = facts_of(&db.sql, first).await;
        assert_eq!(facts[3].actor, None);

        // What is over stays as it was.
        let past = CreateEvent {
            participant_ids: Some(vec![guest]),
            ..dinner()
        };
        let past = events.create(host, past).await.unwrap().event.id;
        events.answer(guest, past, true, None).await.unwrap();
        hands.store(1_796_200_000_000_000, Ordering::SeqCst);
        assert_eq!(events.orphan(past).await.unwrap().event.status, EventStatus::Done);
        assert!(events.orphan(EventId(99)).await.is_err());
        assert!(events.depart(EventId(99), UserId(1)).await.is_err());
    }
}
