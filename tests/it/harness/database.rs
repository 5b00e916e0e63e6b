//! A database for one test.

use std::{net::SocketAddr, sync::mpsc, thread, time::Duration};

use tokio::time::timeout;
use uuid::Uuid;

use super::servers::postgres;

/// How long removing one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A fresh, empty database. Dropped, it is removed together with the connections that are still open.
pub(crate) struct Database {
    server: SocketAddr,
    name: String,
}

impl Database {
    /// One on the shared PostgreSQL.
    pub(crate) async fn shared() -> Self {
        Self::on(postgres().await).await
    }

    /// One on this PostgreSQL.
    pub(crate) async fn on(server: SocketAddr) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        if let Err(error) = administer(server, &format!("CREATE DATABASE {name}")).await {
            panic!("no database {name} at {server}: {error}");
        }
        Self { server, name }
    }

    /// Its name; its owner is `postgres`, without a password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server's own address, which a proxy may stand in front of.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// `postgres://...`, for `tokio-postgres`.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@{}/{}", self.server, self.name)
    }

    /// A connection below all rules; its task ends with it.
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), tokio_postgres::NoTls)
            .await
            .unwrap_or_else(|error| panic!("no connection to {}: {error}", self.url()));
        tokio::spawn(connection);
        client
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server, self.name.clone());
        let (tell, told) = mpsc::channel();
        // A thread of its own: this may be inside a runtime, which must not wait for itself.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let remove = format!("DROP DATABASE {name} WITH (FORCE)");
            let done = runtime.block_on(async { timeout(PATIENCE, administer(server, &remove)).await });
            // Fails where nobody waits any more.
            let _ = tell.send(done);
        });
        // A server that does not answer takes its data along when it is wiped.
        let _ = told.recv_timeout(PATIENCE);
    }
}

async fn administer(server: SocketAddr, statement: &str) -> Result<(), tokio_postgres::Error> {
    let url = format!("postgres://postgres@{server}/postgres?connect_timeout=5");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(statement).await
}
