//! The tables, and what the first start writes down for all the later ones.
//!
//! The keyspace is the operator's. Tables that lack are made by whichever node comes first.
//! Two servers of Cassandra that make one table at the same moment give it two identities and
//! lose what is written under one of them, so nobody makes a table without having claimed that
//! in `settings`, by a conditional write. The table `settings` itself can be claimed nowhere:
//! it is made through the one server with the lowest id, and holds nothing that could be lost
//! before all servers agree on it.

use std::collections::BTreeSet;

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session},
    errors::{DbError, ExecutionError, RequestAttemptError},
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::{Consistency as Level, SerialConsistency, Statement},
    value::{CqlValue, Row},
};
use tokio::time::{Duration, Instant, sleep};

use super::{
    answer, connect,
    link::{LinkError, Refusal, fault},
};
use crate::config::{Consistency, Scylla};

/// Seconds after which another node may make what the claimant has not.
const CLAIM_SECONDS: u32 = 60;

/// How long a cluster may take to know all its servers.
const NODES_WAIT: Duration = Duration::from_secs(5);

/// What is claimed in `settings` while tables are made.
const CLAIM: &str = "tables_made_by";

/// What says in `settings` how conditional writes are ordered.
const ORDER: &str = "conditional_writes";

/// What [`ORDER`] says before the datacenter's name, where one datacenter orders.
const LOCAL: &str = "LOCAL_SERIAL in ";

/// What [`ORDER`] says where all datacenters order together.
const GLOBAL: &str = "SERIAL";

/// The tables but `settings`, with their columns.
///
/// `room_log`: one row an append, in buckets of a fixed number of entries; the static columns
/// are the head of the bucket. `rev` counts rewritings of `chunk`. `room_hint`: a bucket that
/// the room is known to have reached.
const TABLES: [(&str, &str); 2] = [
    (
        "room_log",
        "(room uuid, bucket int, head_seq bigint STATIC, head_hash blob STATIC, first_seq bigint, \
         rev int, hash blob, chunk blob, PRIMARY KEY ((room, bucket), first_seq)) \
         WITH CLUSTERING ORDER BY (first_seq DESC)",
    ),
    ("room_hint", "(room uuid PRIMARY KEY, bucket int)"),
];

const SETTINGS: (&str, &str) = ("settings", "(name text PRIMARY KEY, value text)");

/// What speaks CQL at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// Apache Cassandra, or whatever does not say that it is `ScyllaDB`.
    Cassandra,
    /// `ScyllaDB`, with the first two numbers of its version where they can be read.
    Scylla(Option<(u32, u32)>),
}

impl Server {
    /// What `session` is connected to.
    pub(super) async fn of(session: &Session) -> Self {
        let text = "SELECT version FROM system.versions";
        let versions = session.query_unpaged(Statement::new(text), ()).await;
        let version = versions.ok().and_then(|result| {
            let rows = result.into_rows_result().ok()?;
            let version = rows.maybe_first_row::<(Option<String>,)>().ok()??.0?;
            Some(numbers(&version))
        });
        let sharded = || {
            let state = session.get_cluster_state();
            state.get_nodes_info().iter().any(|node| node.sharder().is_some())
        };
        match version {
            Some(version) => Self::Scylla(version),
            None if sharded() => Self::Scylla(None),
            None => Self::Cassandra,
        }
    }

    /// What a new keyspace has to be told about tablets: conditional writes work on them from
    /// 2025.4 on, and versions before 6.0 (2024.2 of the other numbering), as Cassandra, do
    /// not know the word.
    pub(super) const fn tablets(self) -> &'static str {
        match self {
            Self::Scylla(Some((6..=2020, _) | (2024, 2..) | (2025, ..4))) => {
                " AND tablets = {'enabled': false}"
            }
            Self::Cassandra | Self::Scylla(_) => "",
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cassandra => f.write_str("Cassandra"),
            Self::Scylla(None) => f.write_str("ScyllaDB"),
            Self::Scylla(Some((major, minor))) => write!(f, "ScyllaDB {major}.{minor}"),
        }
    }
}

/// The first two numbers of a version such as `2025.3.1-0.20250901`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Makes the tables that lack, and settles how conditional writes are ordered: by the
/// datacenter given back, or by all of them.
pub(super) async fn set_up(
    session: &Session,
    config: &Scylla,
    claimant: uuid::Uuid,
) -> Result<Option<String>, LinkError> {
    let keyspace = &config.keyspace;
    let found = names(
        session,
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?",
        keyspace,
    )
    .await?;
    if found.is_empty() {
        return Err(LinkError::NoKeyspace(keyspace.clone()));
    }
    let tables = names(
        session,
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?",
        keyspace,
    )
    .await?;
    if !tables.contains(SETTINGS.0) {
        create(session, keyspace, &SETTINGS).await?;
    }
    let lacking: Vec<_> = TABLES
        .iter()
        .filter(|(name, _)| !tables.contains(*name))
        .collect();
    if !lacking.is_empty() {
        let claimant = claimant.to_string();
        if claim(session, keyspace, CLAIM, &claimant, CLAIM_SECONDS).await? != claimant {
            return Err(LinkError::TablesBeingMade);
        }
        for table in lacking {
            create(session, keyspace, table).await?;
        }
    }
    order(session, config).await
}

/// Settles how conditional writes are ordered; see [`set_up`].
async fn order(session: &Session, config: &Scylla) -> Result<Option<String>, LinkError> {
    let keyspace = &config.keyspace;
    let text = format!("SELECT value FROM \"{keyspace}\".settings WHERE name = ?");
    let mut statement = Statement::new(text);
    // Written once, never changed: wherever it is seen it is true.
    statement.set_consistency(Level::One);
    let rows = session.query_unpaged(statement, (ORDER,)).await.map_err(fault)?;
    let rows = rows.into_rows_result().map_err(fault)?;
    let written = rows.maybe_first_row::<(Option<String>,)>().map_err(fault)?;
    let written = match written.and_then(|row| row.0) {
        Some(written) => written,
        None => claim(session, keyspace, ORDER, &wanted(session, config)?, 0).await?,
    };
    let home = written.strip_prefix(LOCAL);
    let agrees = match config.consistency {
        Consistency::Quorum => written == GLOBAL,
        Consistency::LocalQuorum => {
            home.is_some_and(|home| config.datacenter.is_empty() || config.datacenter == home)
        }
    };
    if !agrees {
        return Err(LinkError::Refused(Refusal::OtherOrder {
            keyspace: keyspace.clone(),
            asked: match (config.consistency, config.datacenter.as_str()) {
                (Consistency::Quorum, _) => GLOBAL.to_owned(),
                (Consistency::LocalQuorum, "") => LOCAL.trim_end_matches(" in ").to_owned(),
                (Consistency::LocalQuorum, datacenter) => format!("{LOCAL}{datacenter}"),
            },
            written,
        }));
    }
    Ok(home.map(str::to_owned))
}

/// How `config` orders conditional writes where nothing is settled yet.
fn wanted(session: &Session, config: &Scylla) -> Result<String, LinkError> {
    if config.consistency == Consistency::Quorum {
        return Ok(GLOBAL.to_owned());
    }
    let found = datacenters(session);
    let chosen = match (config.datacenter.as_str(), found.len()) {
        ("", 1) => found.first(),
        (name, _) => found.get(name),
    };
    match chosen {
        Some(datacenter) => Ok(format!("{LOCAL}{datacenter}")),
        None => Err(LinkError::Refused(Refusal::Datacenter {
            asked: config.datacenter.clone(),
            found: found.into_iter().collect::<Vec<_>>().join(", "),
        })),
    }
}

/// The names of the cluster's datacenters.
pub(super) fn datacenters(session: &Session) -> BTreeSet<String> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    nodes.filter_map(|node| node.datacenter.clone()).collect()
}

/// Writes `value` under `name` unless something stands there; what stands there then.
/// `seconds` later it is gone again, unless that is 0.
async fn claim(
    session: &Session,
    keyspace: &str,
    name: &str,
    value: &str,
    seconds: u32,
) -> Result<String, LinkError> {
    let text = format!(
        "INSERT INTO \"{keyspace}\".settings (name, value) VALUES (?, ?) IF NOT EXISTS USING TTL {seconds}"
    );
    let mut statement = Statement::new(text);
    // What decides the order cannot itself be ordered by it: always among all datacenters.
    statement.set_consistency(Level::Quorum);
    statement.set_serial_consistency(Some(SerialConsistency::Serial));
    let result = session
        .query_unpaged(statement, (name, value))
        .await
        .map_err(fault)?;
    let rows = result.into_rows_result().map_err(fault)?;
    let row = rows.first_row::<Row>().map_err(fault)?;
    if answer::applied(&rows, &row) == Some(true) {
        return Ok(value.to_owned());
    }
    match answer::column(&rows, &row, "value") {
        Some(CqlValue::Text(found)) => Ok(found.clone()),
        // It was there and is gone again: the next try finds out more.
        _ => Err(LinkError::TablesBeingMade),
    }
}

async fn create(session: &Session, keyspace: &str, (name, columns): &(&str, &str)) -> Result<(), LinkError> {
    let text = format!("CREATE TABLE IF NOT EXISTS \"{keyspace}\".{name} {columns}");
    through_one_server(session, text).await.map_err(fault)?;
    tracing::info!(table = name, "made the table {keyspace}.{name}");
    Ok(())
}

/// Changes the schema through the server with the lowest id of those that can be reached, so
/// that nodes that start together ask the same one. Returns once all servers agree.
pub(super) async fn through_one_server(session: &Session, text: String) -> Result<(), ExecutionError> {
    let mut statement = Statement::new(text);
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info().iter();
    if let Some(node) = nodes
        .filter(|node| node.is_connected())
        .min_by_key(|node| node.host_id)
    {
        let target = NodeIdentifier::HostId(node.host_id);
        let profile = session
            .get_default_execution_profile_handle()
            .pointee_to_builder();
        let profile: ExecutionProfile = profile
            .load_balancing_policy(SingleTargetLoadBalancingPolicy::new(target, None))
            .build();
        statement.set_execution_profile_handle(Some(profile.into_handle()));
    }
    session.query_unpaged(statement, ()).await?;
    Ok(())
}

/// Names that the schema's tables have under `keyspace`.
async fn names(session: &Session, text: &str, keyspace: &str) -> Result<BTreeSet<String>, LinkError> {
    let mut statement = Statement::new(text);
    statement.set_consistency(Level::One);
    let rows = session
        .query_unpaged(statement, (keyspace,))
        .await
        .map_err(fault)?;
    let rows = rows.into_rows_result().map_err(fault)?;
    rows.rows::<(String,)>()
        .map_err(fault)?
        .map(|row| row.map(|(name,)| name).map_err(fault))
        .collect()
}

/// Why a keyspace was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyspaceError {
    /// The settings for connecting cannot be used.
    #[error(transparent)]
    Open(#[from] super::OpenError),
    /// The cluster does not answer, or does not want to.
    #[error("the cluster does not make the keyspace")]
    Cluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is more than one datacenter, and which of them get replicas is the operator's to say.
    #[error(
        "the cluster has the datacenters {0}: make the keyspace by hand, and say how many replicas each of them has"
    )]
    Datacenters(String),
    /// A majority of replicas that do not exist could never answer.
    #[error("{replicas} replicas were asked for, and the cluster has {nodes} nodes")]
    TooFewNodes {
        /// Replicas asked for.
        replicas: u8,
        /// Nodes there are.
        nodes: usize,
    },
}

/// Makes the keyspace that `config` names, with `replicas` (1 or more) of everything in the
/// cluster's one datacenter. Whether it was not there.
///
/// # Errors
/// See [`CreateKeyspaceError`].
pub async fn create_keyspace(config: &Scylla, replicas: u8) -> Result<bool, CreateKeyspaceError> {
    fn cluster(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CreateKeyspaceError {
        CreateKeyspaceError::Cluster(error.into())
    }
    let settings = connect::Settings::new(config, super::Tuning::default())?;
    let session = settings.connect().await.map_err(cluster)?;
    let deadline = Instant::now() + NODES_WAIT;
    let nodes = loop {
        let nodes = session.get_cluster_state().get_nodes_info().len();
        if nodes >= usize::from(replicas) || Instant::now() >= deadline {
            break nodes;
        }
        // Servers that have just started hear of each other one by one.
        sleep(Duration::from_millis(200)).await;
        session.refresh_metadata().await.map_err(cluster)?;
    };
    let datacenters = datacenters(&session);
    let (Some(datacenter), 1) = (datacenters.first(), datacenters.len()) else {
        let names = datacenters.into_iter().collect::<Vec<_>>().join(", ");
        return Err(CreateKeyspaceError::Datacenters(names));
    };
    if usize::from(replicas) > nodes || replicas == 0 {
        return Err(CreateKeyspaceError::TooFewNodes { replicas, nodes });
    }
    let text = format!(
        "CREATE KEYSPACE \"{}\" WITH replication = {{'class': 'NetworkTopologyStrategy', '{}': {replicas}}}{}",
        config.keyspace,
        datacenter.replace('\'', "''"),
        Server::of(&session).await.tablets(),
    );
    match through_one_server(&session, text).await {
        Ok(()) => Ok(true),
        Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(
            DbError::AlreadyExists { .. },
            _,
        ))) => Ok(false),
        Err(error) => Err(cluster(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Server, numbers};

    #[test]
    fn tablets_are_turned_off_exactly_where_conditional_writes_do_not_know_them() {
        let words = |version: &str| Server::Scylla(numbers(version)).tablets();
        for knows_no_tablets in ["5.4.9", "2023.1.0", "2024.1.12-0.2024"] {
            assert!(words(knows_no_tablets).is_empty(), "{knows_no_tablets}");
        }
        for too_old in [
            "6.0.0",
            "6.2.3-rc1",
            "2024.2.0",
            "2025.1.1",
            "2025.3.0-0.20250901",
        ] {
            assert!(words(too_old).contains("'enabled': false"), "{too_old}");
        }
        for fit in ["2025.4.0", "2025.10.1", "2026.1.0", "nonsense"] {
            assert!(words(fit).is_empty(), "{fit}");
        }
        assert!(Server::Cassandra.tablets().is_empty());
    }
}
