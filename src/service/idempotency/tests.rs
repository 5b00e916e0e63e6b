use std::time::Duration;

use serde_json::json;

use super::{IdempotencyKey, KeyReused, before, begin, finish, forget};
use crate::{
    adapters::sql::{Conn, SqlError, fixture::TestDb, idempotency as keys, users},
    domain::{id::UserId, time::Micros},
    service::events::{
        Events, EventsError,
        tests::{dinner, ticking},
    },
};

const LIFE: Duration = Duration::from_secs(24 * 3_600);

fn key(name: &str, body: &str) -> IdempotencyKey {
    IdempotencyKey::new(name, "POST", "/api/v1/events", body.as_bytes(), LIFE).unwrap()
}

async fn events_of(db: &TestDb, user: UserId) -> usize {
    let events = Events::new(db.sql.clone(), ticking());
    events
        .list(user, crate::service::events::ListEvents::default())
        .await
        .unwrap()
        .len()
}

async fn is_taken(db: &TestDb, user: UserId, name: &str) -> bool {
    let mut conn = db.sql.get().await.unwrap();
    keys::find(&mut conn, user, name).await.unwrap().is_some()
}

#[test]
fn key_is_bounded_and_every_part_of_the_request_counts() {
    let of = |key: &str| IdempotencyKey::new(key, "POST", "/x", b"{}", LIFE).is_ok();
    assert!(of("a") && of(&"~".repeat(200)) && of("\"quoted\""));
    for bad in ["", " ", "a b", "a\n", "가", &"a".repeat(201)] {
        assert!(!of(bad), "{bad:?}");
    }
    let print = |method: &str, path: &str, body: &str| {
        IdempotencyKey::new("k", method, path, body.as_bytes(), LIFE)
            .unwrap()
            .fingerprint
    };
    let one = print("POST", "/a", "b");
    assert_eq!(one, print("POST", "/a", "b"));
    for other in [
        print("PUT", "/a", "b"),
        print("POST", "/b", "b"),
        print("POST", "/a", "c"),
        print("POST", "/a\n", "b"),
        print("POST", "/ab", ""),
    ] {
        assert_ne!(one, other);
    }
}

#[tokio::test]
async fn creation_that_fails_leaves_neither_the_event_nor_the_key() {
    let db = TestDb::open().await;
    let (events, host) = (Events::new(db.sql.clone(), ticking()), db.user("미나").await);
    let key = key("k", "1");

    // As a process that dies before its commit: made, kept, and then not committed.
    let gone = db
        .sql
        .write(async |conn| {
            assert!(
                begin::<EventsError>(conn, host, Some(&key), Micros(1))
                    .await?
                    .is_none()
            );
            let before = keys::find(conn, host, "k").await?;
            assert!(before.is_some_and(|kept| kept.answer.is_null()));
            finish(conn, host, Some(&key), &json!({"id": 1, "fact_no": 1})).await?;
            Err::<(), _>(EventsError::NoUser)
        })
        .await;
    assert!(matches!(gone, Err(EventsError::NoUser)));
    assert!(!is_taken(&db, host, "k").await);

    // As one that the store or a rule stops half way.
    let mut bad = dinner();
    bad.participant_ids = Some(vec![UserId(999)]);
    let refused = events.create_once(host, bad, Some(&key)).await;
    assert!(matches!(refused, Err(EventsError::Invalid(_))));
    assert!(!is_taken(&db, host, "k").await);
    assert_eq!(events_of(&db, host).await, 0);

    let made = events.create_once(host, dinner(), Some(&key)).await.unwrap();
    assert!(!made.answer.is_repeat);
    assert_eq!(events_of(&db, host).await, 1);
}

#[tokio::test]
async fn creations_at_once_with_one_key_make_one_event_and_get_one_answer() {
    let db = TestDb::open().await;
    let (events, host) = (Events::new(db.sql.clone(), ticking()), db.user("미나").await);
    let tries = (0..20).map(|_| {
        let (events, key) = (events.clone(), key("k", "1"));
        tokio::spawn(async move { events.create_once(host, dinner(), Some(&key)).await.unwrap() })
    });
    let mut answers = Vec::new();
    for task in tries.collect::<Vec<_>>() {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|made| !made.answer.is_repeat).count(), 1);
    assert!(
        answers
            .iter()
            .all(|made| made.answer.body == answers[0].answer.body)
    );
    assert!(
        answers
            .iter()
            .all(|made| (made.event, made.fact_no) == (answers[0].event, 1))
    );
    assert_eq!(events_of(&db, host).await, 1);

    let mut conn = db.sql.get().await.unwrap();
    let reused = begin::<EventsError>(
        &mut conn,
        host,
        Some(&key("k", "2")),
        Micros(1_790_000_000_000_000),
    )
    .await;
    assert!(matches!(reused, Err(EventsError::KeyReused(KeyReused))));
}

#[tokio::test]
async fn old_keys_are_forgotten_in_batches_and_young_ones_stay() {
    let db = TestDb::open().await;
    let user = db.user("미나").await;
    let taken = db.sql.write(async |conn| {
        for n in 0..1_200 {
            let at = Micros(i64::from(n));
            assert!(keys::claim(conn, user, &format!("k{n}"), [0; 32], at).await?);
        }
        Ok::<_, SqlError>(())
    });
    taken.await.unwrap();
    forget(&db.sql, Micros(1_150)).await.unwrap();
    assert!(!is_taken(&db, user, "k0").await && !is_taken(&db, user, "k1149").await);
    assert!(is_taken(&db, user, "k1150").await && is_taken(&db, user, "k1199").await);
    assert_eq!(before(Micros(5), Duration::MAX).0, 5 - i64::MAX);
}

#[tokio::test]
async fn key_counts_for_its_life_and_not_longer() {
    let db = TestDb::open().await;
    let user = db.user("미나").await;
    let (key, life) = (key("k", "1"), i64::try_from(LIFE.as_micros()).unwrap());
    let mut conn = db.sql.get().await.unwrap();
    assert!(
        begin::<EventsError>(&mut conn, user, Some(&key), Micros(0))
            .await
            .unwrap()
            .is_none()
    );
    finish(&mut conn, user, Some(&key), &json!("first"))
        .await
        .unwrap();
    let again = begin::<EventsError>(&mut conn, user, Some(&key), Micros(life))
        .await
        .unwrap();
    assert_eq!(again.unwrap().body, json!("first"));
    let later = begin::<EventsError>(&mut conn, user, Some(&key), Micros(life + 1))
        .await
        .unwrap();
    assert!(later.is_none());
}

#[tokio::test]
async fn kept_answer_holds_nobodys_name_and_a_repeat_shows_the_names_of_now() {
    let db = TestDb::open().await;
    let (host, guest) = (db.user("Minerva").await, db.user("Adalbert").await);
    let key = key("k", "1");
    let made = json!({
        "id": 7,
        "fact_no": 2,
        "title": "Dinner",
        "creator": { "id": host, "name": "Minerva" },
        "participants": [{ "id": guest, "name": "Adalbert", "answer": "pending" }],
    });
    let stored = db.sql.write(async |conn| {
        begin::<EventsError>(conn, host, Some(&key), Micros(1)).await?;
        let first = finish(conn, host, Some(&key), &made).await?;
        assert_eq!(first.body, made);
        Ok::<_, EventsError>(())
    });
    stored.await.unwrap();
    let mut conn = db.sql.get().await.unwrap();
    let kept = keys::find(&mut conn, host, "k").await.unwrap().unwrap().answer;
    let kept = kept.to_string();
    assert!(!kept.contains("Minerva") && !kept.contains("Adalbert"), "{kept}");
    assert!(kept.contains("Dinner"));

    let again = async |conn: &mut Conn| {
        let answer = begin::<EventsError>(conn, host, Some(&key), Micros(2)).await;
        answer.unwrap().unwrap().body
    };
    assert_eq!(again(&mut conn).await, made);
    users::erase(&mut conn, guest, Micros(2)).await.unwrap();
    let later = again(&mut conn).await;
    assert_eq!(later["creator"]["name"], "Minerva");
    assert_eq!(later["participants"][0]["name"], "알 수 없는 사용자");
}
