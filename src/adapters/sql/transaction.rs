//! Transactions, tried again where the database asks for it.

use std::{
    error::Error as StdError,
    time::{Duration, Instant},
};

use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncConnection, TransactionManager, pooled_connection::PoolableConnection as _};

use super::{Conn, Snapshots, Sql, SqlError};
use crate::{domain::id::EventId, metrics};

type Transactions = <Conn as AsyncConnection>::TransactionManager;

/// How often a transaction is tried at most.
const TRIES: u32 = 12;

/// How long after its beginning a transaction is not tried again.
const TRY_FOR: Duration = Duration::from_secs(3);

/// Bounds of the pause before the second try and, twice as long each time, the next ones.
const PAUSE: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(256));

/// What a transaction does. It may run several times, so it touches nothing but the database.
pub trait Work<T, R>: AsyncFn(T) -> R + Fn(T) -> <Self as Work<T, R>>::Fut {
    /// One run.
    type Fut: Future<Output = R>;
}

impl<F, T, Fut, R> Work<T, R> for F
where
    F: AsyncFn(T) -> R + Fn(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// The connection was lost while the transaction was being committed.
#[derive(Debug, thiserror::Error)]
#[error("it is not known whether the transaction was committed")]
struct InDoubt(#[source] Error);

enum Failed<E> {
    /// Nothing of it remains.
    Undone(E),
    /// Perhaps all of it stands.
    InDoubt(Error),
}

impl Sql {
    /// Runs `work` as if it had the database for itself, and makes all of it last, or
    /// nothing where it fails. On PostgreSQL it runs again, a few times, when it collided
    /// with somebody else's or its connection was lost before the commit.
    ///
    /// # Errors
    /// What `work` says; of the database's own [`SqlError::Unavailable`] where it does not
    /// answer, where others were faster every time, or where the connection was lost in the
    /// commit: then nobody knows yet whether it happened.
    pub async fn write<R, E, F>(&self, work: F) -> Result<R, E>
    where
        for<'r> F:
            AsyncFn(&'r mut Conn) -> Result<R, E> + Work<&'r mut Conn, Result<R, E>, Fut: Send> + Send + Sync,
        R: Send,
        E: From<SqlError> + StdError + Send + 'static,
    {
        self.attempts::<Transactions, _, _, _>(work).await
    }

    /// As [`Sql::write`], for `work` that begins with [`super::events::lock`] of `event`: on this
    /// node one after the other, so that many who change one event at the same moment neither
    /// undo each other's work nor take all connections while they wait.
    ///
    /// # Errors
    /// As [`Sql::write`], and [`SqlError::Unavailable`] where its turn does not come in time.
    pub async fn change<R, E, F>(&self, event: EventId, work: F) -> Result<R, E>
    where
        for<'r> F:
            AsyncFn(&'r mut Conn) -> Result<R, E> + Work<&'r mut Conn, Result<R, E>, Fut: Send> + Send + Sync,
        R: Send,
        E: From<SqlError> + StdError + Send + 'static,
    {
        let _turn = self.turn(event).await?;
        self.write(work).await
    }

    /// Runs `work`, which only reads, on the database of one moment; no writer waits for it.
    /// Runs again as in [`Sql::write`].
    ///
    /// # Errors
    /// What `work` says, and [`SqlError::Unavailable`] where the database does not answer.
    pub async fn read<R, E, F>(&self, work: F) -> Result<R, E>
    where
        for<'r> F:
            AsyncFn(&'r mut Conn) -> Result<R, E> + Work<&'r mut Conn, Result<R, E>, Fut: Send> + Send + Sync,
        R: Send,
        E: From<SqlError> + StdError + Send + 'static,
    {
        self.attempts::<Snapshots, _, _, _>(work).await
    }

    async fn attempts<M, R, E, F>(&self, work: F) -> Result<R, E>
    where
        M: TransactionManager<Conn>,
        for<'r> F:
            AsyncFn(&'r mut Conn) -> Result<R, E> + Work<&'r mut Conn, Result<R, E>, Fut: Send> + Send + Sync,
        R: Send,
        E: From<SqlError> + StdError + Send + 'static,
    {
        let (mut pause, longest) = PAUSE;
        let mut conn = self.get().await?;
        let begun = Instant::now();
        for _ in 1..TRIES {
            let error = match attempt::<M, _, _, _>(&mut conn, &work).await {
                Ok(value) => return Ok(value),
                Err(Failed::InDoubt(error)) => return Err(in_doubt(error)),
                Err(Failed::Undone(error)) => error,
            };
            // SQLite has waited for its lock already, and its connections are not lost.
            if !matches!(*conn, Conn::Pg(_)) || begun.elapsed() >= TRY_FOR || !passes(&error) {
                return Err(error);
            }
            metrics::transaction_repeated();
            tokio::time::sleep(pause.mul_f64(rand::random::<f64>())).await;
            pause = (pause * 2).min(longest);
            if conn.is_broken() {
                drop(conn);
                conn = self.get().await?;
            }
        }
        attempt::<M, _, _, _>(&mut conn, &work)
            .await
            .map_err(|failed| match failed {
                Failed::Undone(error) => error,
                Failed::InDoubt(error) => in_doubt(error),
            })
    }
}

async fn attempt<M, R, E, F>(conn: &mut Conn, work: &F) -> Result<R, Failed<E>>
where
    M: TransactionManager<Conn>,
    for<'r> F:
        AsyncFn(&'r mut Conn) -> Result<R, E> + Work<&'r mut Conn, Result<R, E>, Fut: Send> + Send + Sync,
    R: Send,
    E: From<SqlError> + StdError + Send + 'static,
{
    let undone = |error: Error| Failed::Undone(SqlError::from(error).into());
    M::begin_transaction(conn).await.map_err(undone)?;
    match work(conn).await {
        Ok(value) => match M::commit_transaction(conn).await {
            Ok(()) => Ok(value),
            Err(
                error @ (Error::RollbackTransaction
                | Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _)),
            ) => Err(undone(error)),
            Err(error) => Err(Failed::InDoubt(error)),
        },
        Err(error) => {
            // Where it fails the connection is broken, and the database undoes it alone.
            let _ = M::rollback_transaction(conn).await;
            Err(Failed::Undone(error))
        }
    }
}

fn in_doubt<E: From<SqlError>>(error: Error) -> E {
    SqlError::Unavailable(Box::new(InDoubt(error))).into()
}

/// Whether the database may well do the same if it is asked once more.
fn passes(error: &(dyn StdError + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        if let Some(error) = one.downcast_ref::<Error>() {
            return matches!(
                error,
                Error::BrokenTransactionManager
                    | Error::DatabaseError(
                        DatabaseErrorKind::SerializationFailure
                            | DatabaseErrorKind::ClosedConnection
                            | DatabaseErrorKind::UnableToSendCommand
                            // A deadlock, for one: the driver does not say which.
                            | DatabaseErrorKind::Unknown,
                        _
                    )
            );
        }
        error = one.source();
    }
    false
}
