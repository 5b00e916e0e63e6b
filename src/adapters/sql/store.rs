//! The pool of connections, to either database.

use std::{path::Path, sync::Arc, time::Duration};

use diesel::{ConnectionError, ConnectionResult, IntoSql as _, result::Error, sql_types::Integer};
use diesel_async::{
    AsyncConnection as _, RunQueryDsl as _,
    pooled_connection::{
        AsyncDieselConnectionManager, ManagerConfig, PoolError, PoolableConnection as _, RecyclingMethod,
        bb8::{self, RunError},
    },
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, MutexGuard, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Conn, SqlError,
    migrate::{self, MigrateError},
    postgres::Server,
};
use crate::{
    adapters::tls::TlsError,
    config::{Data, Postgres},
    domain::id::EventId,
};

/// A pool of connections to one database.
type Pool = bb8::Pool<Conn>;

/// A connection of one's own until it is dropped.
pub type OwnConn<'a> = bb8::PooledConnection<'a, Conn>;

/// The relational store: a bounded pool, and how long one waits for a connection.
#[derive(Clone)]
pub struct Sql {
    pool: Pool,
    /// `None`: an SQLite file.
    remote: Option<Arc<Remote>>,
}

struct Remote {
    server: Arc<Server>,
    /// Whether the schema is there.
    ready: watch::Sender<bool>,
    /// Turns at events, by their numbers; events that share one only wait for each other.
    turns: Vec<Mutex<()>>,
    patience: Duration,
}

/// Events that may be changed at the same moment by one node: more than any pool's size.
const TURNS: u16 = 1_024;

impl std::fmt::Debug for Sql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sql({:?})", self.pool.state())
    }
}

impl Sql {
    /// Opens the SQLite file `path`, which [`migrate::migrate`] has made, with at most
    /// `size` connections (at least 1); [`Sql::get`] waits at most `timeout` for one.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub async fn open(path: &Path, size: u32, timeout: Duration) -> Result<Self, SqlError> {
        let path = path
            .to_str()
            .ok_or_else(|| SqlError::Unavailable("the path of the database is not UTF-8".into()))?
            .to_owned();
        let establish = move || {
            let path = path.clone();
            async move { Conn::establish(&path).await }.boxed()
        };
        let sql = Self {
            pool: pool(size, timeout, establish),
            remote: None,
        };
        sql.get().await?;
        Ok(sql)
    }

    /// PostgreSQL as `settings` say, with a pool as `data` says. The server need not be
    /// there: connections are opened when they are needed. Until [`Sql::migrate`] has
    /// been through, [`Sql::get`] refuses.
    ///
    /// # Errors
    /// Connections are to be encrypted, and the certificates cannot be used.
    pub fn postgres(settings: &Postgres, data: &Data) -> Result<Self, TlsError> {
        let server = Arc::new(Server::new(settings)?);
        let (ready, _) = watch::channel(false);
        let establish = {
            let server = Arc::clone(&server);
            move || {
                let server = Arc::clone(&server);
                async move { server.connect().await }.boxed()
            }
        };
        Ok(Self {
            pool: pool(data.pool, data.pool_timeout, establish),
            remote: Some(Arc::new(Remote {
                server,
                ready,
                turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
                patience: data.pool_timeout,
            })),
        })
    }

    /// Brings PostgreSQL to the schema of this binary, once no other node does the same;
    /// the names of the migrations that ran, in order. An SQLite file is brought there
    /// before it is opened.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn migrate(&self) -> Result<Vec<String>, MigrateError> {
        let Some(remote) = &self.remote else {
            return Ok(Vec::new());
        };
        let names = migrate::migrate_server(&remote.server).await?;
        remote.ready.send_replace(true);
        Ok(names)
    }

    /// Names of the migrations that PostgreSQL lacks, in order.
    ///
    /// # Errors
    /// See [`MigrateError`].
    pub async fn pending_migrations(&self) -> Result<Vec<String>, MigrateError> {
        match &self.remote {
            Some(remote) => migrate::pending_on_server(&remote.server).await,
            None => Ok(Vec::new()),
        }
    }

    /// Does as [`Sql::migrate`] on `background`, and again until it succeeds.
    pub fn migrate_in_background(&self, background: &Handle) -> Option<JoinHandle<()>> {
        let remote = self.remote.as_ref()?;
        let (server, ready) = (Arc::clone(&remote.server), remote.ready.clone());
        Some(background.spawn(migrate::keep_trying(server, ready)))
    }

    /// A connection of one's own until it is dropped.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`]: none came free in time, none could be opened, or the
    /// schema is not there yet.
    pub async fn get(&self) -> Result<OwnConn<'_>, SqlError> {
        if let Some(remote) = &self.remote
            && !*remote.ready.borrow()
        {
            return Err(SqlError::Unavailable("the schema is not there yet".into()));
        }
        self.pool.get().await.map_err(|error| match error {
            RunError::User(error) => unreachable_store(error),
            RunError::TimedOut if self.remote.as_ref().is_some_and(|remote| remote.server.is_away()) => {
                SqlError::Unavailable("the database cannot be reached".into())
            }
            RunError::TimedOut => SqlError::Unavailable("no connection came free in time".into()),
        })
    }

    /// One's turn at `event` on this node, until it is dropped; SQLite has a lock for all.
    pub(super) async fn turn(&self, event: EventId) -> Result<Option<MutexGuard<'_, ()>>, SqlError> {
        let Some(remote) = &self.remote else {
            return Ok(None);
        };
        let at = event.0.unsigned_abs() % u64::from(TURNS);
        let Some(turns) = usize::try_from(at).ok().and_then(|at| remote.turns.get(at)) else {
            return Ok(None);
        };
        match timeout(remote.patience, turns.lock()).await {
            Ok(turn) => Ok(Some(turn)),
            Err(_) => Err(SqlError::Unavailable("too many change this event".into())),
        }
    }

    /// Asks the database something, to see that it answers.
    ///
    /// # Errors
    /// [`SqlError::Unavailable`]: it does not.
    pub async fn check(&self) -> Result<(), SqlError> {
        let one: i32 = diesel::select(1.into_sql::<Integer>())
            .get_result(&mut *self.get().await?)
            .await?;
        debug_assert_eq!(one, 1);
        Ok(())
    }
}

/// A pool whose connections belong to the runtime which opened it.
///
/// A connection works on the runtime that it was opened on. Each HTTP worker has one of
/// its own, which ends before the rooms do: what a worker opened would fail then.
fn pool(
    size: u32,
    timeout: Duration,
    establish: impl Fn() -> BoxFuture<'static, ConnectionResult<Conn>> + Send + Sync + 'static,
) -> Pool {
    let home = Handle::current();
    let mut config = ManagerConfig::default();
    // Without a query before each use: a connection that broke says so by itself, at the
    // latest when a statement fails.
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|conn: &mut Conn| {
        let broken = conn.is_broken();
        ready(if broken {
            Err(Error::BrokenTransactionManager)
        } else {
            Ok(())
        })
        .boxed()
    }));
    config.custom_setup = Box::new(move |_| {
        let opening = home.spawn(establish());
        async move {
            opening
                .await
                .map_err(|error| ConnectionError::BadConnection(error.to_string()))?
        }
        .boxed()
    });
    Pool::builder()
        .max_size(size.max(1))
        .connection_timeout(timeout)
        .build_unchecked(AsyncDieselConnectionManager::new_with_config("", config))
}

fn unreachable_store(error: PoolError) -> SqlError {
    SqlError::Unavailable(Box::new(error))
}
