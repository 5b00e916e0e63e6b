//! The relational store on PostgreSQL.
//!
//! - [`schema`]: both databases have the same tables.
//! - [`migrations`]: they get there once, beside each other, and beside those who serve.
//! - [`transactions`]: what is tried again, and what never is.
//! - [`plans`]: no query reads a whole table.
//! - [`connections`]: passwords, encryption.
//! - [`faults`]: a node whose PostgreSQL is away, silent, restarted.

mod catalog;
mod connections;
mod faults;
mod migrations;
mod plans;
mod schema;
mod transactions;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use timingle::{
    adapters::sql::Sql,
    config::{Data, Postgres},
};

use crate::harness::database::Database;

/// The role that the servers of the tests have, in `database`, reached at `address`.
fn settings(address: SocketAddr, database: &str) -> Postgres {
    Postgres {
        host: address.ip().to_string(),
        port: address.port(),
        user: "postgres".to_owned(),
        password: SecretString::default(),
        database: database.to_owned(),
        tls: false,
        tls_ca: PathBuf::new(),
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
    }
}

/// A pool of `pool`, waited for as long as any statement.
fn data(pool: u32) -> Data {
    Data {
        dir: PathBuf::new(),
        pool,
        pool_timeout: Duration::from_secs(5),
    }
}

/// The store in `database`, migrated.
async fn migrated(database: &Database) -> Sql {
    let sql = Sql::postgres(&settings(database.server(), database.name()), &data(8)).unwrap();
    sql.migrate().await.unwrap();
    sql
}
