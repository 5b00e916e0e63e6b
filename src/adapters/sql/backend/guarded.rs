//! A connection to PostgreSQL on which nobody waits for ever.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::{
    QueryResult,
    connection::{CacheSize, Instrumentation, TransactionManagerStatus},
    result::{DatabaseErrorKind, Error},
};
use diesel_async::{
    AnsiTransactionManager, AsyncConnection, AsyncConnectionCore as _, AsyncPgConnection,
    SimpleAsyncConnection as _, TransactionManager as _, pooled_connection::PoolableConnection as _,
};
use futures_util::{
    StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use tokio::time::{Instant, timeout_at};

use super::{row::AnyRow, statement::Statement};

pub(super) type PgConn = AsyncPgConnection;
type PgRow = <PgConn as diesel_async::AsyncConnectionCore>::Row<'static, 'static>;
type Manager = AnsiTransactionManager;

/// A connection to PostgreSQL. Each statement is waited for as long as `patience`; if no
/// answer comes, the connection is lost and refuses everything from then on.
///
/// A transaction in which a statement failed is never committed: PostgreSQL would answer
/// such a COMMIT as if all were well, having undone everything.
pub struct Guarded {
    conn: PgConn,
    patience: Duration,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// An answer did not come in time: what comes next could be that answer.
    lost: AtomicBool,
    /// A statement failed since the transaction began.
    failed: AtomicBool,
}

impl Guarded {
    /// Watches over `conn`; each answer has to come within `patience`.
    pub(in crate::adapters::sql) fn new(conn: AsyncPgConnection, patience: Duration) -> Self {
        Self {
            conn,
            patience,
            state: Arc::default(),
        }
    }

    pub(super) fn load(
        &mut self,
        statement: Statement,
    ) -> BoxFuture<'_, QueryResult<BoxStream<'static, QueryResult<AnyRow>>>> {
        let (state, until) = self.turn();
        let answer = self.conn.load(statement);
        Box::pin(async move {
            let rows = state.in_time(until, answer).await?;
            Ok(timed(state, until, rows))
        })
    }

    pub(super) fn execute(&mut self, statement: Statement) -> BoxFuture<'_, QueryResult<usize>> {
        let (state, until) = self.turn();
        let answer = self.conn.execute_returning_count(statement);
        Box::pin(async move { state.in_time(until, answer).await })
    }

    pub(super) async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        let (state, until) = self.turn();
        state.in_time(until, self.conn.batch_execute(sql)).await
    }

    /// Begins a transaction with `sql`, or a savepoint inside the open one.
    pub(super) async fn begin(&mut self, sql: &str) -> QueryResult<()> {
        let (state, until) = self.turn();
        if self.status_mut().transaction_depth()?.is_some() {
            return state
                .in_time(until, Manager::begin_transaction(&mut self.conn))
                .await;
        }
        state.failed.store(false, Ordering::Relaxed);
        let begin = Manager::begin_transaction_sql(&mut self.conn, sql);
        state.in_time(until, begin).await
    }

    pub(super) async fn rollback(&mut self) -> QueryResult<()> {
        let (state, until) = self.turn();
        let rollback = Manager::rollback_transaction(&mut self.conn);
        state.in_time(until, rollback).await?;
        state.failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> QueryResult<()> {
        if self.state.failed.load(Ordering::Relaxed) {
            self.rollback().await?;
            return Err(Error::RollbackTransaction);
        }
        let (state, until) = self.turn();
        let commit = Manager::commit_transaction(&mut self.conn);
        state.in_time(until, commit).await
    }

    pub(super) fn status_mut(&mut self) -> &mut TransactionManagerStatus {
        Manager::transaction_manager_status_mut(&mut self.conn)
    }

    pub(super) fn is_broken(&mut self) -> bool {
        self.state.lost.load(Ordering::Relaxed) || self.conn.is_broken()
    }

    pub(super) fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.conn.instrumentation()
    }

    pub(super) fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.conn.set_instrumentation(instrumentation);
    }

    pub(super) fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.conn.set_prepared_statement_cache_size(size);
    }

    fn turn(&self) -> (Arc<State>, Instant) {
        (Arc::clone(&self.state), Instant::now() + self.patience)
    }
}

impl State {
    async fn in_time<T>(
        &self,
        until: Instant,
        answer: impl Future<Output = QueryResult<T>>,
    ) -> QueryResult<T> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(failure(
                DatabaseErrorKind::ClosedConnection,
                "the connection was lost",
            ));
        }
        let answer = timeout_at(until, answer).await.unwrap_or_else(|_| {
            self.lost.store(true, Ordering::Relaxed);
            Err(failure(
                DatabaseErrorKind::ClosedConnection,
                "no answer came in time",
            ))
        });
        if let Err(error) = &answer {
            self.failed.store(true, Ordering::Relaxed);
            // The server became a standby: its successor is found by a new connection.
            if matches!(
                error,
                Error::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)
            ) {
                self.lost.store(true, Ordering::Relaxed);
            }
        }
        answer
    }
}

/// `rows`, all of which have to come before `until`.
fn timed(
    state: Arc<State>,
    until: Instant,
    rows: BoxStream<'static, QueryResult<PgRow>>,
) -> BoxStream<'static, QueryResult<AnyRow>> {
    stream::unfold(Some(rows), move |rows| {
        let state = Arc::clone(&state);
        async move {
            let mut rows = rows?;
            match state
                .in_time(until, async { rows.next().await.transpose() })
                .await
            {
                Ok(Some(row)) => Some((Ok(AnyRow::Pg(row)), Some(rows))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }
    })
    .boxed()
}

fn failure(kind: DatabaseErrorKind, what: &'static str) -> Error {
    Error::DatabaseError(kind, Box::new(what.to_owned()))
}
