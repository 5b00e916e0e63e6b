//! Who is here: told to rooms when somebody comes or goes, and to whoever asks.
//!
//! A room that is watched by sockets says whose coming and going it wants to hear of;
//! nothing is kept of all others.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    bridge::{Bridge, Interest},
    feed::Feed,
    protocol::v2::Here,
    registry::Registry,
    roster::{Roster, Stir},
};
use crate::{
    domain::{
        id::{EventId, UserId},
        time::{Clock, Micros},
    },
    ports::{Presence, Seen, Topic},
};

/// How long the store of presence may take; without its answer this node's own sockets count.
const PATIENCE: Duration = Duration::from_millis(500);

/// People of one shard who are looked up when something was missed of it.
const LOOKED_AT: usize = 200;

/// Tells rooms and askers who is here. Clones share it.
#[derive(Clone)]
pub struct Presences {
    shared: Arc<Shared>,
}

struct Shared {
    roster: Roster,
    store: Arc<dyn Presence>,
    clock: Clock,
    /// The rooms that want to hear of each user, and what keeps that coming from other nodes.
    watchers: Mutex<HashMap<UserId, (Vec<EventId>, Interest)>>,
}

impl Presences {
    /// Who is here by the sockets of `roster`, and by what `store` knows beyond.
    pub fn new(roster: Roster, store: Arc<dyn Presence>, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                roster,
                store,
                clock,
                watchers: Mutex::default(),
            }),
        }
    }

    /// The feeds of the same sockets.
    pub(super) fn feed(&self) -> Feed {
        Feed::new(self.shared.roster.clone())
    }

    fn bridge(&self) -> &Bridge {
        self.shared.roster.bridge()
    }

    /// The room of `event` wants to hear of each of `users`.
    pub(super) fn watch(&self, event: EventId, users: &[UserId]) {
        let mut watchers = self.shared.watchers.lock();
        for user in users {
            let listen = || (Vec::new(), self.bridge().listen(Topic::here(*user)));
            watchers.entry(*user).or_insert_with(listen).0.push(event);
        }
    }

    /// The room of `event` wants to hear of each of `users` no longer.
    pub(super) fn unwatch(&self, event: EventId, users: &[UserId]) {
        let mut watchers = self.shared.watchers.lock();
        for user in users {
            if let Some((events, _)) = watchers.get_mut(user) {
                if let Some(index) = events.iter().position(|watching| *watching == event) {
                    events.swap_remove(index);
                }
                if events.is_empty() {
                    watchers.remove(user);
                }
            }
        }
    }

    /// Who of `users` is here, in their order.
    pub(super) async fn of(&self, users: &[UserId]) -> Vec<Here> {
        let shared = &self.shared;
        let known = timeout(PATIENCE, shared.store.of(users))
            .await
            .unwrap_or_default();
        let now = shared.clock.now();
        let known = known.into_iter().chain(std::iter::repeat(Seen::default()));
        users
            .iter()
            .zip(known)
            .map(|(user, seen)| {
                let online = seen.elsewhere || shared.roster.is_here(*user);
                Here {
                    id: *user,
                    online,
                    seen_at: if online { Some(now) } else { seen.at },
                }
            })
            .collect()
    }

    /// Tells for ever who came and who went to the rooms that want to hear of it.
    pub async fn run(self, registry: Registry) {
        loop {
            let Stir { came, went, next } = self.shared.roster.take_stir(Instant::now());
            let (now, wall) = (Instant::now(), self.shared.clock.now());
            for user in came {
                self.keep(self.shared.store.came(user, wall)).await;
                // Who was on another node all the time has not come.
                if !self.is_elsewhere(user).await {
                    self.tell_all(&registry, user, true, wall);
                }
            }
            for (user, left) in went {
                let gone_for = i64::try_from(now.duration_since(left).as_micros()).unwrap_or(0);
                let at = Micros(wall.0.saturating_sub(gone_for));
                self.keep(self.shared.store.went(user, at)).await;
                // Whoever came back since is told of as one who came.
                if !self.shared.roster.is_here(user) && !self.is_elsewhere(user).await {
                    self.tell_all(&registry, user, false, at);
                }
            }
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep_until(next.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.roster.stirred() => {}
                () = due => {}
            }
        }
    }

    /// A store that does not answer loses what it should keep: presence is only a hint.
    async fn keep(&self, writing: impl Future<Output = ()>) {
        let _ = timeout(PATIENCE, writing).await;
    }

    /// Whether `user` is on another node, as far as the store knows.
    async fn is_elsewhere(&self, user: UserId) -> bool {
        let known = timeout(PATIENCE, self.shared.store.of(&[user])).await;
        known.is_ok_and(|known| known.iter().any(|seen| seen.elsewhere))
    }

    /// Tells the rooms of every node.
    fn tell_all(&self, registry: &Registry, user: UserId, online: bool, at: Micros) {
        let here = Here {
            id: user,
            online,
            seen_at: Some(at),
        };
        self.bridge().here(here);
        self.tell(registry, here);
    }

    /// Takes in that somebody came to another node, or went from one.
    pub(super) fn hear(&self, registry: &Registry, here: Here) {
        // Who has a socket on this node has not gone.
        if here.online || !self.shared.roster.is_here(here.id) {
            self.tell(registry, here);
        }
    }

    /// Who of a shard came or went elsewhere was not heard: tells the rooms what the store knows
    /// of those whom they want to hear of.
    pub(super) fn look_again(&self, registry: &Registry, topic: Topic) {
        let watched: Vec<UserId> = {
            let watchers = self.shared.watchers.lock();
            let meant = watchers.keys().filter(|user| Topic::here(**user) == topic);
            meant.copied().take(LOOKED_AT).collect()
        };
        if watched.is_empty() {
            return;
        }
        let (presences, rooms) = (self.clone(), registry.clone());
        registry.go_on(async move {
            for here in presences.of(&watched).await {
                if here.seen_at.is_some() {
                    presences.tell(&rooms, here);
                }
            }
        });
    }

    fn tell(&self, registry: &Registry, here: Here) {
        let watchers = self.shared.watchers.lock();
        let events = watchers.get(&here.id).map(|(events, _)| events.clone());
        drop(watchers);
        for event in events.unwrap_or_default() {
            if let Some(room) = registry.live(event) {
                room.tell_presence(here);
            }
        }
    }
}
