//! One connection type for both databases.

use std::future::ready;

use diesel::{
    ConnectionError, ConnectionResult, QueryResult, SqliteConnection,
    connection::{
        AnsiTransactionManager as SyncAnsi, CacheSize, Instrumentation, TransactionManager as _,
        TransactionManagerStatus,
    },
    query_builder::{AsQuery, QueryFragment, QueryId},
};
use diesel_async::{
    AsyncConnection, AsyncConnectionCore, SimpleAsyncConnection, TransactionManager,
    pooled_connection::PoolableConnection, sync_connection_wrapper::SyncConnectionWrapper,
};
use futures_util::{StreamExt, TryFutureExt, future::BoxFuture, stream::BoxStream};

use super::{Common, blocking::Blocking, guarded::Guarded, row::AnyRow, statement::Statement};

pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection, Blocking>;

/// Settings of every SQLite connection. FULL, because what was committed is acknowledged;
/// secure, because a name or a number that was taken off a row must not stay in its page.
const SQLITE_SETUP: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                            PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
                            PRAGMA secure_delete = ON;";

/// A connection to PostgreSQL or SQLite.
///
/// `transaction` is SERIALIZABLE; it takes SQLite's write lock at its start. A transaction whose future is
/// dropped stays open until the pool notices and throws the connection away.
#[expect(clippy::large_enum_variant, reason = "a pool holds a handful of them")]
pub enum Conn {
    /// To PostgreSQL.
    Pg(Guarded),
    /// To an SQLite file.
    Sqlite(SqliteConn),
}

impl SimpleAsyncConnection for Conn {
    async fn batch_execute(&mut self, sql: &str) -> QueryResult<()> {
        match self {
            Self::Pg(conn) => conn.batch_execute(sql).await,
            Self::Sqlite(conn) => conn.batch_execute(sql).await,
        }
    }
}

impl AsyncConnectionCore for Conn {
    type ExecuteFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<usize>>;
    type LoadFuture<'conn, 'query> = BoxFuture<'conn, QueryResult<Self::Stream<'conn, 'query>>>;
    type Stream<'conn, 'query> = BoxStream<'static, QueryResult<AnyRow>>;
    type Row<'conn, 'query> = AnyRow;
    type Backend = Common;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> Self::LoadFuture<'conn, 'query>
    where
        T: AsQuery + 'query,
        T::Query: QueryFragment<Common> + QueryId + 'query,
    {
        let statement = match Statement::render(&source.as_query()) {
            Ok(statement) => statement,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        match self {
            Self::Pg(conn) => conn.load(statement),
            Self::Sqlite(conn) => Box::pin(
                conn.load(statement)
                    .map_ok(|rows| rows.map(|row| row.map(AnyRow::Sqlite)).boxed()),
            ),
        }
    }

    fn execute_returning_count<'conn, 'query, T>(
        &'conn mut self,
        source: T,
    ) -> Self::ExecuteFuture<'conn, 'query>
    where
        T: QueryFragment<Common> + QueryId + 'query,
    {
        let statement = match Statement::render(&source) {
            Ok(statement) => statement,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        match self {
            Self::Pg(conn) => conn.execute(statement),
            Self::Sqlite(conn) => Box::pin(conn.execute_returning_count(statement)),
        }
    }
}

impl AsyncConnection for Conn {
    type TransactionManager = Transactions;

    /// Opens the SQLite file `path`. Those to PostgreSQL are made from the configuration.
    async fn establish(path: &str) -> ConnectionResult<Self> {
        let mut conn = SqliteConn::establish(path).await?;
        conn.batch_execute(SQLITE_SETUP)
            .await
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(Self::Sqlite(conn))
    }

    fn transaction_state(&mut self) -> &mut Self {
        self
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        match self {
            Self::Pg(conn) => conn.instrumentation(),
            Self::Sqlite(conn) => conn.instrumentation(),
        }
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        match self {
            Self::Pg(conn) => conn.set_instrumentation(instrumentation),
            Self::Sqlite(conn) => conn.set_instrumentation(instrumentation),
        }
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        match self {
            Self::Pg(conn) => conn.set_prepared_statement_cache_size(size),
            Self::Sqlite(conn) => conn.set_prepared_statement_cache_size(size),
        }
    }
}

impl PoolableConnection for Conn {
    fn is_broken(&mut self) -> bool {
        match self {
            Self::Pg(conn) => conn.is_broken(),
            Self::Sqlite(conn) => conn.is_broken(),
        }
    }
}

type SqliteTransactions = <SqliteConn as AsyncConnection>::TransactionManager;

/// Transactions that write; inside another one, savepoints.
#[derive(Debug, Clone, Copy)]
pub struct Transactions;

impl TransactionManager<Conn> for Transactions {
    type TransactionStateData = Conn;

    async fn begin_transaction(conn: &mut Conn) -> QueryResult<()> {
        match conn {
            Conn::Pg(conn) => conn.begin("BEGIN ISOLATION LEVEL SERIALIZABLE").await,
            // A transaction that reads first and then wants to write fails at once when
            // somebody else wrote in between, without waiting: take the write lock now.
            Conn::Sqlite(conn) => begin_sqlite(conn, "BEGIN IMMEDIATE").await,
        }
    }

    async fn rollback_transaction(conn: &mut Conn) -> QueryResult<()> {
        match conn {
            Conn::Pg(conn) => conn.rollback().await,
            Conn::Sqlite(conn) => SqliteTransactions::rollback_transaction(conn).await,
        }
    }

    async fn commit_transaction(conn: &mut Conn) -> QueryResult<()> {
        match conn {
            Conn::Pg(conn) => conn.commit().await,
            Conn::Sqlite(conn) => SqliteTransactions::commit_transaction(conn).await,
        }
    }

    fn transaction_manager_status_mut(conn: &mut Conn) -> &mut TransactionManagerStatus {
        match conn {
            Conn::Pg(conn) => conn.status_mut(),
            Conn::Sqlite(conn) => SqliteTransactions::transaction_manager_status_mut(conn),
        }
    }
}

/// Transactions that only read, all of one moment; no writer waits for them.
///
/// `Snapshots::transaction(conn, async |conn| ...)`; not inside another transaction.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots;

impl TransactionManager<Conn> for Snapshots {
    type TransactionStateData = Conn;

    async fn begin_transaction(conn: &mut Conn) -> QueryResult<()> {
        match conn {
            Conn::Pg(conn) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                conn.begin(begin).await
            }
            Conn::Sqlite(conn) => begin_sqlite(conn, "BEGIN DEFERRED").await,
        }
    }

    async fn rollback_transaction(conn: &mut Conn) -> QueryResult<()> {
        Transactions::rollback_transaction(conn).await
    }

    async fn commit_transaction(conn: &mut Conn) -> QueryResult<()> {
        Transactions::commit_transaction(conn).await
    }

    fn transaction_manager_status_mut(conn: &mut Conn) -> &mut TransactionManagerStatus {
        Transactions::transaction_manager_status_mut(conn)
    }
}

/// Begins a transaction with `sql`, or a savepoint inside the open one.
async fn begin_sqlite(conn: &mut SqliteConn, sql: &'static str) -> QueryResult<()> {
    conn.spawn_blocking(move |conn| {
        let depth = SyncAnsi::transaction_manager_status_mut(conn).transaction_depth()?;
        if depth.is_some() {
            SyncAnsi::begin_transaction(conn)
        } else {
            SyncAnsi::begin_transaction_sql(conn, sql)
        }
    })
    .await
}
