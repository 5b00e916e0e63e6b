use std::{sync::atomic::Ordering, time::Duration};

use super::{Scene, is_no_link};
use crate::{
    domain::{event::Denied, time::Micros},
    error::{Coded, ErrorCode},
    service::{
        idempotency::IdempotencyKey,
        invites::{CreateLink, InvitesError},
    },
};

const HOUR: i64 = 3_600_000_000;

#[tokio::test]
async fn host_sees_what_became_of_each_link_the_newest_first() {
    let scene = Scene::new().await;
    let (first, second) = (scene.link(2).await, scene.link(0).await);
    let guest = scene.db.user("준").await;
    scene.invites.join(guest, &first).await.unwrap();
    scene.invites.deactivate(scene.host, &second).await.unwrap();

    let links = scene.invites.links(scene.host, scene.event).await.unwrap();
    let seen: Vec<_> = links
        .iter()
        .map(|link| {
            (
                link.link.code.as_str(),
                link.use_count,
                link.link.max_uses,
                link.is_active,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [(second.as_str(), 0, 0, false), (first.as_str(), 1, 2, true)]
    );
    assert!(links[0].created_at > links[1].created_at);
    assert_eq!(links[1].link.link, format!("https://t.example/invite/{first}"));

    let stranger = scene.db.user("낯선이").await;
    let by_guest = scene.invites.links(guest, scene.event).await;
    assert!(matches!(by_guest, Err(InvitesError::Denied(Denied::HostOnly))));
    let by_stranger = scene.invites.links(stranger, scene.event).await;
    assert!(matches!(by_stranger, Err(InvitesError::Denied(Denied::Unknown))));
}

#[tokio::test]
async fn only_the_host_ends_a_link_and_may_do_so_twice() {
    let scene = Scene::new().await;
    let code = scene.link(0).await;
    let (guest, other) = (scene.db.user("준").await, scene.db.user("다른 주최자").await);
    scene.invites.join(guest, &code).await.unwrap();
    for (user, code) in [
        (guest, code.as_str()),
        (other, &code),
        (scene.host, "unknown"),
        (scene.host, "not one"),
    ] {
        let error = scene.invites.deactivate(user, code).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::NotFound);
    }
    let late = scene.db.user("늦게").await;
    assert!(scene.invites.info(late, &code).await.is_ok());

    for _ in 0..2 {
        scene.invites.deactivate(scene.host, &code).await.unwrap();
        assert!(is_no_link(&scene.invites.info(late, &code).await));
        assert!(is_no_link(&scene.invites.join(late, &code).await));
        assert!(scene.invites.invitation(&code).await.unwrap().is_none());
    }
    scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    scene.invites.deactivate(scene.host, &code).await.unwrap();
}

#[tokio::test]
async fn hundred_links_count_at_once_and_a_dead_one_makes_room() {
    let (now, scene) = Scene::with_hands(10).await;
    let mut codes = Vec::new();
    for _ in 0..100 {
        codes.push(scene.link(1).await);
    }
    let one_more = || {
        let request = CreateLink::default();
        scene.invites.create_link(scene.host, scene.event, request)
    };
    let error = one_more().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ValidationError);
    assert_eq!(error.details()["limit"], 100);

    let guest = scene.db.user("준").await;
    scene.invites.join(guest, &codes[0]).await.unwrap();
    one_more().await.unwrap();
    one_more().await.unwrap_err();
    scene.invites.deactivate(scene.host, &codes[1]).await.unwrap();
    one_more().await.unwrap();
    one_more().await.unwrap_err();
    now.fetch_add(168 * HOUR, Ordering::SeqCst);
    one_more().await.unwrap();

    // However many are dead, the one that counts is listed.
    let links = scene.invites.links(scene.host, scene.event).await.unwrap();
    assert_eq!(links.len(), 101);
    assert!(links[0].link.expires_at.unwrap() > Micros(now.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn link_asked_for_twice_under_one_key_is_made_once() {
    let scene = Scene::new().await;
    let key = |body: &[u8]| {
        let path = format!("/api/v1/events/{}/invite-link", scene.event);
        IdempotencyKey::new("one", "POST", &path, body, Duration::from_secs(60)).unwrap()
    };
    let ask = async |key: IdempotencyKey| {
        let request = CreateLink::default();
        let invites = &scene.invites;
        invites
            .create_link_once(scene.host, scene.event, request, Some(&key))
            .await
    };
    let first = ask(key(b"{}")).await.unwrap();
    let again = ask(key(b"{}")).await.unwrap();
    assert!(!first.is_repeat && again.is_repeat);
    assert_eq!(first.body, again.body);
    let error = ask(key(b"{\"max_uses\":1}")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::IdempotencyKeyReused);
    let links = scene.invites.links(scene.host, scene.event).await.unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(first.body["code"], links[0].link.code);
}

#[tokio::test]
async fn invitation_holds_what_the_page_says_and_only_while_one_can_join() {
    let scene = Scene::new().await;
    let code = scene.link(1).await;
    let invitation = scene.invites.invitation(&code).await.unwrap().unwrap();
    assert_eq!(invitation.title, "저녁");
    assert_eq!(invitation.host.as_deref(), Some("미나"));
    assert_eq!(invitation.timezone, "Asia/Seoul");
    assert_eq!(invitation.link, format!("https://t.example/invite/{code}"));

    let guest = scene.db.user("준").await;
    scene.invites.join(guest, &code).await.unwrap();
    let canceled = scene.link(0).await;
    scene.events.cancel(scene.host, scene.event, None).await.unwrap();
    for code in [
        code.as_str(),
        &canceled,
        "unknown",
        "",
        "%61",
        "a b",
        &"a".repeat(65),
    ] {
        assert!(scene.invites.invitation(code).await.unwrap().is_none(), "{code}");
    }
}
