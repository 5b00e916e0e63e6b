//! Finds facts that nobody brought into the log, on whichever node.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::registry::Registry;
use crate::domain::id::EventId;

/// Events swept at the same time.
const SWEEP_AT_ONCE: usize = 16;

/// Events looked at in one sweep.
const SWEEP_PAGE: usize = 100;

impl Registry {
    /// Looks for ever, every `interval`, for facts not known to be in the log, and records them.
    ///
    /// Whoever commits facts records them; what is found by two looks has been left alone. Every
    /// node looks, and leaves it to those whose turn comes before.
    pub async fn sweep(self, interval: Duration) {
        let mut away = false;
        let mut found: HashMap<EventId, Instant> = HashMap::new();
        // Of what a process that died left behind nobody takes care.
        let mut is_first = true;
        loop {
            tokio::time::sleep(interval).await;
            match self.ports().facts.unmarked(SWEEP_PAGE).await {
                Ok(events) => {
                    away = false;
                    crate::metrics::facts_pending(events.len());
                    let now = Instant::now();
                    found.retain(|event, _| events.contains(event));
                    let mut left: Vec<EventId> = Vec::new();
                    for event in events {
                        let is_known = found.contains_key(&event);
                        let since = *found.entry(event).or_insert(now);
                        let turn = self.turn(event);
                        if (is_known || is_first) && now.duration_since(since) >= turn {
                            left.push(event);
                        }
                    }
                    is_first = false;
                    // Several at a time: one that cannot be brought to rest holds up few others.
                    for events in left.chunks(SWEEP_AT_ONCE) {
                        let sweeps = events.iter().map(|event| self.sweep_event(*event));
                        futures_util::future::join_all(sweeps).await;
                    }
                }
                Err(error) if !away => {
                    away = true;
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the sweeper cannot look for facts");
                }
                Err(_) => {}
            }
        }
    }

    async fn sweep_event(&self, event: EventId) {
        let Ok(snapshot) = self.ports().facts.load(event).await else {
            return;
        };
        if snapshot.unmarked.is_empty() {
            return;
        }
        if self.record(event, snapshot.event.fact_no).await.is_ok() {
            // The room has the facts; what is left is to write their places down.
            match self.heal(event).await {
                Ok(healed) if healed.appended > 0 => self.company().0.bridge().look(event),
                Ok(_) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(event.id = %event, error, "facts of event {event} cannot be marked");
                }
            }
        }
    }

    /// How long this node leaves to others what any node may do for `event` and one should.
    pub fn turn(&self, event: EventId) -> Duration {
        self.company().0.bridge().turn(event.0)
    }
}
