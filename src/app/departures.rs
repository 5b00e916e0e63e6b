//! Lets those whose accounts are gone leave the events that go on.

use std::time::Duration;

use crate::{
    realtime::Registry,
    service::account::{Accounts, Departure},
};

/// How often deleted accounts are looked for. Somebody who goes is gone at once; that the
/// events hear of it may take this long.
const POLL: Duration = Duration::from_secs(1);

/// Looks for ever. Deletions of other processes, and those that a crash cut short, are found
/// by the same look.
pub(super) async fn clear(accounts: Accounts, registry: Registry) {
    let mut away = false;
    loop {
        tokio::time::sleep(POLL).await;
        match accounts.clear_departed().await {
            Ok(departures) => {
                away = false;
                for departure in departures {
                    tell(&registry, departure).await;
                }
            }
            Err(error) if !away => {
                away = true;
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "deleted accounts cannot leave their events now");
            }
            Err(_) => {}
        }
    }
}

/// Brings the fact into the room, and lets the room forget a name that it may have read just
/// before the account was deleted.
async fn tell(registry: &Registry, departure: Departure) {
    let Departure { event, user, fact_no } = departure;
    // What is not recorded now the sweeper records.
    let _ = registry.record(event, fact_no).await;
    registry.rename(&[event], user, None).await;
}
