//! When people were last here, in memory.

use async_trait::async_trait;
use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    domain::{id::UserId, time::Micros},
    ports::{Presence, Seen},
};

/// People of whom it is known; whose being here is longest ago are forgotten first.
const PEOPLE: usize = 100_000;

/// [`Presence`] of a server that is alone: it knows its own sockets, so only goings are kept.
pub struct MemoryPresence {
    last_seen: Mutex<LruCache<UserId, Micros>>,
}

impl MemoryPresence {
    /// Nobody was ever here.
    pub fn new() -> Self {
        Self {
            // A cache with a bound would take its whole room at once.
            last_seen: Mutex::new(LruCache::unbounded()),
        }
    }
}

impl Default for MemoryPresence {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn came(&self, _: UserId, _: Micros) {}

    async fn went(&self, user: UserId, at: Micros) {
        let mut last_seen = self.last_seen.lock();
        last_seen.put(user, at);
        if last_seen.len() > PEOPLE {
            last_seen.pop_lru();
        }
    }

    async fn of(&self, users: &[UserId]) -> Vec<Seen> {
        let last_seen = self.last_seen.lock();
        let seen = |user| Seen {
            elsewhere: false,
            at: last_seen.peek(user).copied(),
        };
        users.iter().map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryPresence;
    use crate::{
        domain::{id::UserId, time::Micros},
        ports::{Presence as _, Seen},
    };

    #[tokio::test]
    async fn last_going_is_known_and_nobody_else_is() {
        let presence = MemoryPresence::new();
        presence.went(UserId(1), Micros(5)).await;
        presence.came(UserId(1), Micros(6)).await;
        presence.went(UserId(1), Micros(7)).await;
        let known = Seen {
            elsewhere: false,
            at: Some(Micros(7)),
        };
        assert_eq!(
            presence.of(&[UserId(2), UserId(1)]).await,
            [Seen::default(), known]
        );
    }
}
