//! Where the engines of the production profile are, and how they are talked to.

use std::{path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Deserialize;

/// `[postgres]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Role.
    pub user: String,
    /// The role's password; empty: none.
    pub password: SecretString,
    /// Database.
    pub database: String,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Certificates that sign the server's; empty: the public ones.
    pub tls_ca: PathBuf,
    /// How long opening a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long one statement may take.
    #[serde(with = "humantime_serde")]
    pub statement_timeout: Duration,
}

/// How many replicas have to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Consistency {
    /// A majority of the replicas of this datacenter; conditional writes at `LOCAL_SERIAL`.
    LocalQuorum,
    /// A majority of all replicas; conditional writes at `SERIAL`.
    Quorum,
}

/// `[scylla]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scylla {
    /// Nodes to ask first, with or without port.
    pub hosts: Vec<String>,
    /// Keyspace.
    pub keyspace: String,
    /// How many replicas have to answer.
    pub consistency: Consistency,
    /// The datacenter that orders the logs with [`Consistency::LocalQuorum`]; empty: the only one.
    pub datacenter: String,
    /// Role; empty: none.
    pub user: String,
    /// The role's password.
    pub password: SecretString,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Certificates that sign the servers'; empty: the public ones.
    pub tls_ca: PathBuf,
    /// How long opening a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a conditional write is waited for.
    #[serde(with = "humantime_serde")]
    pub append_timeout: Duration,
    /// How long a read is waited for.
    #[serde(with = "humantime_serde")]
    pub read_timeout: Duration,
}

/// `[nats]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nats {
    /// Servers, separated by commas; may hold credentials.
    pub url: SecretString,
    /// What the subjects begin with.
    pub prefix: String,
}

/// `[redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Password; empty: none.
    pub password: SecretString,
    /// What the keys begin with.
    pub prefix: String,
    /// Connections.
    pub pool: u32,
    /// How long an answer, and how long a connection, is waited for.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}
