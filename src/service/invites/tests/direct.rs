use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::Scene;
use crate::{
    adapters::sql::{people, schema::users},
    domain::{
        event::{Answer, Denied},
        fact::Change,
        id::{EventId, UserId},
        user::UserStatus,
    },
    service::{
        events::{
            Expected,
            tests::{dinner, facts_of, ticking},
        },
        invites::InvitesError,
    },
};

impl Scene {
    /// Another event of `host`, in which these took part.
    async fn shared(&self, host: UserId, guests: &[UserId]) -> EventId {
        let event = self.events.create(host, dinner()).await.unwrap().event.id;
        let link = self
            .invites
            .create_link(host, event, super::CreateLink::default());
        let code = link.await.unwrap().code;
        for guest in guests {
            self.invites.join(*guest, &code).await.unwrap();
        }
        event
    }

    async fn acquainted(&self, user: UserId, others: &[UserId]) -> Vec<UserId> {
        let mut conn = self.db.sql.get().await.unwrap();
        people::acquainted(&mut conn, user, others).await.unwrap()
    }

    async fn set_status(&self, user: UserId, status: UserStatus) {
        let mut conn = self.db.sql.get().await.unwrap();
        diesel::update(users::table.find(user.0))
            .set(users::status.eq(status.as_str()))
            .execute(&mut conn)
            .await
            .unwrap();
    }
}

fn is_nobody<T: std::fmt::Debug>(outcome: &Result<T, InvitesError>) -> bool {
    matches!(outcome, Err(InvitesError::NotAcquainted))
}

#[tokio::test]
async fn host_adds_whom_they_know_once() {
    let scene = Scene::new().await;
    let friend = scene.db.user("친구").await;
    scene.shared(scene.host, &[friend]).await;

    let added = scene.invites.add(scene.host, scene.event, friend).await.unwrap();
    assert!(!added.is_repeat);
    assert_eq!(added.changed.event.participants[0].answer, Answer::Pending);
    let again = scene.invites.add(scene.host, scene.event, friend).await.unwrap();
    assert!(again.is_repeat);
    assert_eq!(again.changed.fact_no, added.changed.fact_no);
    let own = scene
        .invites
        .add(scene.host, scene.event, scene.host)
        .await
        .unwrap();
    assert!(own.is_repeat);

    let facts = facts_of(&scene.db.sql, scene.event).await;
    assert_eq!(facts.len(), 2);
    assert_eq!(facts[1].change, Change::ParticipantAdded { user: friend });
    assert_eq!(facts[1].actor, Some(scene.host));
}

#[tokio::test]
async fn stranger_unknown_suspended_and_deleted_cannot_be_added_nor_told_apart() {
    let scene = Scene::new().await;
    let (stranger, suspended, deleted) = (
        scene.db.user("낯선이").await,
        scene.db.user("정지").await,
        scene.db.user("탈퇴").await,
    );
    scene.shared(scene.host, &[suspended, deleted]).await;
    scene.set_status(suspended, UserStatus::Suspended).await;
    scene.set_status(deleted, UserStatus::Deleted).await;
    for user in [
        stranger,
        suspended,
        deleted,
        UserId(999),
        UserId(-1),
        UserId(i64::MAX),
    ] {
        let outcome = scene.invites.add(scene.host, scene.event, user).await;
        assert!(is_nobody(&outcome), "{user}: {outcome:?}");
    }
    assert_eq!(scene.facts().await, 1);
    scene.set_status(suspended, UserStatus::Active).await;
    assert!(
        scene
            .invites
            .add(scene.host, scene.event, suspended)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn only_the_host_adds_while_the_event_lives_and_has_room() {
    let scene = Scene::with(ticking(), 3).await;
    let (guest, friend, late) = (
        scene.db.user("손님").await,
        scene.db.user("친구").await,
        scene.db.user("늦게").await,
    );
    let other = scene.shared(scene.host, &[guest, friend]).await;
    scene.shared(scene.host, &[late]).await;
    scene.invites.add(scene.host, scene.event, guest).await.unwrap();

    let by_guest = scene.invites.add(guest, scene.event, friend).await;
    assert!(matches!(by_guest, Err(InvitesError::Denied(Denied::HostOnly))));
    // Also about somebody who does not exist: who may not add learns nothing.
    let by_guest = scene.invites.add(guest, scene.event, UserId(999)).await;
    assert!(matches!(by_guest, Err(InvitesError::Denied(Denied::HostOnly))));
    for event in [scene.event, EventId(999)] {
        let by_stranger = scene.invites.add(friend, event, guest).await;
        assert!(matches!(by_stranger, Err(InvitesError::Denied(Denied::Unknown))));
    }
    scene.invites.add(scene.host, scene.event, friend).await.unwrap();
    let full = scene.invites.add(scene.host, scene.event, late).await;
    assert!(matches!(full, Err(InvitesError::Full)));
    scene.events.cancel(scene.host, other, None).await.unwrap();
    let canceled = scene.invites.add(scene.host, other, late).await;
    assert!(matches!(canceled, Err(InvitesError::Denied(Denied::State(_)))));
}

#[tokio::test]
async fn nobody_is_added_to_what_is_over() {
    let (now, scene) = Scene::with_hands(10).await;
    let friend = scene.db.user("친구").await;
    scene.shared(scene.host, &[friend]).await;
    now.store(scene.end().await.0, std::sync::atomic::Ordering::SeqCst);
    let outcome = scene.invites.add(scene.host, scene.event, friend).await;
    assert!(
        matches!(outcome, Err(InvitesError::Denied(Denied::Over))),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn who_shared_an_event_at_any_time_is_acquainted() {
    let scene = Scene::new().await;
    let (guest, gone, fellow, stranger) = (
        scene.db.user("손님").await,
        scene.db.user("나간 사람").await,
        scene.db.user("함께한 사람").await,
        scene.db.user("낯선이").await,
    );
    let event = scene.shared(scene.host, &[guest, gone, fellow]).await;
    scene.events.remove_participant(gone, event, gone).await.unwrap();
    scene.shared(stranger, &[]).await;
    let all = [guest, gone, fellow, stranger, scene.host];

    assert_eq!(
        scene.acquainted(scene.host, &all).await,
        [scene.host, guest, gone, fellow]
    );
    assert_eq!(
        scene.acquainted(guest, &all).await,
        [scene.host, guest, gone, fellow]
    );
    assert_eq!(
        scene.acquainted(gone, &all).await,
        [scene.host, guest, gone, fellow]
    );
    assert_eq!(scene.acquainted(stranger, &all).await, [stranger]);
    assert_eq!(scene.acquainted(guest, &[]).await, []);

    let twice_and_many: Vec<UserId> = (1..2_500).map(UserId).chain(all).collect();
    assert_eq!(
        scene.acquainted(guest, &twice_and_many).await,
        [scene.host, guest, gone, fellow]
    );
}

#[tokio::test]
async fn host_adds_only_into_the_event_that_they_have_seen() {
    let scene = Scene::new().await;
    let (friend, other) = (scene.db.user("친구").await, scene.db.user("또").await);
    scene.shared(scene.host, &[friend, other]).await;
    let seen = Expected::one_of(vec![1]);
    let add = async |actor, user| {
        scene
            .invites
            .add_once(actor, scene.event, user, None, &seen)
            .await
    };
    assert_eq!(add(scene.host, friend).await.unwrap().fact_no, 2);
    let stale = add(scene.host, other).await;
    assert!(
        matches!(&stale, Err(InvitesError::Stale(stale)) if stale.event.fact_no == 2),
        "{stale:?}"
    );
    // What an event is like is told to nobody who may not add.
    let by_guest = add(friend, other).await;
    assert!(matches!(by_guest, Err(InvitesError::Denied(Denied::HostOnly))));
    let by_stranger = add(other, friend).await;
    assert!(matches!(by_stranger, Err(InvitesError::Denied(Denied::Unknown))));
    assert_eq!(facts_of(&scene.db.sql, scene.event).await.len(), 2);
}
