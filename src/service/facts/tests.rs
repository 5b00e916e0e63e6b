use uuid::Uuid;

use super::SqlFacts;
use crate::{
    adapters::sql::fixture::TestDb,
    domain::{
        event::EventStatus,
        fact::{Change, Fact, Membership},
        id::{EventId, UserId},
        time::Micros,
    },
    ports::{FactPlace, FactSource, SourceError},
    service::{
        events::{
            Events,
            tests::{dinner, facts_of, ticking},
        },
        invites::{CreateLink, Invites},
    },
};

struct Scene {
    db: TestDb,
    events: Events,
    facts: SqlFacts,
    host: UserId,
    guest: UserId,
    event: EventId,
}

/// An event with two facts: created by its host, joined by a guest.
async fn open() -> Scene {
    let db = TestDb::open().await;
    let events = Events::new(db.sql.clone(), ticking());
    let invites = Invites::new(db.sql.clone(), ticking(), 1_000, "http://localhost");
    let host = db.user("미나").await;
    let guest = db.user("준").await;
    let event = events.create(host, dinner()).await.unwrap().event.id;
    let link = invites
        .create_link(host, event, CreateLink::default())
        .await
        .unwrap();
    invites.join(guest, &link.code).await.unwrap();
    Scene {
        facts: SqlFacts::new(db.sql.clone()),
        db,
        events,
        host,
        guest,
        event,
    }
}

fn fact(no: u64, change: Change) -> Fact {
    Fact {
        id: Uuid::from_u128(u128::from(no)),
        no,
        actor: Some(UserId(1)),
        at: Micros(1_790_000_000_500_000),
        change,
    }
}

fn place(no: u64, seq: u64) -> FactPlace {
    FactPlace { no, seq }
}

#[tokio::test]
async fn snapshot_has_all_that_a_room_needs() {
    let scene = open().await;
    let stranger = scene.db.user("낯선이").await;
    scene
        .events
        .remove_participant(scene.host, scene.event, scene.guest)
        .await
        .unwrap();
    scene
        .facts
        .mark(scene.event, &[place(1, 1), place(2, 7)])
        .await
        .unwrap();
    let snapshot = scene.facts.load(scene.event).await.unwrap();
    assert_eq!(snapshot.event.fact_no, 3);
    let takes_part: Vec<_> = snapshot.participants.iter().map(|one| one.user).collect();
    assert_eq!(takes_part, [scene.host]);
    assert_eq!(
        snapshot.memberships,
        [
            (1, Membership::Enters(scene.host), Some(1)),
            (2, Membership::Enters(scene.guest), Some(7)),
            (3, Membership::Leaves(scene.guest), None),
        ]
    );
    assert_eq!(snapshot.unmarked, [3]);
    let people: Vec<_> = snapshot
        .people
        .iter()
        .map(|person| (person.id, person.name.as_str()))
        .collect();
    assert_eq!(people, [(scene.host, "미나"), (scene.guest, "준")]);
    assert!(people.iter().all(|(id, _)| *id != stranger));
}

#[tokio::test]
async fn facts_come_in_order_and_in_pages() {
    let scene = open().await;
    scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    let all = scene.facts.facts(scene.event, 0, 10).await.unwrap();
    assert_eq!(all.facts, facts_of(&scene.db.sql, scene.event).await);
    assert_eq!(all.facts.len(), 3);
    assert_eq!(all.event.status, EventStatus::Canceled);
    assert_eq!(all.people.len(), 2);
    let page = scene.facts.facts(scene.event, 1, 1).await.unwrap();
    assert_eq!(page.facts, all.facts[1..2]);
    assert!(
        scene
            .facts
            .facts(scene.event, 3, 10)
            .await
            .unwrap()
            .facts
            .is_empty()
    );
}

#[tokio::test]
async fn unknown_event_is_not_found() {
    let scene = open().await;
    let unknown = EventId(99);
    let lost = [(fact(1, Change::Done {}), 1)];
    for outcome in [
        scene.facts.load(unknown).await.map(|_| ()),
        scene.facts.facts(unknown, 0, 1).await.map(|_| ()),
        scene.facts.adopt(unknown, &lost, Micros(1)).await,
    ] {
        assert!(matches!(outcome, Err(SourceError::NotFound)), "{outcome:?}");
    }
}

#[tokio::test]
async fn marking_is_idempotent_and_the_longest_waiting_event_is_first() {
    let scene = open().await;
    let second = scene.events.create(scene.host, dinner()).await.unwrap().event.id;
    let third = scene.events.create(scene.host, dinner()).await.unwrap().event.id;
    let facts = &scene.facts;
    assert_eq!(facts.unmarked(10).await.unwrap(), [scene.event, second, third]);
    assert_eq!(facts.unmarked(2).await.unwrap(), [scene.event, second]);
    for _ in 0..2 {
        facts
            .mark(scene.event, &[place(1, 1), place(2, 2)])
            .await
            .unwrap();
    }
    assert_eq!(facts.unmarked(10).await.unwrap(), [second, third]);
    // A log that lost its end gets the fact again, elsewhere.
    facts.mark(scene.event, &[place(2, 5)]).await.unwrap();
    assert_eq!(facts.load(scene.event).await.unwrap().memberships[1].2, Some(5));
}

#[tokio::test]
async fn adopting_what_was_lost_numbers_nothing_anew_and_states_the_event() {
    let scene = open().await;
    let before = facts_of(&scene.db.sql, scene.event).await;
    let stranger = UserId(4_711);
    let lost = [
        (fact(3, Change::ParticipantJoined { user: stranger }), 9),
        (fact(4, Change::Canceled { reason: None }), 12),
    ];
    let now = Micros(1_790_000_001_000_000);
    for _ in 0..3 {
        scene.facts.adopt(scene.event, &lost, now).await.unwrap();
    }
    let after = facts_of(&scene.db.sql, scene.event).await;
    assert_eq!(after[..2], before);
    assert_eq!(after[2], lost[0].0);
    assert_eq!(after[3], lost[1].0);
    assert_eq!(after.len(), 5);
    assert_eq!((after[4].no, after[4].actor, after[4].at), (5, None, now));
    let Change::Restored {
        status, participants, ..
    } = &after[4].change
    else {
        panic!("{:?}", after[4]);
    };
    assert_eq!(*status, EventStatus::Proposed);
    assert_eq!(participants.len(), 2);

    let snapshot = scene.facts.load(scene.event).await.unwrap();
    assert_eq!(snapshot.event.fact_no, 5);
    assert_eq!(snapshot.unmarked, [1, 2, 5]);
    let memberships = &snapshot.memberships;
    assert_eq!(memberships[2], (3, Membership::Enters(stranger), Some(9)));
    let are = Membership::Are(vec![scene.host, scene.guest]);
    assert_eq!(memberships[3], (5, are, None));

    // Else the next to sign up would be the stranger to this event.
    assert!(scene.db.user("하나").await.0 > stranger.0);

    let next = scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    assert_eq!(next.fact_no, 6);
    // An older view of the log has nothing to add any more.
    scene.facts.adopt(scene.event, &lost, now).await.unwrap();
    assert_eq!(facts_of(&scene.db.sql, scene.event).await.len(), 6);
}

#[tokio::test]
async fn adopting_a_history_with_a_hole_changes_nothing() {
    let scene = open().await;
    let lost = [(fact(4, Change::Done {}), 9)];
    let outcome = scene.facts.adopt(scene.event, &lost, Micros(1)).await;
    assert!(matches!(outcome, Err(SourceError::Corrupt(_))), "{outcome:?}");
    let snapshot = scene.facts.load(scene.event).await.unwrap();
    assert_eq!(snapshot.event.fact_no, 2);
    assert_eq!(facts_of(&scene.db.sql, scene.event).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_nodes_that_adopt_at_once_adopt_once() {
    let scene = open().await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (facts, event) = (scene.facts.clone(), scene.event);
            tokio::spawn(async move {
                let lost = [(fact(3, Change::Done {}), 9)];
                facts.adopt(event, &lost, Micros(1_790_000_001_000_000)).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let facts = facts_of(&scene.db.sql, scene.event).await;
    assert_eq!(facts.len(), 4);
    assert_eq!(facts[3].change.name(), "restored");
}
