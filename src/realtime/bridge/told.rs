//! How often this node told something under each topic, and when last.

use std::time::{Duration, Instant};

use crate::ports::Topic;

/// How long a beat goes on saying how often something was told.
const RECENT: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Told {
    counts: Vec<(u64, Option<Instant>)>,
}

impl Told {
    /// Nothing was told yet.
    pub(super) fn new() -> Self {
        Self {
            counts: vec![(0, None); Topic::COUNT],
        }
    }

    /// One more telling under `topic`; its number.
    pub(super) fn count(&mut self, topic: Topic, now: Instant) -> u64 {
        let Some((count, at)) = self.counts.get_mut(usize::from(topic.index())) else {
            return 0;
        };
        *count += 1;
        *at = Some(now);
        *count
    }

    /// Indices and counts of the topics under which something was told since a while before `since`.
    pub(super) fn lately(&self, since: Instant) -> Vec<(u16, u64)> {
        let since = since.checked_sub(RECENT);
        let told = (0..).zip(&self.counts);
        let lately = told.filter_map(|(index, (count, at))| {
            let at = (*at)?;
            since.is_none_or(|since| at >= since).then_some((index, *count))
        });
        lately.collect()
    }
}
