use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::{Changed, CreateEvent, Events, EventsError, ListEvents};
use crate::{
    adapters::sql::{self, Sql, fixture::TestDb, history},
    domain::{
        event::{Answer, Denied, EventStatus, Role},
        fact::{Change, Fact},
        id::{EventId, UserId},
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
    service::invites::{CreateLink, Invites},
};

/// A clock that shows one microsecond more each time it is asked.
pub(crate) fn ticking() -> Clock {
    let now = Arc::new(AtomicI64::new(1_790_000_000_000_000));
    Clock::from_fn(move || Micros(now.fetch_add(1, Ordering::SeqCst)))
}

pub(crate) fn dinner() -> CreateEvent {
    CreateEvent {
        title: Some("저녁".into()),
        location: Some("서울".into()),
        start_time: Some("2026-12-01T10:00:00Z".into()),
        end_time: Some("2026-12-01T12:00:00Z".into()),
        ..CreateEvent::default()
    }
}

pub(crate) async fn facts_of(sql: &Sql, event: EventId) -> Vec<Fact> {
    let mut conn = sql.get().await.unwrap();
    history::after(&mut conn, event, 0, 10_000).await.unwrap()
}

pub(crate) async fn join(db: &TestDb, host: UserId, event: EventId, user: UserId) {
    let invites = Invites::new(db.sql.clone(), ticking(), 1_000, "http://localhost");
    let link = invites
        .create_link(host, event, CreateLink::default())
        .await
        .unwrap();
    invites.join(user, &link.code).await.unwrap();
}

async fn open() -> (TestDb, Events, UserId, Changed) {
    let db = TestDb::open().await;
    let events = Events::new(db.sql.clone(), ticking());
    let host = db.user("미나").await;
    let made = events.create(host, dinner()).await.unwrap();
    (db, events, host, made)
}

#[tokio::test]
async fn created_event_has_its_host_and_one_fact() {
    let (db, events, host, made) = open().await;
    assert_eq!(made.fact_no, 1);
    assert_eq!(made.event.creator.name, "미나");
    assert_eq!(made.event.timezone, "Asia/Seoul");
    assert!(made.event.participants.is_empty());
    assert_eq!(events.read(host, made.event.id).await.unwrap(), made.event);

    let facts = facts_of(&db.sql, made.event.id).await;
    assert_eq!(facts.len(), 1);
    assert_eq!((facts[0].no, facts[0].actor), (1, Some(host)));
    assert!(matches!(&facts[0].change, Change::EventCreated { event, .. } if *event == made.event.id));
    let mut conn = db.sql.get().await.unwrap();
    let circle = sql::participants::of_event(&mut conn, made.event.id)
        .await
        .unwrap();
    assert_eq!(circle.participants[0].role, Role::Host);
    assert_eq!(circle.participants[0].answer, Answer::Accepted);
}

#[tokio::test]
async fn stranger_cannot_tell_that_the_event_exists() {
    let (db, events, _, made) = open().await;
    let stranger = db.user("낯선이").await;
    for event in [made.event.id, EventId(99), EventId(-1), EventId(i64::MAX)] {
        for error in [
            events.read(stranger, event).await.unwrap_err(),
            events.cancel(stranger, event, None).await.unwrap_err(),
            events
                .remove_participant(stranger, event, stranger)
                .await
                .unwrap_err(),
        ] {
            assert!(matches!(error, EventsError::Denied(Denied::Unknown)), "{error:?}");
        }
    }
    assert_eq!(facts_of(&db.sql, made.event.id).await.len(), 1);
}

#[tokio::test]
async fn somebody_without_an_account_makes_no_event() {
    let (_db, events, _, _) = open().await;
    let error = events.create(UserId(77), dinner()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UserNotFound);
}

#[tokio::test]
async fn invalid_event_is_told_every_problem_in_the_answer() {
    let (_db, events, host, _) = open().await;
    let error = events.create(host, CreateEvent::default()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ValidationError);
    let pointers: Vec<_> = error.details()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["pointer"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pointers, ["/title", "/start_time", "/end_time"]);
}

#[tokio::test]
async fn invited_people_come_in_with_the_event_or_nothing_is_made() {
    let (db, events, host, first) = open().await;
    let (jun, sora) = (db.user("준").await, db.user("소라").await);
    let stranger = db.user("낯선이").await;
    join(&db, host, first.event.id, jun).await;
    join(&db, host, first.event.id, sora).await;
    let inviting = |ids: Vec<UserId>| CreateEvent {
        participant_ids: Some(ids),
        ..dinner()
    };
    for wrong in [vec![stranger], vec![jun, stranger, sora], vec![jun, UserId(99)]] {
        let error = events.create(host, inviting(wrong)).await.unwrap_err();
        assert_eq!(error.details()["errors"][0]["pointer"], "/participant_ids");
    }
    let few = events.clone().of_at_most(2);
    let error = few.create(host, inviting(vec![jun, sora])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ValidationError);
    let mine = events.list(host, ListEvents::default()).await.unwrap();
    assert_eq!(mine.len(), 1, "nothing was made");

    let made = events
        .create(host, inviting(vec![sora, host, jun, sora]))
        .await
        .unwrap();
    let guests: Vec<UserId> = made
        .event
        .participants
        .iter()
        .map(|guest| guest.person.id)
        .collect();
    assert_eq!(
        guests,
        [jun, sora],
        "in one order, each once, the host not among them"
    );
    assert!(
        made.event
            .participants
            .iter()
            .all(|guest| guest.answer == Answer::Pending)
    );
    let facts = facts_of(&db.sql, made.event.id).await;
    assert_eq!((facts.len() as u64, made.fact_no), (3, 3));
    assert!(facts.iter().all(|fact| fact.actor == Some(host)));
    assert_eq!(facts[1].change, Change::ParticipantAdded { user: jun });
    assert_eq!(facts[2].change, Change::ParticipantAdded { user: sora });
}

#[tokio::test]
async fn confirming_too_early_names_who_is_missing() {
    let (db, events, host, made) = open().await;
    let id = made.event.id;
    let (jun, sora) = (db.user("준").await, db.user("소라").await);
    join(&db, host, id, jun).await;
    join(&db, host, id, sora).await;
    let error = events.confirm(host, id).await.unwrap_err();
    assert_eq!(
        (error.code(), error.text_key()),
        (ErrorCode::EventState, "event-missing")
    );
    let expected = serde_json::json!({
        "missing": [{ "id": jun, "name": "준" }, { "id": sora, "name": "소라" }],
        "needed": 2,
    });
    assert_eq!(serde_json::Value::from(error.details()), expected);
    let seen = events.confirm(jun, id).await.unwrap();
    assert_eq!(seen.event.status, EventStatus::Proposed);
    assert!(seen.event.participants[0].confirmed && !seen.event.participants[1].confirmed);
    let seen = events
        .answer(sora, id, true, Some(" 늦어요 ".into()))
        .await
        .unwrap();
    assert_eq!(seen.event.status, EventStatus::Confirmed);
    assert_eq!(seen.event.participants[1].reason.as_deref(), Some("늦어요"));
    assert_eq!(events.confirm(host, id).await.unwrap().fact_no, seen.fact_no);
    let facts = facts_of(&db.sql, id).await;
    let names: Vec<&str> = facts[3..].iter().map(|fact| fact.change.name()).collect();
    assert_eq!(names, ["accepted", "accepted", "confirmed"]);
}

#[tokio::test]
async fn rollback_leaves_no_hole_in_the_numbers() {
    let (db, events, host, made) = open().await;
    let id = made.event.id;
    let guest = db.user("준").await;
    join(&db, host, id, guest).await;
    assert!(matches!(
        events.cancel(guest, id, None).await,
        Err(EventsError::Denied(Denied::HostOnly))
    ));
    assert!(matches!(
        events.remove_participant(host, id, UserId(55)).await,
        Err(EventsError::Denied(Denied::NotParticipant))
    ));
    assert!(matches!(
        events.remove_participant(host, id, host).await,
        Err(EventsError::Denied(Denied::HostStays))
    ));
    let gone = events.remove_participant(guest, id, guest).await.unwrap();
    assert_eq!(gone.fact_no, 3);
    assert!(gone.event.participants.is_empty());
    let facts = facts_of(&db.sql, id).await;
    assert_eq!(facts.iter().map(|fact| fact.no).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(facts[2].change, Change::ParticipantLeft { user: guest });
    assert!(matches!(
        events.read(guest, id).await,
        Err(EventsError::Denied(Denied::Unknown))
    ));
}

#[tokio::test]
async fn host_removes_and_the_fact_names_both() {
    let (db, events, host, made) = open().await;
    let guest = db.user("준").await;
    join(&db, host, made.event.id, guest).await;
    let seen = events.read(guest, made.event.id).await.unwrap();
    assert_eq!(seen.participants[0].person.name, "준");
    assert!(!seen.participants[0].confirmed);
    events
        .remove_participant(host, made.event.id, guest)
        .await
        .unwrap();
    let fact = facts_of(&db.sql, made.event.id).await.pop().unwrap();
    assert_eq!(fact.actor, Some(host));
    assert_eq!(fact.change, Change::ParticipantRemoved { user: guest });
}

#[tokio::test]
async fn canceling_twice_succeeds_with_one_fact() {
    let (db, events, host, made) = open().await;
    let first = events
        .cancel(host, made.event.id, Some(" 비가 와서\n ".into()))
        .await
        .unwrap();
    assert_eq!((first.event.status, first.fact_no), (EventStatus::Canceled, 2));
    let second = events.cancel(host, made.event.id, None).await.unwrap();
    assert_eq!(second, first);
    let facts = facts_of(&db.sql, made.event.id).await;
    assert_eq!(facts.len(), 2);
    let reason = Some("비가 와서".to_owned());
    assert_eq!(facts[1].change, Change::Canceled { reason });

    let long = events.cancel(host, made.event.id, Some("가".repeat(1_001))).await;
    assert_eq!(long.unwrap_err().code(), ErrorCode::ValidationError);
}

#[tokio::test]
async fn list_is_ordered_filtered_paged_and_of_those_who_take_part_now() {
    let (db, events, host, first) = open().await;
    let later = CreateEvent {
        start_time: Some("2026-12-02T10:00:00Z".into()),
        end_time: Some("2026-12-02T10:00:00Z".into()),
        ..dinner()
    };
    let third = events.create(host, later).await.unwrap().event.id;
    let second = events.create(host, dinner()).await.unwrap().event.id;
    let first = first.event.id;
    let other = db.user("준").await;
    events.create(other, dinner()).await.unwrap();
    join(&db, host, second, other).await;
    events.cancel(host, first, None).await.unwrap();

    let ids = async |user: UserId, list: ListEvents| -> Vec<EventId> {
        let page = events.list(user, list).await.unwrap();
        page.iter().map(|event| event.id).collect()
    };
    let page = |page: i64| ListEvents {
        page: Some(page),
        limit: Some(2),
        ..ListEvents::default()
    };
    let only = |status: &str| ListEvents {
        status: Some(status.into()),
        ..ListEvents::default()
    };
    assert_eq!(ids(host, ListEvents::default()).await, [third, second, first]);
    assert_eq!(ids(host, page(1)).await, [third, second]);
    assert_eq!(ids(host, page(2)).await, [first]);
    assert_eq!(ids(host, page(3)).await, []);
    assert_eq!(ids(host, only("CANCELED")).await, [first]);
    assert_eq!(ids(host, only("PROPOSED")).await, [third, second]);
    assert_eq!(ids(host, only("BREAKFAST")).await, []);

    let seen = events.list(other, ListEvents::default()).await.unwrap();
    assert_eq!(seen.len(), 2);
    let shared = seen.iter().find(|event| event.id == second).unwrap();
    assert_eq!(*shared, events.read(host, second).await.unwrap());
    events.remove_participant(other, second, other).await.unwrap();
    assert_eq!(ids(other, ListEvents::default()).await.len(), 1);

    for (page, limit) in [(0, 10), (1, 0), (1, 101), (i64::MAX, 100), (-1, -1)] {
        let list = ListEvents {
            page: Some(page),
            limit: Some(limit),
            ..ListEvents::default()
        };
        let error = events.list(host, list).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::ValidationError, "{page} {limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn facts_are_numbered_in_commit_order_under_concurrent_changes() {
    let (db, events, host, made) = open().await;
    let id = made.event.id;
    let mut guests = Vec::new();
    for number in 0..50 {
        let guest = db.user(&format!("손님 {number}")).await;
        join(&db, host, id, guest).await;
        guests.push(guest);
    }
    let tasks: Vec<_> = guests
        .iter()
        .enumerate()
        .map(|(number, guest)| {
            let (events, guest) = (events.clone(), *guest);
            let actor = if number % 2 == 0 { host } else { guest };
            tokio::spawn(async move { events.remove_participant(actor, id, guest).await })
        })
        .collect();
    let mut answered = Vec::new();
    for task in tasks {
        answered.push(task.await.unwrap().unwrap().fact_no);
    }
    answered.sort_unstable();
    assert_eq!(answered, (52..=101).collect::<Vec<_>>());

    let facts = facts_of(&db.sql, id).await;
    assert_eq!(facts.len(), 101);
    for (at, fact) in facts.iter().enumerate() {
        assert_eq!(fact.no, at as u64 + 1);
    }
    // The clock is asked inside the transaction: later numbers have later times.
    assert!(facts[51..].windows(2).all(|pair| pair[0].at < pair[1].at));
    assert_eq!(events.read(host, id).await.unwrap().fact_no, 101);
}
