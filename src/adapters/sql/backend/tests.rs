use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    result::{DatabaseErrorKind, Error},
    upsert::excluded,
};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Common, Conn, Snapshots};

diesel::table! {
    samples (id) {
        id -> BigInt,
        small -> SmallInt,
        medium -> Integer,
        real -> Double,
        truth -> Bool,
        text -> Text,
        bytes -> Binary,
        at -> Timestamptz,
        uuid -> Uuid,
        json -> Jsonb,
        maybe_big -> Nullable<BigInt>,
        maybe_text -> Nullable<Text>,
        maybe_at -> Nullable<Timestamptz>,
        maybe_uuid -> Nullable<Uuid>,
        maybe_json -> Nullable<Jsonb>,
    }
}

const TABLE: &str = "create table samples (
    id integer primary key, small integer not null, medium integer not null, real real not null,
    truth integer not null, text text not null unique, bytes blob not null, at integer not null,
    uuid blob not null, json text not null check (json_valid(json)), maybe_big integer,
    maybe_text text, maybe_at integer, maybe_uuid blob, maybe_json text) strict;";

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Insertable)]
#[diesel(table_name = samples, check_for_backend(Common), treat_none_as_default_value = false)]
struct Sample {
    id: i64,
    small: i16,
    medium: i32,
    real: f64,
    truth: bool,
    text: String,
    bytes: Vec<u8>,
    at: DateTime<Utc>,
    uuid: Uuid,
    json: Value,
    maybe_big: Option<i64>,
    maybe_text: Option<String>,
    maybe_at: Option<DateTime<Utc>>,
    maybe_uuid: Option<Uuid>,
    maybe_json: Option<Value>,
}

fn sample(id: i64) -> Sample {
    Sample {
        id,
        small: i16::MIN,
        medium: i32::MAX,
        real: -0.1,
        truth: true,
        text: format!("가 \"'?$1 {id}"),
        bytes: vec![0, 255, 1],
        at: DateTime::from_timestamp_micros(-1).unwrap(),
        uuid: Uuid::from_u128(u128::MAX - 1),
        json: json!({"b": [1, null, "\u{0}"], "a": 1.5}),
        maybe_big: None,
        maybe_text: None,
        maybe_at: None,
        maybe_uuid: None,
        maybe_json: None,
    }
}

async fn open(dir: &tempfile::TempDir) -> Conn {
    let path = dir.path().join("samples.db");
    Conn::establish(path.to_str().unwrap()).await.unwrap()
}

async fn fresh() -> (tempfile::TempDir, Conn) {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = open(&dir).await;
    conn.batch_execute(TABLE).await.unwrap();
    (dir, conn)
}

async fn put(conn: &mut Conn, sample: &Sample) -> QueryResult<Sample> {
    diesel::insert_into(samples::table)
        .values(sample)
        .returning(Sample::as_returning())
        .get_result(conn)
        .await
}

async fn texts(conn: &mut Conn) -> Vec<String> {
    samples::table
        .order(samples::id)
        .select(samples::text)
        .load(conn)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_column_type_comes_back_as_it_was() {
    let (_dir, mut conn) = fresh().await;
    let empty = sample(i64::MIN);
    assert_eq!(put(&mut conn, &empty).await.unwrap(), empty);
    let full = Sample {
        truth: false,
        at: DateTime::from_timestamp_micros(1_790_000_000_000_001).unwrap(),
        maybe_big: Some(i64::MAX),
        maybe_text: Some(String::new()),
        maybe_at: Some(DateTime::from_timestamp_micros(7).unwrap()),
        maybe_uuid: Some(Uuid::nil()),
        maybe_json: Some(Value::Null),
        ..sample(2)
    };
    assert_eq!(put(&mut conn, &full).await.unwrap(), full);
    let read: Vec<Sample> = samples::table
        .order(samples::id)
        .select(Sample::as_select())
        .load(&mut conn)
        .await
        .unwrap();
    assert_eq!(read, [empty, full.clone()]);
    let found: i64 = samples::table
        .filter(samples::at.eq(full.at))
        .filter(samples::uuid.eq(full.uuid))
        .filter(samples::truth.eq(false))
        .filter(samples::bytes.eq(&full.bytes))
        .select(samples::id)
        .first(&mut conn)
        .await
        .unwrap();
    assert_eq!(found, 2);
}

#[tokio::test]
async fn instants_sort_as_instants() {
    let (_dir, mut conn) = fresh().await;
    for (id, at) in [(1, 5), (2, -5), (3, 1_790_000_000_000_000), (4, 0)] {
        let at = DateTime::from_timestamp_micros(at).unwrap();
        put(&mut conn, &Sample { at, ..sample(id) }).await.unwrap();
    }
    let ids: Vec<i64> = samples::table
        .filter(samples::at.lt(DateTime::from_timestamp_micros(100).unwrap()))
        .order(samples::at.desc())
        .select(samples::id)
        .load(&mut conn)
        .await
        .unwrap();
    assert_eq!(ids, [1, 4, 2]);
}

#[tokio::test]
async fn many_rows_conflict_limit_and_null_are_understood() {
    let (_dir, mut conn) = fresh().await;
    let rows: Vec<Sample> = (1..=5).map(sample).collect();
    let written = diesel::insert_into(samples::table)
        .values(&rows)
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(written, 5);
    let text: String = diesel::insert_into(samples::table)
        .values(&Sample {
            maybe_big: Some(9),
            ..sample(3)
        })
        .on_conflict(samples::id)
        .do_update()
        .set((
            samples::maybe_big.eq(excluded(samples::maybe_big)),
            samples::text.eq("new"),
        ))
        .returning(samples::text)
        .get_result(&mut conn)
        .await
        .unwrap();
    assert_eq!(text, "new");
    let ignored = diesel::insert_into(samples::table)
        .values(vec![sample(1), sample(6)])
        .on_conflict(samples::id)
        .do_nothing()
        .execute(&mut conn)
        .await
        .unwrap();
    assert_eq!(ignored, 1);
    let page = async |conn: &mut Conn, only_null: bool, offset: i64| -> Vec<i64> {
        let mut query = samples::table.select(samples::id).into_boxed::<Common>();
        if only_null {
            query = query.filter(samples::maybe_big.is_null());
        }
        query
            .order(samples::id)
            .limit(2)
            .offset(offset)
            .load(conn)
            .await
            .unwrap()
    };
    assert_eq!(page(&mut conn, true, 2).await, [4, 5]);
    assert_eq!(page(&mut conn, false, 2).await, [3, 4]);
    let some: Vec<i64> = samples::table
        .filter(samples::id.eq_any([2_i64, 6, 99]))
        .order(samples::id)
        .select(samples::id)
        .load(&mut conn)
        .await
        .unwrap();
    assert_eq!(some, [2, 6]);
    let none: Vec<i64> = samples::table
        .filter(samples::id.eq_any(Vec::<i64>::new()))
        .select(samples::id)
        .load(&mut conn)
        .await
        .unwrap();
    assert!(none.is_empty());
    let cleared = diesel::update(samples::table.find(3))
        .set(samples::maybe_big.eq(None::<i64>))
        .returning(samples::maybe_big)
        .get_result::<Option<i64>>(&mut conn)
        .await
        .unwrap();
    assert_eq!(cleared, None);
}

#[tokio::test]
async fn violations_have_their_kind() {
    let (_dir, mut conn) = fresh().await;
    put(&mut conn, &sample(1)).await.unwrap();
    let twice = put(
        &mut conn,
        &Sample {
            text: sample(1).text,
            ..sample(2)
        },
    )
    .await;
    assert!(
        matches!(
            twice,
            Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
        ),
        "{twice:?}"
    );
    let wrong = conn.batch_execute("update samples set json = '{'").await;
    assert!(wrong.is_err());
}

#[tokio::test]
async fn nested_transaction_is_a_savepoint() {
    let (_dir, mut conn) = fresh().await;
    conn.transaction(async |conn| {
        put(
            conn,
            &Sample {
                text: "outer".into(),
                ..sample(1)
            },
        )
        .await?;
        let inner: QueryResult<()> = conn
            .transaction(async |conn| {
                put(
                    conn,
                    &Sample {
                        text: "lost".into(),
                        ..sample(2)
                    },
                )
                .await?;
                Err(Error::RollbackTransaction)
            })
            .await;
        assert!(inner.is_err());
        conn.transaction(async |conn| {
            put(
                conn,
                &Sample {
                    text: "inner".into(),
                    ..sample(3)
                },
            )
            .await
        })
        .await?;
        QueryResult::Ok(())
    })
    .await
    .unwrap();
    assert_eq!(texts(&mut conn).await, ["outer", "inner"]);

    let all: QueryResult<()> = conn
        .transaction(async |conn| {
            conn.transaction(async |conn| {
                put(
                    conn,
                    &Sample {
                        text: "gone".into(),
                        ..sample(4)
                    },
                )
                .await
            })
            .await?;
            Err(Error::RollbackTransaction)
        })
        .await;
    assert!(all.is_err());
    assert_eq!(texts(&mut conn).await, ["outer", "inner"]);
}

#[tokio::test]
async fn snapshot_is_of_one_moment_and_nobody_waits_for_it() {
    let (dir, mut reader) = fresh().await;
    let mut writer = open(&dir).await;
    put(&mut writer, &sample(1)).await.unwrap();
    let (first, second) = Snapshots::transaction(&mut reader, async |reader| {
        let first = texts(reader).await.len();
        put(&mut writer, &sample(2)).await?;
        QueryResult::Ok((first, texts(reader).await.len()))
    })
    .await
    .unwrap();
    assert_eq!((first, second), (1, 1));
    assert_eq!(texts(&mut reader).await.len(), 2);
}

#[tokio::test]
async fn what_is_committed_is_on_disk_and_references_count() {
    let (_dir, mut conn) = fresh().await;
    let pragma = async |conn: &mut Conn, sql: &str| -> i64 {
        diesel::dsl::sql::<diesel::sql_types::BigInt>(sql)
            .get_result(conn)
            .await
            .unwrap()
    };
    assert_eq!(
        pragma(&mut conn, "select synchronous from pragma_synchronous").await,
        2
    );
    assert_eq!(
        pragma(&mut conn, "select foreign_keys from pragma_foreign_keys").await,
        1
    );
    assert_eq!(
        pragma(&mut conn, "select timeout from pragma_busy_timeout").await,
        5_000
    );
    assert_eq!(
        pragma(&mut conn, "select secure_delete from pragma_secure_delete").await,
        1
    );
    let mode = diesel::dsl::sql::<diesel::sql_types::Text>("select journal_mode from pragma_journal_mode");
    assert_eq!(mode.get_result::<String>(&mut conn).await.unwrap(), "wal");
}
