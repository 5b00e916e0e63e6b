//! The bridge between nodes: what one tells the others, and what follows from not hearing it.
//!
//! The broker loses, doubles and reorders; nothing here depends on it but how soon something
//! happens. A node counts what it tells under each topic, and says once a second how much that
//! was, together with what it wants to hear itself: what nobody wants is counted and not sent.
//! Who misses a number looks at the log, and so does who hears nothing at all.
//!
//! - here: [`Bridge`], what rooms, feeds and sockets tell.
//! - `wire`: that as bytes.
//! - `told`: how often this node told something.
//! - `count`: what of another node's tellings was heard.
//! - `interest`: what this node wants to hear.
//! - `looks`: which rooms look at the log next.
//! - `run`: hears the others.
//! - `miss`: does what follows from what it does not hear.
//! - `obey`: does what follows from what they tell.

mod count;
mod interest;
mod looks;
mod miss;
mod obey;
mod run;
mod told;
mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::run::Ears;
pub(super) use self::{interest::Interest, wire::Hint};
use self::{
    interest::{Interests, WORDS, bit},
    told::Told,
    wire::{Body, Header, WireHint, WireMark, WireNews},
};
use super::{feed::News, protocol::v2::Here};
use crate::{
    domain::{
        entry::Entry,
        event::ReadMark,
        id::{EventId, RoomId, UserId},
    },
    metrics::{self, Telling},
    ports::{Broker, Heard, Topic},
};

/// Bytes of entries that a hint carries; of more it only says that they are there.
const HINT_BYTES: usize = 16 * 1024;

/// Shards of users that are told each by itself; news for more go to everyone at once.
const SHARDS_APART: usize = 16;

/// Events named in one telling of a new name.
const RENAMES: usize = 500;

/// How much longer each next node leaves to the ones before it what any node may do.
const TURN: Duration = Duration::from_secs(1);

/// The most that a node waits for its turn.
const MAX_TURN: Duration = Duration::from_secs(5);

/// What this node tells the others. Clones share it.
#[derive(Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
}

struct Shared {
    broker: Arc<dyn Broker>,
    /// This process, among all that ever were.
    node: u64,
    told: Mutex<Told>,
    /// What any other node wants to hear: a bit for each topic.
    wanted: [AtomicU64; WORDS],
    interests: Mutex<Interests>,
    /// Told when there is a new interest.
    stirred: Notify,
    /// The other nodes, as far as they are known.
    others: RwLock<Vec<u64>>,
    /// Told when a revocation may have been missed.
    doubted: Notify,
}

/// The broker of a node that is alone.
struct Nobody;

#[async_trait]
impl Broker for Nobody {
    fn tell(&self, _: Topic, _: Bytes) -> bool {
        true
    }

    fn listen(&self, _: Topic) {}

    fn unlisten(&self, _: Topic) {}

    async fn hear(&self) -> Option<Heard> {
        None
    }
}

impl Bridge {
    /// A bridge over `broker`; it says nothing of what it hears until [`Ears::run`] runs.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            shared: Arc::new(Shared {
                broker,
                node: rand::rng().random(),
                told: Mutex::new(Told::new()),
                wanted: std::array::from_fn(|_| AtomicU64::new(0)),
                interests: Mutex::default(),
                stirred: Notify::new(),
                others: RwLock::default(),
                doubted: Notify::new(),
            }),
        }
    }

    /// The bridge of a node without others.
    pub fn to_nobody() -> Self {
        Self::new(Arc::new(Nobody))
    }

    /// How many other nodes are known now.
    pub fn others(&self) -> usize {
        self.shared.others.read().len()
    }

    /// How long this node leaves what any node may do, and one should, to those before it; the
    /// order is another one for each `work`.
    pub fn turn(&self, work: i64) -> Duration {
        let rank = |node: u64| mix(node ^ mix(work.cast_unsigned()));
        let own = rank(self.shared.node);
        let others = self.shared.others.read();
        let before = others.iter().filter(|node| rank(**node) < own).count();
        TURN.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
            .min(MAX_TURN)
    }

    /// Returns once revocations may have been missed.
    pub async fn doubted(&self) {
        self.shared.doubted.notified().await;
    }

    /// Tells the others that this node goes for good.
    pub fn leave(&self) {
        self.send(Topic::All, 0, &Body::Bye);
    }

    // ---- what is wanted

    /// From now on, and as long as the interest lives, the node listens to `topic`.
    pub(super) fn listen(&self, topic: Topic) -> Interest {
        let shared = &self.shared;
        if shared.interests.lock().take(topic, &*shared.broker) {
            shared.stirred.notify_one();
        }
        Interest {
            bridge: self.clone(),
            topic,
        }
    }

    fn is_wanted(&self, topic: Topic) -> bool {
        let (word, bit) = bit(topic);
        topic == Topic::All || self.shared.wanted[word].load(Ordering::Relaxed) & bit != 0
    }

    // ---- what is told

    /// Tells that the log of `event`'s room has `entries` behind `after`.
    pub(super) fn entries(&self, event: EventId, room: RoomId, after: u64, entries: &[Entry]) {
        self.tell(Topic::room(event), || {
            WireHint::new(event, room, after, entries, HINT_BYTES).map(Body::Hint)
        });
    }

    /// Tells that the log of `event`'s room may have new entries.
    pub(super) fn look(&self, event: EventId) {
        self.tell(Topic::room(event), || Some(Body::Look { event: event.0 }));
    }

    /// Tells that `user` is writing.
    pub(super) fn typing(&self, event: EventId, user: UserId) {
        self.tell(Topic::room(event), || {
            Some(Body::Typing {
                event: event.0,
                user: user.0,
            })
        });
    }

    /// Tells that `user` has read so far: the room, and the user's own sockets.
    pub(super) fn read(&self, event: EventId, user: UserId, mark: ReadMark, unread: u64) {
        let mark = WireMark::new(event, user, mark);
        self.tell(Topic::room(event), || Some(Body::Mark(mark)));
        self.tell(Topic::feed(user), || Some(Body::OwnMark { mark, unread }));
    }

    /// Tells that `here` came or went.
    pub(super) fn here(&self, here: Here) {
        self.tell(Topic::here(here.id), || {
            Some(Body::Here {
                user: here.id.0,
                online: here.online,
                at: here.seen_at?.0,
            })
        });
    }

    /// Tells that a sign-in counts no more.
    pub(super) fn revoked(&self, sign_in: Uuid) {
        self.tell(Topic::All, || Some(Body::Revoked(*sign_in.as_bytes())));
    }

    /// Tells that no sign-in of `user` counts any more.
    pub(super) fn revoked_user(&self, user: UserId) {
        self.tell(Topic::All, || Some(Body::RevokedUser(user.0)));
    }

    /// Tells that `user` has another name in the rooms of `events`; without one, none ever again.
    pub(super) fn renamed(&self, events: &[EventId], user: UserId, name: Option<&str>) {
        for events in events.chunks(RENAMES) {
            self.tell(Topic::All, || {
                Some(Body::Renamed {
                    user: user.0,
                    name: name.map(str::to_owned),
                    events: events.iter().map(|event| event.0).collect(),
                })
            });
        }
    }

    /// Tells those whom it concerns on other nodes.
    pub(super) fn news(&self, news: &News) {
        let Some(abroad) = &news.abroad else { return };
        let users = abroad.told.iter().map(|(user, ..)| *user);
        let shards = by_shard(users.chain(abroad.removed.iter().map(|(user, _)| *user)));
        let mut wanted = Vec::new();
        for (topic, users) in shards {
            if self.is_wanted(topic) {
                wanted.push((topic, users));
            } else {
                self.count(topic);
                metrics::bridge_told(Telling::Unwanted);
            }
        }
        if wanted.is_empty() {
            return;
        }
        let texts = news.texts();
        let long = texts.long.iter();
        let long: Vec<(String, String)> = long
            .map(|(language, text)| (language.as_str().to_owned(), text.get().to_owned()))
            .collect();
        let body = |is_meant: &dyn Fn(UserId) -> bool| {
            let told = abroad.told.iter().filter(|(user, ..)| is_meant(*user));
            let removed = abroad.removed.iter().filter(|(user, _)| is_meant(*user));
            Body::News(WireNews {
                event: news.event.0,
                from: abroad.from,
                head: (news.head.seq, news.head.hash.0),
                short: texts.short.get().to_owned(),
                long: long.clone(),
                told: told
                    .map(|(user, change, unread)| (user.0, change.as_u8(), *unread))
                    .collect(),
                removed: removed
                    .map(|(user, brief)| (user.0, news.brief_text(brief, None).get().to_owned()))
                    .collect(),
            })
        };
        if wanted.len() > SHARDS_APART {
            self.tell(Topic::All, || Some(body(&|_| true)));
            return;
        }
        for (topic, _) in wanted {
            self.tell(topic, || Some(body(&|user| Topic::feed(user) == topic)));
        }
    }

    /// Tells these users on other nodes that their feeds may have missed something.
    pub(super) fn reset(&self, users: &[UserId]) {
        for (topic, users) in by_shard(users.iter().copied()) {
            self.tell(topic, || {
                Some(Body::Reset {
                    users: users.iter().map(|user| user.0).collect(),
                })
            });
        }
    }

    /// Counts a telling, and sends it if somebody wants it.
    fn tell(&self, topic: Topic, body: impl FnOnce() -> Option<Body>) {
        let no = self.count(topic);
        if !self.is_wanted(topic) {
            metrics::bridge_told(Telling::Unwanted);
        } else if let Some(body) = body() {
            self.send(topic, no, &body);
        }
    }

    fn count(&self, topic: Topic) -> u64 {
        self.shared.told.lock().count(topic, Instant::now())
    }

    /// What cannot be sent was counted: the others notice that it is missing.
    fn send(&self, topic: Topic, no: u64, body: &Body) {
        let header = Header {
            node: self.shared.node,
            no,
        };
        let is_sent =
            wire::body(body).is_some_and(|body| self.shared.broker.tell(topic, wire::frame(header, &body)));
        metrics::bridge_told(if is_sent { Telling::Sent } else { Telling::Dropped });
    }
}

fn by_shard(users: impl Iterator<Item = UserId>) -> HashMap<Topic, Vec<UserId>> {
    let mut shards: HashMap<Topic, Vec<UserId>> = HashMap::new();
    for user in users {
        shards.entry(Topic::feed(user)).or_default().push(user);
    }
    shards
}

/// A number that says nothing of `number` (the finaliser of `SplitMix64`).
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests;
