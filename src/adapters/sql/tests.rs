use std::time::Duration;

use diesel::{connection::SimpleConnection as _, prelude::*};
use diesel_async::RunQueryDsl;

use super::{
    Sql, SqlError,
    fixture::TestDb,
    migrate::{migrate, migrate_one, pending, revert},
    schema::{event_history, events, invites, participants, refresh_tokens, sessions, users},
};
use crate::{
    domain::{
        id::{EventId, UserId},
        time::Micros,
    },
    error::{Coded, ErrorCode},
};

#[tokio::test]
async fn migrations_survive_down_and_up_and_say_what_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let all = pending(&path).await.unwrap();
    assert!(!all.is_empty());
    assert_eq!(migrate(&path).await.unwrap().len(), all.len());
    assert!(pending(&path).await.unwrap().is_empty());
    let first = schema_of(&path).await;
    assert!(first.iter().any(|sql| sql.contains("event_history")));

    revert(&path).await.unwrap();
    assert_eq!(pending(&path).await.unwrap(), all);
    assert_eq!(schema_of(&path).await, [""; 0]);

    migrate(&path).await.unwrap();
    assert_eq!(schema_of(&path).await, first);
    assert!(migrate(&path).await.unwrap().is_empty());
}

#[tokio::test]
async fn event_from_before_the_rules_of_its_life_goes_on_by_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    migrate_one(&path).await.unwrap();
    let old = "insert into users (id, created_at, updated_at) values (1, 1, 1);
        insert into events (id, room, title, start_time, end_time, timezone, status, creator_id,
            fact_no, created_at, updated_at)
        select n, randomblob(16), 'a', 100, 200, 'UTC', status, 1, 2, 1, at
        from (select 1 n, 'PROPOSED' status, 5 at union select 2, 'CONFIRMED', 60
            union select 3, 'CONFIRMED', 300 union select 4, 'CONFIRMED', 400
            union select 5, 'CANCELED', 7);
        insert into event_history (event_id, fact_no, id, kind, at, payload)
        values (4, 2, randomblob(16), 'confirmed', 50, '{}');";
    let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
    conn.batch_execute(old).unwrap();
    drop(conn);
    migrate(&path).await.unwrap();

    let sql = Sql::open(&path, 1, Duration::from_secs(5)).await.unwrap();
    let mut conn = sql.get().await.unwrap();
    let due = super::events::due(&mut conn, Micros(i64::MAX), None, 10);
    let due: Vec<(i64, i64)> = due
        .await
        .unwrap()
        .iter()
        .map(|due| (due.event.0, due.due_at.0))
        .collect();
    assert_eq!(due, [(2, 200), (4, 200)], "3 was confirmed after its end");
    for (id, confirmed_at, ended_at) in [
        (1, None, None),
        (2, Some(60), None),
        (3, Some(300), None),
        (4, Some(50), None),
        (5, None, Some(7)),
    ] {
        let event = super::events::find(&mut conn, EventId(id))
            .await
            .unwrap()
            .unwrap();
        let course = event.course;
        let times = (course.confirmed_at.map(|at| at.0), course.ended_at.map(|at| at.0));
        assert_eq!(times, (confirmed_at, ended_at), "{id}");
        assert_eq!(course.was_confirmed, confirmed_at.is_some(), "{id}");
        assert_eq!(
            event.due_at().map(|at| at.0),
            due.iter().find(|due| due.0 == id).map(|due| due.1),
            "{id}"
        );
    }
}

async fn schema_of(path: &std::path::Path) -> Vec<String> {
    let sql = Sql::open(path, 1, Duration::from_secs(5)).await.unwrap();
    let mut conn = sql.get().await.unwrap();
    diesel::dsl::sql::<diesel::sql_types::Text>(
        "select sql from sqlite_schema where sql is not null and name not like 'sqlite_%' \
         and name not like '__diesel%' order by name",
    )
    .load::<String>(&mut conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_column_of_the_schema_exists() {
    let db = TestDb::open().await;
    let mut conn = db.sql.get().await.unwrap();
    macro_rules! check {
        ($($table:ident),*) => {$(
            let rows: i64 = $table::table.count().get_result(&mut conn).await.unwrap();
            assert_eq!(rows, 0);
            let query = diesel::select(diesel::dsl::exists($table::table.select($table::all_columns)));
            assert!(!query.get_result::<bool>(&mut conn).await.unwrap());
        )*};
    }
    check!(
        users,
        sessions,
        refresh_tokens,
        events,
        participants,
        event_history,
        invites
    );
}

#[tokio::test]
async fn nobody_waits_for_a_connection_beyond_the_limit() {
    let db = TestDb::open().await;
    let sql = db.again(1, Duration::from_millis(50)).await;
    let held = sql.get().await.unwrap();
    let error = sql.get().await.err().unwrap();
    assert!(matches!(error, SqlError::Unavailable(_)));
    assert_eq!(error.code(), ErrorCode::Unavailable);
    drop(held);
    assert!(sql.get().await.is_ok());
}

#[test]
fn connection_outlives_the_runtime_that_asked_for_it() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (home, worker) = (runtime(), runtime());
    let db = home.block_on(TestDb::open());
    let use_two = async |sql: &Sql| {
        let (mut first, mut second) = (sql.get().await.unwrap(), sql.get().await.unwrap());
        for conn in [&mut first, &mut second] {
            let rows: i64 = users::table.count().get_result(conn).await.unwrap();
            assert_eq!(rows, 0);
        }
    };
    worker.block_on(use_two(&db.sql));
    drop(worker);
    home.block_on(use_two(&db.sql));
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_is_corrupt_and_not_a_fault_of_the_client() {
    let db = TestDb::open().await;
    let host = db.user("미나").await;
    let mut conn = db.sql.get().await.unwrap();
    let event = super::events::insert(&mut conn, &new_event(host), 0, Micros(5))
        .await
        .unwrap();
    diesel::insert_into(event_history::table)
        .values((
            event_history::event_id.eq(event.id.0),
            event_history::fact_no.eq(1),
            event_history::id.eq(uuid::Uuid::from_u128(1)),
            event_history::kind.eq("teleported"),
            event_history::at.eq(Micros(5).to_datetime()),
            event_history::payload.eq(serde_json::json!({"type": "teleported"})),
        ))
        .execute(&mut conn)
        .await
        .unwrap();
    let error = super::history::after(&mut conn, event.id, 0, 10)
        .await
        .unwrap_err();
    assert!(matches!(error, SqlError::Corrupt(_)), "{error:?}");
}

#[tokio::test]
async fn a_number_is_not_given_out_twice() {
    let db = TestDb::open().await;
    let first = db.user("하나").await;
    let mut conn = db.sql.get().await.unwrap();
    diesel::delete(users::table.find(first.0))
        .execute(&mut conn)
        .await
        .unwrap();
    drop(conn);
    assert!(db.user("두리").await > first);
}

fn new_event(creator: UserId) -> super::events::NewEvent {
    super::events::NewEvent {
        room: crate::domain::id::RoomId(uuid::Uuid::from_u128(9)),
        title: "저녁".into(),
        description: None,
        location: None,
        start_time: Micros(10),
        end_time: Micros(10),
        timezone: "Asia/Seoul".into(),
        creator,
        rule: crate::domain::event::Rule::default(),
    }
}
