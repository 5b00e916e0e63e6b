use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::Accounts;
use crate::{
    adapters::sql::{fixture::TestDb, idempotency as keys, participants, users},
    domain::{
        event::Participant,
        id::UserId,
        time::{Clock, Micros},
    },
    service::events::{Events, tests::dinner},
};

#[tokio::test]
async fn what_a_late_request_of_a_deleted_account_left_behind_goes_with_the_last_look() {
    let db = TestDb::open().await;
    let hands = Arc::new(AtomicI64::new(1_790_000_000_000_000));
    let clock = {
        let hands = Arc::clone(&hands);
        Clock::from_fn(move || Micros(hands.load(Ordering::SeqCst)))
    };
    let events = Events::new(db.sql.clone(), clock.clone());
    let accounts = Accounts::new(db.sql.clone(), events, clock.clone(), Arc::new(|_| {}));
    let user = db.user("Adalbert").await;
    accounts.delete(user).await.unwrap();

    // Authenticated before the deletion, done after it.
    let mut conn = db.sql.get().await.unwrap();
    let late = keys::claim(&mut conn, user, "late", [0; 32], clock.now()).await;
    assert!(late.unwrap());
    drop(conn);
    let is_kept = async || {
        let mut conn = db.sql.get().await.unwrap();
        let kept = keys::find(&mut conn, user, "late").await.unwrap().is_some();
        let watched = users::leaving(&mut conn, UserId(0), 10).await.unwrap();
        assert_eq!(
            kept,
            !watched.is_empty(),
            "looked at for as long as anything is left"
        );
        kept
    };
    accounts.clear_departed().await.unwrap();
    assert!(is_kept().await, "its request may still be under way");
    let wait = i64::try_from(Duration::from_secs(121).as_micros()).unwrap();
    hands.fetch_add(wait, Ordering::SeqCst);
    accounts.clear_departed().await.unwrap();
    assert!(!is_kept().await);
}

#[tokio::test]
async fn why_somebody_answered_goes_with_the_account() {
    let db = TestDb::open().await;
    let clock = Clock::from_fn(|| Micros(1_790_000_000_000_000));
    let events = Events::new(db.sql.clone(), clock.clone());
    let accounts = Accounts::new(db.sql.clone(), events.clone(), clock.clone(), Arc::new(|_| {}));
    let (host, guest) = (db.user("Host").await, db.user("Guest").await);
    let event = events.create(host, dinner()).await.unwrap().event.id;
    let mut conn = db.sql.get().await.unwrap();
    let came = Participant::invited(guest);
    participants::insert(&mut conn, event, &came, clock.now())
        .await
        .unwrap();
    drop(conn);
    events
        .answer(guest, event, false, Some("in hospital".into()))
        .await
        .unwrap();
    let reason = async || {
        let mut conn = db.sql.get().await.unwrap();
        let here = participants::of_event(&mut conn, event).await.unwrap();
        here.participants
            .into_iter()
            .find(|one| one.user == guest)
            .unwrap()
            .reason
    };
    assert_eq!(reason().await.as_deref(), Some("in hospital"));
    accounts.delete(guest).await.unwrap();
    assert_eq!(reason().await, None);
}
