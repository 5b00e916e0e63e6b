//! What is tried again, and what never is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use diesel::{QueryableByName, sql_types::BigInt};
use diesel_async::SimpleAsyncConnection as _;
use timingle::{
    adapters::sql::{Common, Conn, Sql, SqlError},
    domain::id::EventId,
    error::{Coded as _, ErrorCode},
};
use tokio::sync::Barrier;

use super::{data, migrated, settings};
use crate::harness::{
    database::Database,
    proxy::{Proxy, Way},
    servers::Private,
    soon,
};

#[derive(QueryableByName)]
#[diesel(check_for_backend(Common))]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

async fn number(conn: &mut Conn, sql: &str) -> Result<i64, SqlError> {
    // Named in full: the trait would also offer its `load` to every counter here.
    let row = diesel_async::RunQueryDsl::get_result(diesel::sql_query(sql), conn);
    let row: Number = row.await?;
    Ok(row.n)
}

async fn run(conn: &mut Conn, sql: &str) -> Result<(), SqlError> {
    Ok(conn.batch_execute(sql).await?)
}

/// A store with a table of two numbered rows, both 0.
async fn two_rows(database: &Database) -> Sql {
    let sql = migrated(database).await;
    let mut conn = sql.get().await.unwrap();
    let make =
        "create table it (id int primary key, n bigint not null); insert into it values (1, 0), (2, 0)";
    conn.batch_execute(make).await.unwrap();
    drop(conn);
    sql
}

async fn sum(sql: &Sql) -> i64 {
    let mut conn = sql.get().await.unwrap();
    number(&mut conn, "select sum(n)::bigint n from it")
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_made_on_what_others_change_are_made_again() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let (runs, meet) = (AtomicUsize::new(0), Barrier::new(2));
    // Each may raise its row if both together are 0: one of the two must see the other's.
    let raise = async |row: i32| {
        let first = AtomicUsize::new(0);
        sql.write(async |conn| {
            runs.fetch_add(1, SeqCst);
            let all = number(conn, "select sum(n)::bigint n from it").await?;
            if first.fetch_add(1, SeqCst) == 0 {
                meet.wait().await;
            }
            if all == 0 {
                run(conn, &format!("update it set n = 1 where id = {row}")).await?;
            }
            Ok::<_, SqlError>(all)
        })
        .await
    };
    let (one, two) = tokio::join!(raise(1), raise(2));
    let mut saw = [one.unwrap(), two.unwrap()];
    saw.sort_unstable();
    assert_eq!(saw, [0, 1], "one after the other");
    assert_eq!(sum(&sql).await, 1);
    assert!(runs.load(SeqCst) > 2, "one of the two ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_each_other_goes_on() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let (runs, meet) = (AtomicUsize::new(0), Barrier::new(2));
    let raise = async |first: i32, second: i32| {
        let tries = AtomicUsize::new(0);
        sql.write(async |conn| {
            runs.fetch_add(1, SeqCst);
            run(conn, &format!("update it set n = n + 1 where id = {first}")).await?;
            if tries.fetch_add(1, SeqCst) == 0 {
                meet.wait().await;
            }
            run(conn, &format!("update it set n = n + 1 where id = {second}")).await
        })
        .await
    };
    let both = async { tokio::join!(raise(1, 2), raise(2, 1)) };
    let (one, two) = soon("the end of a deadlock", both).await;
    one.unwrap();
    two.unwrap();
    assert_eq!(sum(&sql).await, 4);
    assert!(runs.load(SeqCst) > 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_gets_a_turn_at_one_event() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    // Three nodes, each with a pool of its own.
    let mut nodes = vec![sql.clone()];
    for _ in 0..2 {
        nodes.push(migrated(&database).await);
    }
    let runs = Arc::new(AtomicUsize::new(0));
    let busy: [Arc<AtomicUsize>; 3] = Default::default();
    let tasks = (0..300).map(|n| {
        let (sql, runs, busy) = (nodes[n % 3].clone(), Arc::clone(&runs), Arc::clone(&busy[n % 3]));
        tokio::spawn(async move {
            let change = sql.change(EventId(1), async |conn| {
                runs.fetch_add(1, SeqCst);
                assert_eq!(busy.fetch_add(1, SeqCst), 0, "two of one node at once");
                let done = run(conn, "update it set n = n + 1 where id = 1").await;
                busy.fetch_sub(1, SeqCst);
                done
            });
            change.await
        })
    });
    let begun = Instant::now();
    let done = soon("all turns", futures_util::future::join_all(tasks)).await;
    let failed = done.iter().filter(|done| done.as_ref().unwrap().is_err()).count();
    eprintln!(
        "300 changes of one row from 3 nodes: {:?}, {} runs, {failed} failed",
        begun.elapsed(),
        runs.load(SeqCst)
    );
    assert_eq!(failed, 0);
    assert_eq!(sum(&sql).await, 300);
}

#[tokio::test]
async fn connection_lost_before_the_commit_costs_a_try() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let other = database.connect().await;
    let runs = AtomicUsize::new(0);
    let done = sql.write(async |conn| {
        run(conn, "update it set n = n + 1 where id = 1").await?;
        if runs.fetch_add(1, SeqCst) == 0 {
            let pid = number(conn, "select pg_backend_pid()::bigint n").await?;
            let pid = i32::try_from(pid).unwrap();
            other
                .execute("select pg_terminate_backend($1, 5000)", &[&pid])
                .await
                .unwrap();
        }
        run(conn, "update it set n = n + 1 where id = 2").await
    });
    soon("the second try", done).await.unwrap();
    assert_eq!(runs.load(SeqCst), 2);
    assert_eq!(sum(&sql).await, 2);
}

/// A store behind `proxy`, whose statements have to be answered soon.
fn behind(proxy: &Proxy, database: &Database) -> Sql {
    let mut settings = settings(proxy.address(), database.name());
    settings.statement_timeout = Duration::from_millis(500);
    settings.connect_timeout = Duration::from_secs(1);
    let mut data = data(2);
    data.pool_timeout = Duration::from_secs(2);
    Sql::postgres(&settings, &data).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_whose_answer_is_lost_is_not_repeated() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let proxy = Proxy::to(database.server()).await;
    let node = behind(&proxy, &database);
    node.migrate().await.unwrap();
    let runs = AtomicUsize::new(0);
    let doubt = node.write(async |conn| {
        runs.fetch_add(1, SeqCst);
        run(conn, "update it set n = n + 1 where id = 1").await?;
        proxy.stall_one_way(Way::Answers);
        Ok::<(), SqlError>(())
    });
    let doubt = soon("the doubt", doubt).await.unwrap_err();
    assert_eq!(doubt.code(), ErrorCode::Unavailable);
    let why = std::error::Error::source(&doubt).unwrap().to_string();
    assert!(why.contains("not known"), "{why}");
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(sum(&sql).await, 1, "it was committed");

    // The pool is whole again once the network is.
    proxy.heal();
    node.write(async |conn| run(conn, "update it set n = n + 1 where id = 1").await)
        .await
        .unwrap();
    assert_eq!(sum(&sql).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statement_that_is_not_answered_is_given_up_and_its_connection_with_it() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let proxy = Proxy::to(database.server()).await;
    let node = behind(&proxy, &database);
    node.migrate().await.unwrap();
    node.check().await.unwrap();
    proxy.stall();
    let begun = Instant::now();
    for _ in 0..2 {
        let silent = soon("a refusal", node.check()).await.unwrap_err();
        assert_eq!(silent.code(), ErrorCode::Unavailable);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    let late = node.read(async |conn| number(conn, "select sum(n)::bigint n from it").await);
    assert_eq!(
        soon("a refusal", late).await.unwrap_err().code(),
        ErrorCode::Unavailable
    );
    proxy.heal();
    soon("an answer", async { while node.check().await.is_err() {} }).await;

    // One that the database itself finds too long is its answer, and the connection stays.
    let before = proxy.accepted();
    let mut conn = node.get().await.unwrap();
    let slow = run(&mut conn, "select pg_sleep(30)").await.unwrap_err();
    assert_eq!(slow.code(), ErrorCode::Unavailable);
    assert_eq!(number(&mut conn, "select 1::bigint n").await.unwrap(), 1);
    assert_eq!(proxy.accepted(), before);
    assert_eq!(sum(&sql).await, 0);
}

#[tokio::test]
async fn transaction_in_which_something_failed_unheard_is_no_success() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let runs = AtomicUsize::new(0);
    let done: Result<(), SqlError> = sql
        .write(async |conn| {
            runs.fetch_add(1, SeqCst);
            run(conn, "update it set n = 1 where id = 1").await?;
            let taken = run(conn, "insert into it values (1, 5)").await;
            assert!(taken.is_err());
            Ok(())
        })
        .await;
    assert_eq!(done.unwrap_err().code(), ErrorCode::InternalError);
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(sum(&sql).await, 0);
}

#[tokio::test]
async fn refusal_is_not_tried_again_and_leaves_nothing() {
    let database = Database::shared().await;
    let sql = two_rows(&database).await;
    let runs = AtomicUsize::new(0);
    let refused: Result<(), SqlError> = sql
        .write(async |conn| {
            runs.fetch_add(1, SeqCst);
            run(conn, "update it set n = 1 where id = 1").await?;
            Err(SqlError::corrupt("a rule"))
        })
        .await;
    assert!(matches!(refused, Err(SqlError::Corrupt(_))), "{refused:?}");
    assert_eq!(runs.load(SeqCst), 1);
    assert_eq!(sum(&sql).await, 0);
    let written: Result<(), SqlError> = sql
        .read(async |conn| run(conn, "update it set n = 1 where id = 1").await)
        .await;
    assert!(written.is_err(), "who reads does not write");
    assert_eq!(sum(&sql).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_outlives_a_restart_of_the_database() {
    let server = Private::postgres().await;
    let database = Database::on(server.address()).await;
    let sql = two_rows(&database).await;
    // Every connection of the pool is open and idle.
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(sql.get().await.unwrap());
    }
    drop(all);
    for ending in ["stop", "kill"] {
        match ending {
            "stop" => server.stop().await,
            _ => server.kill().await,
        }
        let away = sql.get().await.err().unwrap();
        assert_eq!(away.code(), ErrorCode::Unavailable, "{ending}");
        server.start().await;
        // Not one request more fails.
        for _ in 0..16 {
            sql.write(async |conn| run(conn, "update it set n = n + 1 where id = 1").await)
                .await
                .unwrap();
        }
    }
    assert_eq!(sum(&sql).await, 32);
}
