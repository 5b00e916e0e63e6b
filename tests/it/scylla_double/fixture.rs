//! A room log on the double.

use std::time::Duration;

use timingle::{
    adapters::cql_log::{CqlLog, Tuning, create_keyspace},
    config::{Config, Scylla, Sources},
    domain::id::RoomId,
    ports::RoomLog as _,
};
use uuid::Uuid;

use super::{server::Double, shape::Shape};
use crate::harness::until;

/// Entries of a bucket here.
pub(super) const BUCKET: usize = 8;

/// Where the log finds the double.
pub(super) fn config(double: &Double, shape: &Shape) -> Scylla {
    let sources = Sources {
        file: None,
        env: Vec::new(),
    };
    let mut config = Config::load(&sources).unwrap().scylla;
    config.hosts = vec![double.host()];
    if let Some((user, password)) = shape.credentials {
        user.clone_into(&mut config.user);
        config.password = password.into();
    }
    config
}

/// A log with small buckets that connects, or goes on trying.
pub(super) fn open(config: &Scylla) -> CqlLog {
    let tuning = Tuning {
        bucket: BUCKET as u64,
        ..Tuning::default()
    };
    CqlLog::open_tuned(config, &tokio::runtime::Handle::current(), tuning).unwrap()
}

/// A log that waits `timeout` for a conditional write, and twice as long while in doubt.
pub(super) async fn impatient(config: &Scylla, timeout: Duration) -> CqlLog {
    let mut config = config.clone();
    config.append_timeout = timeout;
    let log = open(&config);
    answers(&log).await;
    log
}

/// A double with a keyspace, and a log on it that answers.
pub(super) async fn start(shape: &Shape) -> (Double, Scylla, CqlLog) {
    let double = Double::start(shape.clone()).await;
    let config = config(&double, shape);
    let replicas = u8::try_from(shape.nodes).unwrap();
    assert!(create_keyspace(&config, replicas).await.unwrap());
    let log = open(&config);
    answers(&log).await;
    (double, config, log)
}

/// Waits until the log is connected.
pub(super) async fn answers(log: &CqlLog) {
    until("the log answers", || async {
        log.tip(RoomId(Uuid::nil())).await.ok()
    })
    .await;
}

/// An error and all that caused it.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
