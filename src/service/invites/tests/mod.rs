mod direct;
mod links;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use super::{CreateLink, InviteAction, Invites, InvitesError};
use crate::{
    adapters::sql::fixture::TestDb,
    domain::{
        event::{Answer, Denied},
        fact::Change,
        id::{EventId, UserId},
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
    service::events::{
        Events,
        tests::{dinner, facts_of, ticking},
    },
};

struct Scene {
    db: TestDb,
    events: Events,
    invites: Invites,
    host: UserId,
    event: EventId,
}

impl Scene {
    async fn new() -> Self {
        Self::with(ticking(), 1_000).await
    }

    async fn with(clock: Clock, max_participants: i64) -> Self {
        let db = TestDb::open().await;
        let events = Events::new(db.sql.clone(), clock.clone());
        let invites = Invites::new(db.sql.clone(), clock, max_participants, "https://t.example/");
        let host = db.user("미나").await;
        let event = events.create(host, dinner()).await.unwrap().event.id;
        Self {
            db,
            events,
            invites,
            host,
            event,
        }
    }

    /// With a clock that stands where it is put.
    async fn with_hands(max_participants: i64) -> (Arc<AtomicI64>, Self) {
        let now = Arc::new(AtomicI64::new(1_790_000_000_000_000));
        let hands = Arc::clone(&now);
        let clock = Clock::from_fn(move || Micros(hands.load(Ordering::SeqCst)));
        (now, Self::with(clock, max_participants).await)
    }

    async fn end(&self) -> Micros {
        self.events.read(self.host, self.event).await.unwrap().end_time
    }

    async fn link(&self, max_uses: i64) -> String {
        let request = CreateLink {
            expires_in_hours: None,
            max_uses: Some(max_uses),
        };
        let link = self.invites.create_link(self.host, self.event, request).await;
        link.unwrap().code
    }

    async fn facts(&self) -> usize {
        facts_of(&self.db.sql, self.event).await.len()
    }
}

fn is_no_link<T: std::fmt::Debug>(outcome: &Result<T, InvitesError>) -> bool {
    matches!(outcome, Err(InvitesError::NoLink))
}

#[tokio::test]
async fn link_lets_somebody_in_once() {
    let scene = Scene::new().await;
    let guest = scene.db.user("준").await;
    let request = CreateLink::default();
    let link = scene
        .invites
        .create_link(scene.host, scene.event, request)
        .await
        .unwrap();
    assert_eq!(link.link, format!("https://t.example/invite/{}", link.code));
    assert_eq!(link.code.len(), 16);
    assert_eq!(link.max_uses, 0);
    assert!(link.expires_at.unwrap() > Micros(1_790_000_000_000_000 + 167 * 3_600_000_000));

    let info = scene.invites.info(guest, &link.code).await.unwrap();
    assert_eq!(info.action, InviteAction::Confirm);
    assert_eq!((info.event.id, info.creator.name.as_str()), (scene.event, "미나"));
    let joined = scene.invites.join(guest, &link.code).await.unwrap();
    assert!(!joined.is_repeat);
    assert_eq!(joined.changed.fact_no, 2);
    assert_eq!(joined.changed.event.participants[0].answer, Answer::Pending);

    let info = scene.invites.info(guest, &link.code).await.unwrap();
    assert_eq!(info.action, InviteAction::AlreadyJoined);
    let again = scene.invites.join(guest, &link.code).await.unwrap();
    assert!(again.is_repeat);
    assert_eq!(again.changed, joined.changed);
    let host = scene.invites.join(scene.host, &link.code).await.unwrap();
    assert!(host.is_repeat);

    let facts = facts_of(&scene.db.sql, scene.event).await;
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].change, Change::ParticipantJoined { user: guest });
    assert_eq!(facts[1].actor, Some(guest));
}

#[tokio::test]
async fn only_the_host_makes_links_and_values_have_limits() {
    let scene = Scene::new().await;
    let guest = scene.db.user("준").await;
    let stranger = scene.db.user("낯선이").await;
    scene.invites.join(guest, &scene.link(0).await).await.unwrap();
    let request = CreateLink::default();
    let by_guest = scene
        .invites
        .create_link(guest, scene.event, request.clone())
        .await;
    assert!(matches!(by_guest, Err(InvitesError::Denied(Denied::HostOnly))));
    let by_stranger = scene.invites.create_link(stranger, scene.event, request).await;
    assert!(matches!(by_stranger, Err(InvitesError::Denied(Denied::Unknown))));
    for (hours, uses) in [(-1, 0), (8_761, 0), (i64::MAX, 0), (1, -1), (1, i64::MAX)] {
        let request = CreateLink {
            expires_in_hours: Some(hours),
            max_uses: Some(uses),
        };
        let outcome = scene.invites.create_link(scene.host, scene.event, request).await;
        assert_eq!(outcome.unwrap_err().code(), ErrorCode::ValidationError);
    }
}

#[tokio::test]
async fn unknown_and_odd_codes_are_no_links() {
    let scene = Scene::new().await;
    let guest = scene.db.user("준").await;
    for code in ["", "nothere", "a b", "가", "'; drop table users", &"a".repeat(65)] {
        assert!(is_no_link(&scene.invites.info(guest, code).await), "{code}");
        assert!(is_no_link(&scene.invites.join(guest, code).await), "{code}");
    }
}

#[tokio::test]
async fn used_up_link_is_no_link() {
    let scene = Scene::new().await;
    let code = scene.link(1).await;
    let (first, second) = (scene.db.user("하나").await, scene.db.user("두리").await);
    scene.invites.join(first, &code).await.unwrap();
    assert!(is_no_link(&scene.invites.info(second, &code).await));
    assert!(is_no_link(&scene.invites.join(second, &code).await));
    assert!(scene.invites.join(first, &code).await.unwrap().is_repeat);
    assert_eq!(scene.facts().await, 2);
}

#[tokio::test]
async fn link_ends_at_its_expiry() {
    let (now, scene) = Scene::with_hands(10).await;
    let request = CreateLink {
        expires_in_hours: Some(1),
        max_uses: None,
    };
    let link = scene
        .invites
        .create_link(scene.host, scene.event, request)
        .await
        .unwrap();
    let expires_at = link.expires_at.unwrap().0;
    assert_eq!(expires_at - now.load(Ordering::SeqCst), 3_600_000_000);
    now.store(expires_at - 1, Ordering::SeqCst);
    let guest = scene.db.user("준").await;
    assert!(scene.invites.info(guest, &link.code).await.is_ok());
    now.store(expires_at, Ordering::SeqCst);
    assert!(is_no_link(&scene.invites.info(guest, &link.code).await));
    assert!(is_no_link(&scene.invites.join(guest, &link.code).await));
    now.store(expires_at - 1, Ordering::SeqCst);
    assert!(scene.invites.join(guest, &link.code).await.is_ok());
}

#[tokio::test]
async fn nobody_joins_what_is_called_off() {
    let scene = Scene::new().await;
    let code = scene.link(0).await;
    scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    let guest = scene.db.user("준").await;
    for error in [
        scene.invites.info(guest, &code).await.unwrap_err(),
        scene.invites.join(guest, &code).await.unwrap_err(),
        scene
            .invites
            .create_link(scene.host, scene.event, CreateLink::default())
            .await
            .unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::EventState);
    }
    assert_eq!(scene.facts().await, 2);
}

#[tokio::test]
async fn nobody_joins_what_is_over() {
    let (now, scene) = Scene::with_hands(10).await;
    let request = CreateLink {
        expires_in_hours: Some(8_760),
        max_uses: None,
    };
    let link = scene.invites.create_link(scene.host, scene.event, request).await;
    let code = link.unwrap().code;
    let (early, late) = (scene.db.user("일찍").await, scene.db.user("늦게").await);
    let end = scene.end().await;
    now.store(end.0 - 1, Ordering::SeqCst);
    scene.invites.join(early, &code).await.unwrap();
    assert!(scene.invites.invitation(&code).await.unwrap().is_some());
    now.store(end.0, Ordering::SeqCst);
    for error in [
        scene.invites.info(late, &code).await.unwrap_err(),
        scene.invites.join(late, &code).await.unwrap_err(),
    ] {
        assert!(matches!(error, InvitesError::Denied(Denied::Over)), "{error:?}");
    }
    assert!(scene.invites.invitation(&code).await.unwrap().is_none());
    assert!(scene.invites.join(early, &code).await.unwrap().is_repeat);
    assert_eq!(scene.facts().await, 2);
}

#[tokio::test]
async fn dead_link_tells_nobody_what_became_of_its_event() {
    let scene = Scene::new().await;
    let code = scene.link(0).await;
    scene.invites.deactivate(scene.host, &code).await.unwrap();
    scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    let guest = scene.db.user("준").await;
    assert!(is_no_link(&scene.invites.info(guest, &code).await));
    assert!(is_no_link(&scene.invites.join(guest, &code).await));
}

#[tokio::test]
async fn host_follows_an_own_link_and_appears_once() {
    let scene = Scene::new().await;
    let code = scene.link(1).await;
    let info = scene.invites.info(scene.host, &code).await.unwrap();
    assert_eq!(info.action, InviteAction::AlreadyJoined);
    let joined = scene.invites.join(scene.host, &code).await.unwrap();
    assert!(joined.is_repeat && joined.changed.event.participants.is_empty());
    // And the link's one use is left.
    let guest = scene.db.user("준").await;
    assert!(!scene.invites.join(guest, &code).await.unwrap().is_repeat);
    assert_eq!(scene.facts().await, 2);
}

#[tokio::test]
async fn who_was_removed_does_not_come_back_by_an_old_link_but_who_left_does() {
    let scene = Scene::new().await;
    let old = scene.link(0).await;
    let (removed, left) = (scene.db.user("하나").await, scene.db.user("두리").await);
    for user in [removed, left] {
        scene.invites.join(user, &old).await.unwrap();
    }
    let events = &scene.events;
    events
        .remove_participant(scene.host, scene.event, removed)
        .await
        .unwrap();
    events.remove_participant(left, scene.event, left).await.unwrap();

    assert!(is_no_link(&scene.invites.info(removed, &old).await));
    assert!(is_no_link(&scene.invites.join(removed, &old).await));
    assert!(scene.invites.join(left, &old).await.is_ok());
    let new = scene.link(0).await;
    assert!(scene.invites.join(removed, &new).await.is_ok());
}

#[tokio::test]
async fn full_event_takes_nobody_and_does_not_use_up_the_link() {
    let scene = Scene::with(ticking(), 2).await;
    let code = scene.link(2).await;
    let (first, second) = (scene.db.user("하나").await, scene.db.user("두리").await);
    scene.invites.join(first, &code).await.unwrap();
    let outcome = scene.invites.join(second, &code).await;
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::EventFull);
    scene
        .events
        .remove_participant(scene.host, scene.event, first)
        .await
        .unwrap();
    assert!(scene.invites.join(second, &code).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn link_for_ten_lets_exactly_ten_of_a_hundred_in() {
    let scene = Scene::new().await;
    let code = scene.link(10).await;
    let mut tasks = Vec::new();
    for number in 0..100 {
        let user = scene.db.user(&format!("손님 {number}")).await;
        let (invites, code) = (scene.invites.clone(), code.clone());
        tasks.push(tokio::spawn(async move { invites.join(user, &code).await }));
    }
    let mut joined = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => joined.push(outcome.changed.fact_no),
            Err(error) => assert!(matches!(error, InvitesError::NoLink), "{error:?}"),
        }
    }
    joined.sort_unstable();
    assert_eq!(joined, (2..=11).collect::<Vec<_>>());
    let facts = facts_of(&scene.db.sql, scene.event).await;
    assert!(facts.iter().map(|fact| fact.no).eq(1..=11));
    let view = scene.events.read(scene.host, scene.event).await.unwrap();
    assert_eq!(view.participants.len(), 10);
}
