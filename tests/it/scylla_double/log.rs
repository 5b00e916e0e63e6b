//! The room log on the double, in every shape.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use scylla::client::session_builder::SessionBuilder;
use timingle::{
    adapters::cql_log::{CqlLog, create_keyspace},
    config::Consistency,
    domain::{chain::Tip, entry::Entry},
    ports::{AppendError, RoomLog as _},
};

use super::{
    fixture::{BUCKET, answers, config, open, start, told},
    server::{Asked, Double, Seen},
    shape::{Shape, ShardPort},
    wire::level,
};
use crate::{
    harness::until,
    log_contract::{every_promise, sealed, some_room},
};

/// Every manner in which a server may show itself, with what to call it.
fn shapes() -> Vec<(&'static str, Shape)> {
    let scylla = Shape::scylla;
    vec![
        ("ScyllaDB with tablets", scylla()),
        (
            "ScyllaDB whose tablets take no conditions",
            Shape {
                version: (2025, 3, 2),
                ..scylla()
            },
        ),
        (
            "ScyllaDB before tablets",
            Shape {
                version: (5, 4, 9),
                ..scylla()
            },
        ),
        (
            "three nodes",
            Shape {
                version: (2025, 1, 0),
                nodes: 3,
                ..scylla()
            },
        ),
        ("three nodes with tablets", Shape { nodes: 3, ..scylla() }),
        (
            "no marks",
            Shape {
                version: (5, 4, 9),
                nodes: 3,
                marks_conditional: false,
                ..scylla()
            },
        ),
        (
            "no port for cores",
            Shape {
                version: (5, 4, 9),
                shard_port: ShardPort::Absent,
                ..scylla()
            },
        ),
        (
            "a port for cores that cannot be reached",
            Shape {
                version: (5, 4, 9),
                shard_port: ShardPort::Closed,
                ..scylla()
            },
        ),
        (
            "one core",
            Shape {
                shards: 1,
                ..scylla()
            },
        ),
        (
            "credentials",
            Shape {
                credentials: Some(("timingle", "a password")),
                ..scylla()
            },
        ),
        ("Cassandra", Shape::cassandra()),
        (
            "three nodes of Cassandra",
            Shape {
                nodes: 3,
                ..Shape::cassandra()
            },
        ),
    ]
}

/// Appends, conflicts, repeats, a bucket's end, reads and erasures.
async fn heart_of_the_contract(log: &CqlLog, other: &CqlLog) {
    let room = some_room();
    let mut tip = Tip::empty(room);
    assert_eq!(log.tip(room).await.unwrap(), tip);
    let (start, mut heads, mut all) = (tip.head, vec![tip.head], Vec::<Entry>::new());
    for count in [1, 3, 2] {
        let expected = tip.head;
        let entries = sealed(&mut tip, count);
        let appended = log.append(room, expected, Arc::clone(&entries)).await.unwrap();
        assert_eq!((appended.head, appended.taken), (tip.head, count));
        heads.push(tip.head);
        all.extend(entries.iter().cloned());
        assert_eq!(other.tip(room).await.unwrap(), tip);
    }

    // From any head but the last: a conflict that names it; written before: as then.
    let rival = sealed(&mut Tip::empty(room), 1);
    for log in [log, other] {
        match log.append(room, start, Arc::clone(&rival)).await {
            Err(AppendError::Conflict { head }) => assert_eq!(head, tip.head),
            told => panic!("{told:?}"),
        }
        let again = log.append(room, heads[1], all[1..4].into()).await.unwrap();
        assert_eq!((again.head, again.taken), (heads[2], 3));
    }

    // Six stand there; of twelve more only those are taken that the bucket has place for.
    let expected = tip.head;
    let entries = sealed(&mut tip, 12);
    let mut left = &entries[..];
    let mut at = expected;
    let mut parts = Vec::new();
    while !left.is_empty() {
        let appended = log.append(room, at, left.into()).await.unwrap();
        parts.push((at, left, appended));
        (at, left) = (appended.head, &left[appended.taken..]);
    }
    let taken: Vec<_> = parts.iter().map(|(_, _, appended)| appended.taken).collect();
    assert_eq!(taken, [BUCKET - 6, BUCKET, 2]);
    all.extend(entries.iter().cloned());
    for (at, left, appended) in parts {
        assert_eq!(other.append(room, at, left.into()).await.unwrap(), appended);
    }

    assert_eq!(other.tip(room).await.unwrap(), tip);
    assert_eq!(log.read(room, 1, 100).await.unwrap(), all);
    assert_eq!(other.read(room, 4, 9).await.unwrap(), all[3..12]);
    assert_eq!(log.read_back(room, 18, 11).await.unwrap(), all[6..17]);
    assert_eq!(other.read_back(room, u64::MAX, 3).await.unwrap(), all[15..]);
    assert!(log.read(room, 19, 10).await.unwrap().is_empty());

    assert_eq!(log.erase(room, &[3, 4, 9]).await.unwrap(), 3);
    assert_eq!(other.erase(room, &[3, 4, 9]).await.unwrap(), 0);
    for seq in [3, 4, 9] {
        all[seq - 1].content = None;
    }
    assert_eq!(other.read(room, 1, 100).await.unwrap(), all);
}

#[tokio::test]
async fn log_keeps_its_promises_in_every_shape() {
    join_all(shapes().into_iter().map(async |(name, shape)| {
        let (double, config, log) = start(&shape).await;
        let made = double.definitions();
        let keyspace = made.iter().find(|text| text.contains("CREATE KEYSPACE")).unwrap();
        // Cassandra, and a ScyllaDB that has none, do not know the word.
        let turned_off = shape.has_tablets() && !shape.tablets_take_conditions();
        assert_eq!(keyspace.contains("tablets"), turned_off, "{name}: {keyspace}");

        let other = open(&config);
        answers(&other).await;
        heart_of_the_contract(&log, &other).await;
        // Also when every node has forgotten what it had prepared.
        double.forget_prepared();
        heart_of_the_contract(&log, &other).await;
        let doubts = [log.doubts().unanswered, other.doubts().unanswered];
        assert_eq!(doubts, [0, 0], "{name}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_in_what_looks_like_scylladb_keeps_every_promise() {
    let (_double, _, log) = start(&Shape::scylla()).await;
    every_promise(Arc::new(log)).await;
}

/// What was asked of the rooms' table, of each kind.
fn asked(double: &Double, kind: Asked) -> Vec<Seen> {
    let seen = double.seen().into_iter();
    seen.filter(|seen| seen.asked == kind && seen.table == "room_log")
        .collect()
}

/// Appends a few times to some rooms; the conditional writes that came of it, room by room.
async fn some_appends(double: &Double, log: &CqlLog) -> Vec<Vec<Seen>> {
    let before = asked(double, Asked::Conditional).len();
    for _ in 0..24 {
        let room = some_room();
        let mut tip = Tip::empty(room);
        for _ in 0..3 {
            let expected = tip.head;
            let entries = sealed(&mut tip, 1);
            log.append(room, expected, entries).await.unwrap();
        }
    }
    let writes = asked(double, Asked::Conditional).split_off(before);
    assert_eq!(writes.len(), 72);
    writes.chunks(3).map(<[Seen]>::to_vec).collect()
}

#[tokio::test]
async fn appends_to_a_room_meet_at_one_core_of_one_node() {
    let place = |seen: &Seen| (seen.node, seen.shard);
    join_all(shapes().into_iter().map(async |(name, shape)| {
        let (double, _, log) = start(&shape).await;
        let tablets = shape.has_tablets() && shape.tablets_take_conditions();
        // A tablet is learned by asking the wrong core; else a token says where it lies.
        let fits = |seen: &Seen| tablets || seen.shard == double.shard_of(seen.token.unwrap());
        let meets = |room: &Vec<Seen>| {
            room.iter()
                .all(|seen| place(seen) == place(&room[0]) && fits(seen))
        };
        let places = HashSet::new();
        let places = parking_lot::Mutex::new(places);
        until(name, || async {
            let rooms = some_appends(&double, &log).await;
            let mut places = places.lock();
            places.extend(rooms.iter().map(|room| place(&room[0])));
            // And not because all rooms do. There are not as many tablets as cores of nodes.
            let nodes = if tablets { 1 } else { shape.nodes };
            let spread = places.len() >= usize::from(nodes * shape.shards);
            (spread && rooms.iter().all(meets)).then_some(())
        })
        .await;
    }))
    .await;
}

#[tokio::test]
async fn conditional_writes_and_exact_reads_have_one_serial_level() {
    for (consistency, quorum, serial) in [
        (Consistency::LocalQuorum, level::LOCAL_QUORUM, level::LOCAL_SERIAL),
        (Consistency::Quorum, level::QUORUM, level::SERIAL),
    ] {
        let shape = Shape::scylla();
        let double = Double::start(shape.clone()).await;
        let mut config = config(&double, &shape);
        config.consistency = consistency;
        create_keyspace(&config, 1).await.unwrap();
        let (log, other) = (open(&config), open(&config));
        answers(&log).await;
        answers(&other).await;
        heart_of_the_contract(&log, &other).await;

        let writes = asked(&double, Asked::Conditional);
        assert!(!writes.is_empty());
        for write in writes {
            assert_eq!(
                (write.consistency, write.serial),
                (quorum, Some(serial)),
                "{write:?}"
            );
        }
        let exact = asked(&double, Asked::SerialRead);
        assert!(!exact.is_empty());
        assert!(exact.iter().all(|read| read.consistency == serial));
        let plain = asked(&double, Asked::Read);
        assert!(!plain.is_empty());
        assert!(plain.iter().all(|read| read.consistency == quorum));
        // Nobody writes to the log but under a condition.
        assert!(asked(&double, Asked::Plain).is_empty());
    }
}

#[tokio::test]
async fn keyspace_whose_tablets_take_no_conditions_is_named() {
    let shape = Shape {
        version: (2025, 2, 0),
        ..Shape::scylla()
    };
    let double = Double::start(shape.clone()).await;
    let operator = SessionBuilder::new()
        .known_node(double.host())
        .build()
        .await
        .unwrap();
    operator
        .query_unpaged(
            "CREATE KEYSPACE timingle WITH replication = {'class': 'NetworkTopologyStrategy', 'somewhere': 1}",
            (),
        )
        .await
        .unwrap();
    let log = open(&config(&double, &shape));
    let room = some_room();
    until("the log says what is wrong", || async {
        let text = told(&log.tip(room).await.unwrap_err());
        text.contains("tablets").then_some(())
    })
    .await;
    let mut tip = Tip::empty(room);
    let expected = tip.head;
    let refused = log.append(room, expected, sealed(&mut tip, 1)).await;
    assert!(matches!(refused, Err(AppendError::InDoubt(_))), "{refused:?}");
}

#[tokio::test]
async fn who_has_the_wrong_password_is_told_so() {
    let shape = Shape {
        credentials: Some(("timingle", "right")),
        ..Shape::scylla()
    };
    let double = Double::start(shape.clone()).await;
    let right = config(&double, &shape);
    create_keyspace(&right, 1).await.unwrap();
    let mut wrong = right.clone();
    wrong.password = "wrong".into();
    let mut none = right.clone();
    none.user = String::new();
    for refused in [wrong, none] {
        let error = create_keyspace(&refused, 1).await.unwrap_err();
        assert!(told(&error).contains("scylla.password"), "{}", told(&error));
        let log = open(&refused);
        log.first_try(Duration::from_secs(5)).await.unwrap();
        let error = log.tip(some_room()).await.unwrap_err();
        assert!(told(&error).contains("scylla.password"), "{}", told(&error));
        let room = some_room();
        let mut tip = Tip::empty(room);
        let expected = tip.head;
        let refused = log.append(room, expected, sealed(&mut tip, 1)).await;
        assert!(matches!(refused, Err(AppendError::InDoubt(_))), "{refused:?}");
        assert!(!told(&error).contains("wrong"), "a password was told");
    }
    answers(&open(&right)).await;
}
