//! Keeps the log connected, from a start without any server on.

use std::{error::Error, sync::Arc, time::Duration};

use rand::Rng as _;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::{connect::Settings, schema, store::Store};

/// How long one try to connect may take, the making of tables included.
const TRY: Duration = Duration::from_secs(60);

/// The first pause after a try that failed; each later one is twice as long ...
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// ... up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The pause after a refusal, which only people can put right.
const PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// A setting that the cluster's earlier ones rule out. Trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Other nodes order conditional writes another way. Both ways at once would break the
    /// order of every room.
    #[error(
        "the logs of keyspace {keyspace} are ordered at {written} since their first start, and this node \
         is set to {asked}: set scylla.consistency (SCYLLA_CONSISTENCY) and scylla.datacenter to what \
         the other nodes have (QUORUM orders at SERIAL, LOCAL_QUORUM at LOCAL_SERIAL)"
    )]
    OtherOrder {
        /// The keyspace.
        keyspace: String,
        /// How conditional writes are ordered.
        written: String,
        /// How this node would order them.
        asked: String,
    },
    /// It is not clear which datacenter is to order conditional writes.
    #[error(
        "the cluster has the datacenters {found}, and scylla.datacenter is \"{asked}\": name the one that \
         is to order the logs, or order them in all (scylla.consistency = \"QUORUM\")"
    )]
    Datacenter {
        /// The datacenter asked for.
        asked: String,
        /// The datacenters there are.
        found: String,
    },
}

/// Why the log is not connected.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    /// No try has ended yet.
    #[error("the log is being connected")]
    Connecting,
    /// The server is away, or does not do what it is asked to.
    #[error("the log cannot be connected")]
    Fault(#[source] Box<dyn Error + Send + Sync>),
    /// The keyspace is the operator's to make.
    #[error(
        "the keyspace {0} does not exist; `timingle migrate --create-keyspace 3` makes one with 3 replicas"
    )]
    NoKeyspace(String),
    /// Another node is at it.
    #[error("the log's tables are being made by another node")]
    TablesBeingMade,
    /// A setting is wrong.
    #[error(transparent)]
    Refused(Refusal),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// An error of the driver, as one that connecting ends with.
pub(super) fn fault(error: impl Error + Send + Sync + 'static) -> LinkError {
    LinkError::Fault(Box::new(error))
}

/// What the log has to work with now.
pub(super) type Link = Result<Arc<Store>, Arc<LinkError>>;

/// Connects, and again when `renew` says so, until it is dropped.
pub(super) async fn keep(settings: Settings, link: watch::Sender<Link>, renew: Arc<Notify>) {
    // The same in every try: a claim of ours that we do not know to have stays ours.
    let claimant = uuid::Uuid::new_v4();
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let connected = timeout(TRY, connect(&settings, &renew, claimant)).await;
        let error = match connected.map_err(fault).flatten() {
            Ok(store) => {
                let ready = "the room log is connected";
                tracing::info!(keyspace = settings.config.keyspace, server = %store.server, "{ready}: {}", store.server);
                // What was there before is of no use any more.
                let _ = link.send_replace(Ok(Arc::new(store)));
                told.clear();
                renew.notified().await;
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            Err(error) => Arc::new(error),
        };
        let wait = if matches!(*error, LinkError::Refused(_)) {
            pause = FIRST_PAUSE;
            PAUSE_REFUSED
        } else {
            pause
        };
        let text = chain(&*error);
        if matches!(*error, LinkError::Refused(_)) {
            tracing::error!("the room log refuses this node: {text}");
        } else if text == told {
            tracing::debug!("the room log is still not connected: {text}");
        } else {
            tracing::warn!("the room log is not connected: {text}; trying again for ever");
        }
        told = text;
        // A link that was to be renewed serves until there is a better one.
        link.send_if_modified(|now| {
            let replaces = now.is_err() || matches!(*error, LinkError::Refused(_));
            if replaces {
                *now = Err(error);
            }
            replaces
        });
        sleep(jittered(wait)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn connect(settings: &Settings, renew: &Arc<Notify>, claimant: uuid::Uuid) -> Result<Store, LinkError> {
    let session = settings.connect().await.map_err(fault)?;
    let server = schema::Server::of(&session).await;
    let home = schema::set_up(&session, &settings.config, claimant).await?;
    Store::prepare(session, server, settings, home.as_deref(), Arc::clone(renew)).await
}

/// `error` and all that caused it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Some errors tell their cause themselves.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        next = cause.source();
    }
    text
}

/// Between half of `pause` and all of it, so that those who failed together do not come back together.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
