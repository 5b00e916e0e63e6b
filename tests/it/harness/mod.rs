//! What every test stands on: a server, its users, their sockets.
//!
//! - [`api`]: every answer over HTTP against the API's description.
//! - [`frames`]: every frame of a socket against the socket's description.
//! - [`log`]: a log that fails on demand.
//! - [`app`]: the real server in this process, on embedded engines in a directory of its own.
//! - [`cluster`]: nodes of one installation, on production engines.
//! - [`process`]: the real binary, which can be killed.
//! - [`user`]: somebody signed in, over HTTP.
//! - [`socket`]: a WebSocket of version 2, and the copy of a room that its frames make.
//! - [`raw`]: bytes on a connection, for clients below the rules.
//! - [`servers`]: PostgreSQL, Cassandra, NATS and Redis, shared or a test's own.
//! - [`proxy`]: TCP that fails on demand.

pub(crate) mod api;
pub(crate) mod app;
pub(crate) mod cluster;
pub(crate) mod database;
pub(crate) mod frames;
pub(crate) mod log;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod servers;
pub(crate) mod socket;
pub(crate) mod user;

use std::time::Duration;

pub(crate) use app::TestApp;
pub(crate) use raw::Raw;
pub(crate) use socket::{Copy, Socket};
pub(crate) use user::User;

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits `future`, and fails with `what` when it does not come in time.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what} did not come within {PATIENCE:?}");
    };
    value
}

/// Looks again and again until `check` gives something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    soon(what, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if let Some(value) = check().await {
                return value;
            }
        }
    })
    .await
}
