//! The double as the driver sees it: what it says is read as what a ScyllaDB would say.

use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    errors::{DbError, ExecutionError, NewSessionError, OperationType, RequestAttemptError, WriteType},
    response::query_result::QueryRowsResult,
    statement::{Consistency, prepared::PreparedStatement},
    value::{CqlValue, Row},
};
use uuid::Uuid;

use super::{
    failure::Failure,
    server::{Asked, Double, Effect, Seen},
    shape::{Shape, ShardPort},
    wire::level,
};
use crate::harness::until;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS t.log (room uuid, bucket int, head bigint STATIC, \
    first bigint, hash blob, PRIMARY KEY ((room, bucket), first)) WITH CLUSTERING ORDER BY (first DESC)";
const APPEND: &str = "UPDATE t.log SET head = ?, hash = ? WHERE room = ? AND bucket = ? AND first = ? IF head = ? AND hash = ?";

async fn connect(double: &Double) -> Session {
    let session = SessionBuilder::new()
        .known_node(double.host())
        .build()
        .await
        .unwrap();
    session
        .query_unpaged(
            "CREATE KEYSPACE IF NOT EXISTS t WITH replication = \
             {'class': 'NetworkTopologyStrategy', 'somewhere': 3}",
            (),
        )
        .await
        .unwrap();
    session.query_unpaged(TABLE, ()).await.unwrap();
    session.await_schema_agreement().await.unwrap();
    session.refresh_metadata().await.unwrap();
    session
}

async fn append(session: &Session, append: &PreparedStatement, room: Uuid, expected: i64) -> QueryRowsResult {
    let held = (expected > 0).then_some(expected);
    let values = (
        expected + 1,
        vec![1_u8],
        room,
        0,
        expected + 1,
        held,
        None::<Vec<u8>>,
    );
    let result = session.execute_unpaged(append, values).await.unwrap();
    result.into_rows_result().unwrap()
}

/// The columns of the only row, by their names.
fn row(result: &QueryRowsResult) -> Vec<(String, Option<CqlValue>)> {
    let names = result.column_specs().iter().map(|spec| spec.name().to_owned());
    let row = result.single_row::<Row>().unwrap();
    names.zip(row.columns).collect()
}

fn column(name: &str, value: Option<CqlValue>) -> (String, Option<CqlValue>) {
    (name.to_owned(), value)
}

#[tokio::test]
async fn scylladb_always_shows_the_old_values_and_cassandra_only_to_who_was_refused() {
    let applied = |yes| column("[applied]", Some(CqlValue::Boolean(yes)));
    for shape in [Shape::scylla(), Shape::cassandra()] {
        let double = Double::start(shape.clone()).await;
        let session = connect(&double).await;
        let statement = session.prepare(APPEND).await.unwrap();
        let (room, hash) = (Uuid::new_v4(), CqlValue::Blob(vec![1]));

        let first = row(&append(&session, &statement, room, 0).await);
        let fresh = [applied(true), column("head", None), column("hash", None)];
        assert_eq!(first, if shape.scylla { &fresh[..] } else { &fresh[..1] });

        let refused = row(&append(&session, &statement, room, 0).await);
        let head = column("head", Some(CqlValue::BigInt(1)));
        assert_eq!(refused, [applied(false), head, column("hash", Some(hash))]);

        let second = row(&append(&session, &statement, room, 1).await);
        let old = [
            applied(true),
            column("head", Some(CqlValue::BigInt(1))),
            column("hash", None),
        ];
        assert_eq!(second, if shape.scylla { &old[..] } else { &old[..1] });
    }
}

#[tokio::test]
async fn claim_answers_the_whole_old_row() {
    const CLAIM: &str = "INSERT INTO t.log (room, bucket, first, hash) VALUES (?, 0, 7, ?) IF NOT EXISTS";
    for shape in [Shape::scylla(), Shape::cassandra()] {
        let double = Double::start(shape.clone()).await;
        let session = connect(&double).await;
        let claim = session.prepare(CLAIM).await.unwrap();
        let room = Uuid::new_v4();
        for (hash, first) in [(vec![1_u8], true), (vec![2], false)] {
            let result = session.execute_unpaged(&claim, (room, hash)).await.unwrap();
            let row = row(&result.into_rows_result().unwrap());
            assert_eq!(row[0], column("[applied]", Some(CqlValue::Boolean(first))));
            assert_eq!(row.len(), if shape.scylla || !first { 6 } else { 1 });
            let old = (!first).then(|| CqlValue::Blob(vec![1]));
            assert!(row.len() == 1 || row[5] == column("hash", old), "{row:?}");
        }
    }
}

/// Rooms that are appended to a few times each; where that arrived.
async fn where_appends_arrive(double: &Double, session: &Session) -> Vec<Vec<Seen>> {
    let statement = session.prepare(APPEND).await.unwrap();
    let before = double.seen().len();
    for _ in 0..32 {
        let room = Uuid::new_v4();
        for _ in 0..6 {
            append(session, &statement, room, 0).await;
        }
    }
    let seen = double.seen().split_off(before);
    seen.chunks(6).map(<[Seen]>::to_vec).collect()
}

fn at_home(double: &Double, room: &[Seen]) -> bool {
    room.iter()
        .all(|seen| seen.shard == double.shard_of(seen.token.unwrap()))
}

#[tokio::test]
async fn marked_conditional_writes_of_a_partition_go_to_one_core_of_one_node() {
    for marked in [true, false] {
        let double = Double::start(Shape {
            version: (5, 4, 0),
            nodes: 3,
            marks_conditional: marked,
            ..Shape::scylla()
        })
        .await;
        let session = connect(&double).await;
        let statement = session.prepare(APPEND).await.unwrap();
        assert_eq!(statement.is_confirmed_lwt(), marked);
        let asks = double.startups()[0].contains_key("SCYLLA_LWT_ADD_METADATA_MARK");
        assert_eq!(asks, marked);

        let one_node = |room: &Vec<Seen>| room.iter().all(|seen| seen.node == room[0].node);
        until("every core has its connection", || async {
            let rooms = where_appends_arrive(&double, &session).await;
            assert!(!marked || rooms.iter().all(one_node));
            rooms.iter().all(|room| at_home(&double, room)).then_some(())
        })
        .await;
        let rooms = where_appends_arrive(&double, &session).await;
        assert_eq!(rooms.iter().all(one_node), marked);
        let nodes: std::collections::HashSet<_> = rooms.iter().map(|room| room[0].node).collect();
        assert_eq!(nodes.len(), 3, "every node has its rooms");
    }
}

#[tokio::test]
async fn every_core_is_reached_whether_or_not_there_is_a_port_for_it() {
    for port in [ShardPort::Open, ShardPort::Absent, ShardPort::Closed] {
        let double = Double::start(Shape {
            version: (5, 4, 0),
            shard_port: port,
            ..Shape::scylla()
        })
        .await;
        let session = connect(&double).await;
        until("every core has its connection", || async {
            let rooms = where_appends_arrive(&double, &session).await;
            rooms.iter().all(|room| at_home(&double, room)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn core_of_a_tablet_is_learned() {
    let double = Double::start(Shape::scylla()).await;
    let session = connect(&double).await;
    // Its tokens lie on other cores than those of a table without tablets.
    until("the tablets are known", || async {
        let rooms = where_appends_arrive(&double, &session).await;
        let learned = |room: &Vec<Seen>| room.iter().all(|seen| seen.shard == room[0].shard);
        (rooms.iter().all(learned) && !rooms.iter().all(|room| at_home(&double, room))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn conditional_write_to_a_tablet_is_refused_before_2025_4() {
    let double = Double::start(Shape {
        version: (2025, 3, 2),
        ..Shape::scylla()
    })
    .await;
    let session = connect(&double).await;
    let statement = session.prepare(APPEND).await.unwrap();
    let values = (
        1_i64,
        vec![1_u8],
        Uuid::new_v4(),
        0,
        1_i64,
        None::<i64>,
        None::<Vec<u8>>,
    );
    match session.execute_unpaged(&statement, values).await {
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, text))) => {
            assert!(text.contains("not yet supported with tablets"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_has_the_wrong_password_or_none_is_not_let_in() {
    let double = Double::start(Shape {
        credentials: Some(("timingle", "right")),
        ..Shape::scylla()
    })
    .await;
    let host = double.host();
    let with = |password: &str| SessionBuilder::new().known_node(&host).user("timingle", password);
    with("right").build().await.unwrap();
    for refused in [with("wrong"), SessionBuilder::new().known_node(&host)] {
        let error = refused.build().await.err().unwrap();
        assert!(matches!(error, NewSessionError::MetadataError(_)), "{error:?}");
    }
}

#[tokio::test]
async fn statement_that_a_node_forgot_is_prepared_again() {
    let double = Double::start(Shape::scylla()).await;
    let session = connect(&double).await;
    let statement = session.prepare(APPEND).await.unwrap();
    double.forget_prepared();
    let row = row(&append(&session, &statement, Uuid::new_v4(), 0).await);
    assert_eq!(row[0], column("[applied]", Some(CqlValue::Boolean(true))));
}

#[tokio::test]
async fn what_went_wrong_is_read_as_it_was_said() {
    let timeout = |consistency, write_type| DbError::WriteTimeout {
        consistency,
        received: 1,
        required: 2,
        write_type,
    };
    let limited = |rejected_by_coordinator| DbError::RateLimitReached {
        op_type: OperationType::Write,
        rejected_by_coordinator,
    };
    let double = Double::start(Shape::scylla()).await;
    let session = connect(&double).await;
    let mut statement = session.prepare(APPEND).await.unwrap();
    statement.set_retry_policy(Some(std::sync::Arc::new(
        scylla::policies::retry::FallthroughRetryPolicy::new(),
    )));
    for (said, read) in [
        (Failure::Overloaded, DbError::Overloaded),
        (Failure::Bootstrapping, DbError::IsBootstrapping),
        (Failure::Server, DbError::ServerError),
        (Failure::Unauthorized, DbError::Unauthorized),
        (Failure::Config(String::new()), DbError::ConfigError),
        (
            Failure::WriteTimeout(level::LOCAL_SERIAL, "CAS"),
            timeout(Consistency::LocalSerial, WriteType::Cas),
        ),
        (
            Failure::WriteTimeout(level::LOCAL_QUORUM, "SIMPLE"),
            timeout(Consistency::LocalQuorum, WriteType::Simple),
        ),
        (Failure::RateLimit { by_coordinator: true }, limited(true)),
        (
            Failure::RateLimit {
                by_coordinator: false,
            },
            limited(false),
        ),
        (
            Failure::ReadTimeout(level::QUORUM),
            DbError::ReadTimeout {
                consistency: Consistency::Quorum,
                received: 1,
                required: 2,
                data_present: false,
            },
        ),
        (
            Failure::WriteBroke(level::SERIAL, "CAS"),
            DbError::WriteFailure {
                consistency: Consistency::Serial,
                received: 1,
                required: 2,
                numfailures: 2,
                write_type: WriteType::Cas,
            },
        ),
        (
            Failure::Unavailable,
            DbError::Unavailable {
                consistency: Consistency::LocalSerial,
                required: 2,
                alive: 1,
            },
        ),
    ] {
        double.arm(Asked::Conditional, 1, Effect::Refuse(said));
        let values = (
            1_i64,
            vec![1_u8],
            Uuid::new_v4(),
            0,
            1_i64,
            None::<i64>,
            None::<Vec<u8>>,
        );
        match session.execute_unpaged(&statement, values).await {
            Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _))) => {
                assert_eq!(error, read);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(double.armed(), 0);
    }
}
