//! What goes on in the background for as long as the server runs.

use std::{sync::Arc, time::Duration};

use tokio::{runtime, task::JoinHandle};

use super::{departures, due};
use crate::{
    adapters::sql::Sql,
    config::Config,
    domain::time::Clock,
    http,
    realtime::{Bridge, bridge::Ears, presence::Presences, session},
    service::idempotency::forget_old_keys,
};

/// How often full rate buckets are forgotten.
const TIDY: Duration = Duration::from_secs(60);

/// Sign-ins asked for in one query of the revocation poll.
const POLL_PAGE: usize = 200;

/// Starts all of it on `background`.
#[expect(clippy::too_many_arguments, reason = "each is a part that some task needs")]
pub(super) fn start(
    background: &runtime::Handle,
    config: &Config,
    parts: &http::Parts,
    shared: &Arc<session::Shared>,
    presences: Presences,
    bridge: &Bridge,
    sql: &Sql,
    clock: &Clock,
) -> Vec<JoinHandle<()>> {
    let registry = &parts.registry;
    let ears = Ears {
        bridge: bridge.clone(),
        registry: registry.clone(),
        roster: shared.roster.clone(),
        presences: presences.clone(),
        write_timeout: config.scylla.append_timeout,
    };
    vec![
        background.spawn(ears.run()),
        background.spawn(registry.clone().sweep(config.room.sweep)),
        background.spawn(presences.run(registry.clone())),
        background.spawn(due::keep_time(
            parts.events.clone(),
            registry.clone(),
            clock.clone(),
            config.events.due_poll,
        )),
        background.spawn(departures::clear(parts.accounts.clone(), registry.clone())),
        background.spawn(forget_old_keys(
            sql.clone(),
            clock.clone(),
            config.events.idempotency_life,
        )),
        background.spawn(obey_revocations(
            Arc::clone(shared),
            bridge.clone(),
            config.auth.revocation_poll,
        )),
        background.spawn(tidy(Arc::clone(shared))),
    ]
}

/// Closes sockets whose sign-in was revoked without this node being told.
async fn obey_revocations(shared: Arc<session::Shared>, bridge: Bridge, interval: Duration) {
    let mut away = false;
    loop {
        // At once when another node may have said so and was not heard.
        let _ = tokio::time::timeout(interval, bridge.doubted()).await;
        for sign_ins in shared.roster.sign_ins().chunks(POLL_PAGE) {
            match shared.sign_ins.revoked(sign_ins).await {
                Ok(revoked) => {
                    away = false;
                    for sign_in in revoked {
                        shared.roster.revoke_here(sign_in);
                    }
                }
                Err(error) if !away => {
                    away = true;
                    tracing::warn!(error = %error, "revoked sign-ins cannot be looked up");
                }
                Err(_) => {}
            }
        }
    }
}

async fn tidy(shared: Arc<session::Shared>) {
    loop {
        tokio::time::sleep(TIDY).await;
        shared.limiter.tidy();
    }
}
