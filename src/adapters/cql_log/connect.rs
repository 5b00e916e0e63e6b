//! A session of the driver, and which of its requests go where and for how long.

use std::{sync::Arc, time::Duration};

use scylla::{
    client::{
        SelfIdentity,
        execution_profile::{ExecutionProfile, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind as Setup, DbError,
        MetadataError, NewSessionError,
    },
    policies::{
        load_balancing::DefaultPolicy,
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    statement::{Consistency as Level, SerialConsistency},
};
use secrecy::ExposeSecret as _;

use super::{OpenError, Tuning, store::Counts};
use crate::{
    adapters::tls,
    config::{Consistency, Scylla},
};

/// A connection that is quiet for this long is asked for a sign of life ...
const KEEPALIVE: Duration = Duration::from_secs(5);

/// ... and given up when none comes within this: a frozen server is noticed in ten seconds.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(5);

/// How long what the driver asks about the cluster may take.
const METADATA: Duration = Duration::from_secs(10);

/// After this a second server is asked the same: what it answers may be used as well.
const SPECULATION: Duration = Duration::from_millis(500);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Nobody is let in so; what is tried again is the same until people have put it right.
    #[error("the servers let nobody in with this scylla.user and scylla.password")]
    Credentials(#[source] NewSessionError),
    /// Anything else, which may go by.
    #[error(transparent)]
    Session(NewSessionError),
}

impl From<NewSessionError> for ConnectError {
    fn from(error: NewSessionError) -> Self {
        match &error {
            NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
                ConnectionPoolError::Broken {
                    last_connection_error: ConnectionError::ConnectionSetupRequestError(refused),
                },
            )) if matches!(
                refused.get_error(),
                Setup::MissingAuthentication | Setup::DbError(DbError::AuthenticationError, _)
            ) =>
            {
                Self::Credentials(error)
            }
            _ => Self::Session(error),
        }
    }
}

/// What does not change from one connection to the next.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) config: Scylla,
    pub(super) tuning: Tuning,
    pub(super) counts: Arc<Counts>,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Settings {
    /// Reads the certificates that `config` names.
    pub(super) fn new(config: &Scylla, tuning: Tuning) -> Result<Self, OpenError> {
        let tls = config
            .tls
            .then(|| tls::client_config(&config.tls_ca).map(Arc::new))
            .transpose()?;
        Ok(Self {
            config: config.clone(),
            tuning,
            counts: Arc::default(),
            tls,
        })
    }

    /// Connects to the cluster. The session reconnects by itself, for ever.
    pub(super) async fn connect(&self) -> Result<Session, ConnectError> {
        let config = &self.config;
        let mut builder = SessionBuilder::new()
            .known_nodes(&config.hosts)
            .connection_timeout(config.connect_timeout)
            .hostname_resolution_timeout(Some(LOOKUP))
            .keepalive_interval(KEEPALIVE)
            .keepalive_timeout(KEEPALIVE_TIMEOUT)
            .metadata_request_clientside_timeout(METADATA)
            // Shorter, so that a server that gives up can still say why.
            .metadata_request_serverside_timeout(METADATA / 2)
            .keyspaces_to_fetch([&config.keyspace])
            .custom_identity(SelfIdentity::new().with_application_name("timingle"))
            .tls_context(self.tls.clone())
            // Who has not chosen a kind of request: the few statements about the schema.
            .default_execution_profile_handle(
                ExecutionProfile::builder()
                    .request_timeout(Some(METADATA))
                    .build()
                    .into_handle(),
            );
        if !config.user.is_empty() {
            builder = builder.user(&config.user, config.password.expose_secret());
        }
        if let Some(translator) = &self.tuning.addresses {
            builder = builder.address_translator(Arc::clone(translator));
        }
        Ok(builder.build().await?)
    }
}

/// The serial level that belongs to `consistency`.
pub(super) fn serial(consistency: Consistency) -> SerialConsistency {
    match consistency {
        Consistency::LocalQuorum => SerialConsistency::LocalSerial,
        Consistency::Quorum => SerialConsistency::Serial,
    }
}

/// How each kind of request is sent.
pub(super) struct Profiles {
    /// Conditional writes, the first time. Sent once: an answer that does not come says nothing.
    pub(super) write: ExecutionProfileHandle,
    /// Conditional writes that are said again, perhaps to another server.
    pub(super) again: ExecutionProfileHandle,
    /// Reads that must be exact: they end what was left undecided.
    pub(super) exact: ExecutionProfileHandle,
    /// All other reads.
    pub(super) read: ExecutionProfileHandle,
    /// Reads and writes of hints.
    pub(super) hint: ExecutionProfileHandle,
}

impl Profiles {
    /// Asks the servers of `datacenter` only, where there is one to keep to.
    pub(super) fn new(config: &Scylla, datacenter: Option<&str>) -> Self {
        let (quorum, exact, one) = match config.consistency {
            Consistency::LocalQuorum => (Level::LocalQuorum, Level::LocalSerial, Level::LocalOne),
            Consistency::Quorum => (Level::Quorum, Level::Serial, Level::One),
        };
        let balancing = |shuffle| {
            let policy = DefaultPolicy::builder().enable_shuffling_replicas(shuffle);
            match datacenter {
                Some(name) => policy.prefer_datacenter(name.to_owned()).build(),
                None => policy.build(),
            }
        };
        // Without shuffling, all conditional writes of a partition go to one server while it
        // lives: fewer of them get into each other's way.
        let write = ExecutionProfile::builder()
            .consistency(quorum)
            .serial_consistency(Some(serial(config.consistency)))
            .request_timeout(Some(config.append_timeout))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .load_balancing_policy(balancing(false))
            .build();
        let read = ExecutionProfile::builder()
            .consistency(quorum)
            .request_timeout(Some(config.read_timeout))
            .retry_policy(Arc::new(DefaultRetryPolicy::new()))
            .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
                max_retry_count: 1,
                retry_interval: SPECULATION.min(config.read_timeout / 2),
            })))
            .load_balancing_policy(balancing(true))
            .build();
        let again = write.to_builder().load_balancing_policy(balancing(true));
        Self {
            again: again.build().into_handle(),
            exact: read.to_builder().consistency(exact).build().into_handle(),
            hint: read.to_builder().consistency(one).build().into_handle(),
            write: write.into_handle(),
            read: read.into_handle(),
        }
    }
}
