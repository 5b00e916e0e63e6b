//! The servers that other tests stand on: they start, answer, die, freeze and come back.

mod proxy;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    servers::{self, Database, Engine, Private},
    soon, until,
};

/// Long enough for an answer on this machine; a frozen server is taken for one that gives none.
const ANSWER: Duration = Duration::from_secs(3);

/// What an engine says when it is greeted: to PostgreSQL's question for TLS, to CQL's OPTIONS, to nothing
/// at all, to PING.
async fn answer(engine: Engine, address: SocketAddr) -> Option<Vec<u8>> {
    let (greeting, length): (&[u8], usize) = match engine {
        Engine::Postgres => (b"\0\0\0\x08\x04\xd2\x16\x2f", 1),
        Engine::Cassandra => (b"\x04\0\0\0\x05\0\0\0\0", 5),
        Engine::Nats => (b"", 5),
        Engine::Redis => (b"PING\r\n", 5),
    };
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(greeting).await.ok()?;
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await.ok()?;
        Some(answer)
    };
    timeout(ANSWER, exchange).await.ok().flatten()
}

async fn answers(engine: Engine, address: SocketAddr) -> bool {
    let expected: &[u8] = match engine {
        Engine::Postgres => b"N",
        Engine::Cassandra => b"\x84\0\0\0\x06",
        Engine::Nats => b"INFO ",
        Engine::Redis => b"+PONG",
    };
    match answer(engine, address).await {
        Some(answer) => {
            assert_eq!(answer, expected, "{engine:?}");
            true
        }
        None => false,
    }
}

/// Down with an address, started, killed, started, frozen, let go, stopped, started.
async fn goes_through_everything(engine: Engine) {
    let server = Private::down(engine, 1).await;
    let address = server.address();
    assert!(!answers(engine, address).await, "it was not started");
    server.start().await;
    assert!(answers(engine, address).await, "after its start");
    server.start().await;
    assert!(
        answers(engine, address).await,
        "after a start that found it running"
    );
    server.kill().await;
    assert!(!answers(engine, address).await, "after SIGKILL");
    server.start().await;
    assert!(answers(engine, address).await, "after it came back");
    server.pause().await;
    assert!(!answers(engine, address).await, "while it is frozen");
    server.resume().await;
    assert!(answers(engine, address).await, "after it went on");
    server.stop().await;
    assert!(!answers(engine, address).await, "after its end");
    server.start().await;
    assert!(answers(engine, address).await, "after it came back in order");
    drop(server);
    assert!(!answers(engine, address).await, "after it was dropped");
}

#[tokio::test]
async fn a_private_redis_dies_and_comes_back() {
    goes_through_everything(Engine::Redis).await;
}

#[tokio::test]
async fn a_private_nats_dies_and_comes_back() {
    goes_through_everything(Engine::Nats).await;
}

#[tokio::test]
async fn a_private_postgres_dies_and_comes_back() {
    goes_through_everything(Engine::Postgres).await;
}

#[tokio::test]
async fn private_servers_of_one_kind_are_strangers() {
    let pairs = [
        (Engine::Redis, Private::redis().await, Private::redis().await),
        (Engine::Nats, Private::nats().await, Private::nats().await),
    ];
    for (engine, one, other) in pairs {
        one.kill().await;
        assert!(!answers(engine, one.address()).await, "{engine:?} was killed");
        assert!(answers(engine, other.address()).await, "the other {engine:?}");
    }
}

#[tokio::test]
async fn nodes_of_a_private_cluster_die_and_come_back() {
    let cluster = Private::cassandra(3).await;
    let addresses = cluster.addresses();
    let serving = async || {
        let mut serving = Vec::new();
        for address in &addresses {
            serving.push(answers(Engine::Cassandra, *address).await);
        }
        serving
    };
    assert_eq!(serving().await, [true; 3]);
    cluster.node(2).kill().await;
    assert_eq!(serving().await, [true, false, true]);
    cluster.node(3).pause().await;
    assert_eq!(serving().await, [true, false, false]);
    cluster.node(2).start().await;
    assert_eq!(serving().await, [true, true, false]);
    cluster.node(3).resume().await;
    cluster.node(1).stop().await;
    assert_eq!(serving().await, [false, true, true]);
    assert_eq!(cluster.node(1).address(), addresses[0]);
    cluster.start().await;
    assert_eq!(serving().await, [true; 3]);
}

#[tokio::test]
async fn shared_servers_answer_everybody_who_asks_at_once() {
    let first = tokio::join!(servers::postgres(), servers::nats(), servers::redis());
    let again = tokio::join!(servers::postgres(), servers::nats(), servers::redis());
    assert_eq!(first, again);
    for (engine, address) in [
        (Engine::Postgres, first.0),
        (Engine::Nats, first.1),
        (Engine::Redis, first.2),
        (Engine::Cassandra, servers::cassandra().await),
    ] {
        assert!(answers(engine, address).await, "{engine:?} at {address}");
    }
}

#[tokio::test]
async fn what_postgres_committed_outlives_its_death() {
    let server = Private::postgres().await;
    let database = Database::on(server.address()).await;
    let client = database.connect().await;
    client
        .batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
        .await
        .unwrap();
    client
        .batch_execute("BEGIN; INSERT INTO kept VALUES (2)")
        .await
        .unwrap();
    server.kill().await;
    assert!(
        soon("the broken connection", client.batch_execute("COMMIT"))
            .await
            .is_err()
    );
    server.start().await;
    let rows = database
        .connect()
        .await
        .query("SELECT n FROM kept", &[])
        .await
        .unwrap();
    let rows: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, [1]);
}

#[tokio::test]
async fn a_database_goes_with_its_owner_and_its_connections() {
    let database = Database::shared().await;
    let other = Database::on(database.server()).await;
    let client = database.connect().await;
    client.batch_execute("CREATE TABLE mine (n int)").await.unwrap();
    let name = database.name().to_owned();
    let row = other
        .connect()
        .await
        .query_one("SELECT to_regclass('mine') IS NULL", &[])
        .await;
    assert!(row.unwrap().get::<_, bool>(0), "two databases are one");
    drop(database);
    let watcher = other.connect().await;
    let there = watcher
        .query_one("SELECT count(*) FROM pg_database WHERE datname = $1", &[&name])
        .await
        .unwrap();
    assert_eq!(there.get::<_, i64>(0), 0);
    until("the end of the connection", || {
        let closed = client.is_closed();
        async move { closed.then_some(()) }
    })
    .await;
}
