//! What may be lost, on the embedded engine and on a real Redis: the same promises of both; then
//! what goes on, and what is refused, while Redis is away, slow or wiped.

mod codes;
mod counters;
mod degraded;
mod faults;
mod presence;

use std::{net::SocketAddr, time::Duration};

use timingle::{adapters::redis::Redis, config};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::harness::servers;

/// Two connections of nodes of one installation that nobody else has, on the shared server.
async fn nodes() -> [Redis; 2] {
    let settings = settings(servers::redis().await);
    [node(&settings), node(&settings)]
}

/// Settings of an installation that nobody else has, on the server there.
fn settings(server: SocketAddr) -> config::Redis {
    config::Redis {
        host: server.ip().to_string(),
        port: server.port(),
        password: String::new().into(),
        prefix: format!("it-{}:", Uuid::new_v4().simple()),
        pool: 4,
        // The tests' own machine may be slow: what is away is shown by what does not answer at all.
        timeout: Duration::from_secs(2),
    }
}

fn node(settings: &config::Redis) -> Redis {
    Redis::open(settings, &Handle::current()).unwrap().0
}

/// Asks that server itself, below the rules.
async fn redis_cli(server: SocketAddr, words: &[&str]) -> String {
    let mut command = std::process::Command::new("redis-cli");
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command.args(words);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The keys of an installation.
async fn keys(server: SocketAddr, prefix: &str) -> Vec<String> {
    let printed = redis_cli(server, &["--scan", "--pattern", &format!("{prefix}*")]).await;
    printed.lines().map(str::to_owned).collect()
}
