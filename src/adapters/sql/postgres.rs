//! How PostgreSQL is reached.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::AsyncPgConnection;
use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use tokio_postgres::{Config, NoTls, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    adapters::{
        sql::backend::{Conn, Guarded},
        tls::{TlsError, client_config},
    },
    config::Postgres,
};

/// How much longer than the server's own limit an answer is waited for: who is told why a
/// statement was given up keeps its connection.
const SLACK: Duration = Duration::from_secs(1);

/// How long the server keeps a transaction whose node says nothing.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);

/// How long a migration waits for a table that others use. Whoever waits for such a lock
/// holds up all who come after: better to give up soon and to try again.
const MIGRATION_LOCK: Duration = Duration::from_secs(3);

/// Where PostgreSQL is, and how one talks to it.
pub(super) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    statement_timeout: Duration,
    /// Whether the last connection could not be opened.
    away: AtomicBool,
}

impl Server {
    /// What `settings` say.
    ///
    /// # Errors
    /// Connections are to be encrypted, and the certificates cannot be used.
    pub(super) fn new(settings: &Postgres) -> Result<Self, TlsError> {
        let tls = if settings.tls {
            Some(MakeRustlsConnect::new(client_config(&settings.tls_ca)?))
        } else {
            None
        };
        let mut config = Config::new();
        config
            .host(&settings.host)
            .port(settings.port)
            .user(&settings.user)
            .dbname(&settings.database)
            .application_name("timingle")
            .ssl_mode(if settings.tls {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .connect_timeout(settings.connect_timeout)
            .tcp_user_timeout(settings.statement_timeout + SLACK)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let password = settings.password.expose_secret();
        if !password.is_empty() {
            config.password(password);
        }
        Ok(Self {
            config,
            tls,
            connect_timeout: settings.connect_timeout,
            statement_timeout: settings.statement_timeout,
            away: AtomicBool::new(false),
        })
    }

    /// A connection for queries.
    ///
    /// # Errors
    /// The server does not answer in time, or refuses.
    pub(super) async fn connect(&self) -> ConnectionResult<Conn> {
        let mut config = self.config.clone();
        config.options(format!(
            "-c statement_timeout={} -c idle_in_transaction_session_timeout={}",
            self.statement_timeout.as_millis(),
            IDLE_IN_TRANSACTION.as_millis(),
        ));
        let conn = self.open(&config).await;
        match &conn {
            Ok(_) if self.away.swap(false, Ordering::Relaxed) => tracing::info!("postgresql answers again"),
            Err(error) if !self.away.swap(true, Ordering::Relaxed) => {
                tracing::warn!(error = %error, "postgresql cannot be reached");
            }
            _ => {}
        }
        Ok(Conn::Pg(Guarded::new(conn?, self.statement_timeout + SLACK)))
    }

    /// A connection for migrations, whose statements may take long.
    ///
    /// # Errors
    /// The server does not answer in time, or refuses.
    pub(super) async fn connect_to_migrate(&self) -> ConnectionResult<AsyncPgConnection> {
        let mut config = self.config.clone();
        config.options(format!(
            "-c statement_timeout=0 -c lock_timeout={}",
            MIGRATION_LOCK.as_millis()
        ));
        self.open(&config).await
    }

    /// Whether the last connection could not be opened.
    pub(super) fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    async fn open(&self, config: &Config) -> ConnectionResult<AsyncPgConnection> {
        let opening = async {
            if let Some(tls) = &self.tls {
                let (client, conn) = config
                    .connect(tls.clone())
                    .await
                    .map_err(|error| refused(&error))?;
                AsyncPgConnection::try_from_client_and_connection(client, conn).await
            } else {
                let (client, conn) = config.connect(NoTls).await.map_err(|error| refused(&error))?;
                AsyncPgConnection::try_from_client_and_connection(client, conn).await
            }
        };
        timeout(self.connect_timeout, opening)
            .await
            .unwrap_or_else(|_| Err(ConnectionError::BadConnection("no answer came in time".into())))
    }
}

/// The driver says in its sources what matters: that the connection was refused, the
/// password wrong, the certificate of somebody else.
fn refused(error: &tokio_postgres::Error) -> ConnectionError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    ConnectionError::BadConnection(text)
}
