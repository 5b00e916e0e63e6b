//! The sockets of this node, by user and by sign-in.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    bridge::{Bridge, Interest},
    outbox::Outbox,
    protocol::{CloseCode, Wire, v2},
};
use crate::{
    domain::id::UserId,
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::Topic,
};

/// How long somebody without sockets still counts as here: a reconnect does not flicker.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(5);

/// The number of a socket, unique on its node while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// All sockets of this node. Clones share them.
#[derive(Clone)]
pub struct Roster {
    shared: Arc<Shared>,
}

struct Shared {
    /// Sockets of version 1 and of version 2 that one user may have.
    limits: [usize; 2],
    next: AtomicU64,
    draining: AtomicBool,
    book: Mutex<Book>,
    left: Notify,
    /// Told when somebody came or went.
    stirred: Notify,
    bridge: Bridge,
}

#[derive(Default)]
struct Book {
    seats: HashMap<SessionId, Entry>,
    per_user: HashMap<UserId, Vec<SessionId>>,
    /// Whose last socket left, and when, until that is told.
    leaving: HashMap<UserId, Instant>,
    /// Whose first socket came, until that is told.
    came: HashSet<UserId>,
}

struct Entry {
    outbox: Outbox,
    wire: Wire,
    /// In which language it hears its user's feed, and what keeps that coming from other nodes;
    /// `None` as long as it does not.
    listens: Option<(Language, Option<Interest>)>,
    /// Who, by which sign-in; `None` until authenticated.
    holder: Option<(UserId, Uuid)>,
}

/// Who came and who went since somebody last looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stir {
    /// Whose first socket came.
    pub(super) came: Vec<UserId>,
    /// Whose last socket left, and when.
    pub(super) went: Vec<(UserId, Instant)>,
    /// When to look again, if nobody comes or goes before.
    pub(super) next: Option<Instant>,
}

/// More sockets than one user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user has {limit} sockets open, which is the limit")]
pub struct TooManySockets {
    /// The limit.
    pub limit: usize,
}

impl Coded for TooManySockets {
    fn code(&self) -> ErrorCode {
        ErrorCode::TooManySockets
    }
}

/// A socket's place in the roster; dropping it leaves.
pub struct Seat {
    id: SessionId,
    roster: Roster,
}

impl Roster {
    /// An empty roster in which one user may have so many sockets of version 2, and so many
    /// of version 1.
    pub fn new(sockets_per_user: usize, v1_sockets_per_user: usize) -> Self {
        Self::bridged(sockets_per_user, v1_sockets_per_user, Bridge::to_nobody())
    }

    /// The same on a node that has others.
    pub fn bridged(sockets_per_user: usize, v1_sockets_per_user: usize, bridge: Bridge) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits: [v1_sockets_per_user, sockets_per_user],
                next: AtomicU64::new(1),
                draining: AtomicBool::new(false),
                book: Mutex::default(),
                left: Notify::new(),
                stirred: Notify::new(),
                bridge,
            }),
        }
    }

    /// Takes a new socket in, not authenticated yet.
    pub fn enter(&self, outbox: Outbox, wire: Wire) -> Seat {
        let id = SessionId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let late = outbox.clone();
        let entry = Entry {
            outbox,
            wire,
            listens: None,
            holder: None,
        };
        self.shared.book.lock().seats.insert(id, entry);
        // It passed the door while that was being closed: whoever announces the end may have
        // listed the sockets before this one came.
        if self.is_draining() {
            late.close(CloseCode::Shutdown);
        }
        crate::metrics::session_opened();
        Seat {
            id,
            roster: self.clone(),
        }
    }

    // ---- who is here

    /// Whether `user` has a socket, or had one until a moment ago.
    pub(super) fn is_here(&self, user: UserId) -> bool {
        let book = self.shared.book.lock();
        book.per_user.contains_key(&user) || book.leaving.contains_key(&user)
    }

    /// Whether `user` has a socket that hears the feed.
    pub(super) fn listens(&self, user: UserId) -> bool {
        let book = self.shared.book.lock();
        book.of(user).any(|(_, entry)| entry.listens.is_some())
    }

    /// Who hears the feed.
    pub(super) fn listeners(&self) -> Vec<UserId> {
        let book = self.shared.book.lock();
        let seats = |ids: &Vec<SessionId>| {
            let mut seats = ids.iter().filter_map(|id| book.seats.get(id));
            seats.any(|entry| entry.listens.is_some())
        };
        let listening = book.per_user.iter().filter(|(_, ids)| seats(ids));
        listening.map(|(user, _)| *user).collect()
    }

    /// The other nodes.
    pub(super) fn bridge(&self) -> &Bridge {
        &self.shared.bridge
    }

    /// Queues, for each socket of `user` that hears the feed, but for those in `without`, the
    /// frame in its language.
    pub(super) fn push(&self, user: UserId, mut frame: impl FnMut(Language) -> Bytes, without: &[SessionId]) {
        let outboxes: Vec<(Language, Outbox)> = {
            let book = self.shared.book.lock();
            let theirs = book.of(user).filter(|(id, _)| !without.contains(id));
            theirs
                .filter_map(|(_, entry)| Some((entry.listens.as_ref()?.0, entry.outbox.clone())))
                .collect()
        };
        for (language, outbox) in outboxes {
            // A closed outbox has nobody behind it to tell.
            let _ = outbox.try_push(frame(language));
        }
    }

    /// Who came and went, each once. Who went and came back in a short time did neither.
    pub(super) fn take_stir(&self, now: Instant) -> Stir {
        let mut book = self.shared.book.lock();
        let came = book.came.drain().collect();
        let went = book
            .leaving
            .extract_if(|_, left| now.duration_since(*left) >= GONE_AFTER)
            .collect();
        let next = book.leaving.values().min().map(|left| *left + GONE_AFTER);
        Stir { came, went, next }
    }

    /// Returns once somebody came or went.
    pub(super) async fn stirred(&self) {
        self.shared.stirred.notified().await;
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.shared.book.lock().seats.len()
    }

    /// Whether there is no socket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sign-ins behind the sockets, each once.
    pub fn sign_ins(&self) -> Vec<Uuid> {
        let book = self.shared.book.lock();
        let mut sign_ins: Vec<Uuid> = book
            .seats
            .values()
            .filter_map(|entry| entry.holder.map(|(_, sign_in)| sign_in))
            .collect();
        sign_ins.sort_unstable();
        sign_ins.dedup();
        sign_ins
    }

    /// Closes every socket of this sign-in, on every node: it was revoked.
    pub fn revoke(&self, sign_in: Uuid) {
        self.shared.bridge.revoked(sign_in);
        self.revoke_here(sign_in);
    }

    /// Closes every socket of this sign-in on this node.
    pub fn revoke_here(&self, sign_in: Uuid) {
        self.close_held_by(|_, held| held == sign_in);
    }

    /// Closes every socket of `user`, on every node: the account is suspended, or gone.
    pub fn revoke_user(&self, user: UserId) {
        self.shared.bridge.revoked_user(user);
        self.revoke_user_here(user);
    }

    /// Closes every socket of `user` on this node.
    pub(super) fn revoke_user_here(&self, user: UserId) {
        self.close_held_by(|holder, _| holder == user);
    }

    fn close_held_by(&self, is_meant: impl Fn(UserId, Uuid) -> bool) {
        let outboxes: Vec<Outbox> = {
            let book = self.shared.book.lock();
            let held = book.seats.values().filter(|entry| {
                entry
                    .holder
                    .is_some_and(|(user, sign_in)| is_meant(user, sign_in))
            });
            held.map(|entry| entry.outbox.clone()).collect()
        };
        for outbox in outboxes {
            outbox.close(CloseCode::Revoked);
        }
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// Tells every client that the server stops, and when each should come back: evenly
    /// spread over `spread`. Those of version 1 only see their sockets close.
    pub fn announce_shutdown(&self, spread: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        let outboxes = self.outboxes(|entry| entry.wire == Wire::V2);
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        let count = outboxes.len() as u64;
        for (place, outbox) in (1..).zip(&outboxes) {
            let retry_after_ms = (spread_ms / count.max(1)).saturating_mul(place).max(100);
            // A closed outbox has nobody behind it to tell.
            let _ = outbox.try_push(v2::shutdown_push(retry_after_ms));
        }
    }

    /// Closes every socket.
    pub fn close_all(&self, code: CloseCode) {
        for outbox in self.outboxes(|_| true) {
            outbox.close(code);
        }
    }

    /// Returns once every socket has left.
    pub async fn emptied(&self) {
        loop {
            let left = self.shared.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn outboxes(&self, is_meant: impl Fn(&Entry) -> bool) -> Vec<Outbox> {
        let book = self.shared.book.lock();
        let meant = book.seats.values().filter(|entry| is_meant(entry));
        meant.map(|entry| entry.outbox.clone()).collect()
    }
}

impl Seat {
    /// The socket's number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// From now on the socket, which is authenticated, hears its user's feed, in this language.
    pub fn listen(&self, language: Language) {
        let shared = &self.roster.shared;
        let mut book = shared.book.lock();
        if let Some(entry) = book.seats.get_mut(&self.id) {
            let holder = entry.holder;
            let interest = holder.map(|(user, _)| shared.bridge.listen(Topic::feed(user)));
            entry.listens = Some((language, interest));
        }
    }

    /// Writes down whose socket this is.
    ///
    /// # Errors
    /// The user has as many sockets of its version as one may have; nothing is changed.
    pub fn authenticate(&self, user: UserId, sign_in: Uuid) -> Result<(), TooManySockets> {
        let shared = &self.roster.shared;
        let mut book = shared.book.lock();
        let Some(entry) = book.seats.get(&self.id) else {
            return Ok(());
        };
        let (wire, holder) = (entry.wire, entry.holder);
        if holder.is_none_or(|(holder, _)| holder != user) {
            let limit = shared.limits[usize::from(wire == Wire::V2)];
            if book.of(user).filter(|(_, entry)| entry.wire == wire).count() >= limit {
                return Err(TooManySockets { limit });
            }
            book.sit(user, self.id);
            shared.stirred.notify_one();
        }
        if let Some(entry) = book.seats.get_mut(&self.id) {
            entry.holder = Some((user, sign_in));
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shared = &self.roster.shared;
        let outbox = {
            let mut book = shared.book.lock();
            let entry = book.seats.remove(&self.id);
            if let Some((user, _)) = entry.as_ref().and_then(|entry| entry.holder) {
                book.rise(user, self.id, Instant::now());
                shared.stirred.notify_one();
            }
            entry.map(|entry| entry.outbox)
        };
        // A room that has attached the socket, perhaps after whoever asked for that had given
        // up, must see that there is nobody behind it. Whatever code it has already stands.
        if let Some(outbox) = outbox {
            outbox.close(CloseCode::Normal);
        }
        shared.left.notify_waiters();
    }
}

impl Book {
    /// The sockets of `user`.
    fn of(&self, user: UserId) -> impl Iterator<Item = (SessionId, &Entry)> {
        let ids = self.per_user.get(&user).map_or(&[][..], Vec::as_slice);
        ids.iter().filter_map(|id| Some((*id, self.seats.get(id)?)))
    }

    fn sit(&mut self, user: UserId, seat: SessionId) {
        let seats = self.per_user.entry(user).or_default();
        seats.push(seat);
        if seats.len() == 1 && self.leaving.remove(&user).is_none() {
            self.came.insert(user);
        }
    }

    fn rise(&mut self, user: UserId, seat: SessionId, now: Instant) {
        let Some(seats) = self.per_user.get_mut(&user) else {
            return;
        };
        seats.retain(|other| *other != seat);
        if seats.is_empty() {
            self.per_user.remove(&user);
            self.leaving.insert(user, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use uuid::Uuid;

    use super::{GONE_AFTER, Roster, Stir, TooManySockets};
    use crate::{
        domain::id::UserId,
        i18n::Language,
        realtime::{
            outbox::Outbox,
            protocol::{CloseCode, Wire},
        },
    };

    #[test]
    fn user_has_so_many_sockets_and_a_place_is_free_again_after_one_left() {
        let roster = Roster::new(2, 1);
        let seats: Vec<_> = (0..3)
            .map(|_| roster.enter(Outbox::new(1_000), Wire::V2))
            .collect();
        let sign_in = Uuid::from_u128(1);
        assert_eq!(seats[0].authenticate(UserId(1), sign_in), Ok(()));
        assert_eq!(
            seats[0].authenticate(UserId(1), sign_in),
            Ok(()),
            "a renewal is not another socket"
        );
        assert_eq!(seats[1].authenticate(UserId(1), sign_in), Ok(()));
        assert_eq!(
            seats[2].authenticate(UserId(1), sign_in),
            Err(TooManySockets { limit: 2 })
        );
        let of_version_1: Vec<_> = (0..2)
            .map(|_| roster.enter(Outbox::new(1_000), Wire::V1))
            .collect();
        assert_eq!(of_version_1[0].authenticate(UserId(1), sign_in), Ok(()));
        assert_eq!(
            of_version_1[1].authenticate(UserId(1), sign_in),
            Err(TooManySockets { limit: 1 }),
            "each version has its own limit"
        );
        let mut seats = seats;
        drop(seats.remove(0));
        assert_eq!(seats[1].authenticate(UserId(1), sign_in), Ok(()));
    }

    #[test]
    fn socket_that_comes_while_the_server_stops_is_told_so() {
        let (roster, outbox) = (Roster::new(8, 8), Outbox::new(1_000));
        roster.announce_shutdown(Duration::from_secs(1));
        let _seat = roster.enter(outbox.clone(), Wire::V2);
        assert_eq!(outbox.closed(), Some(CloseCode::Shutdown));
    }

    #[test]
    fn revoked_sign_in_closes_its_sockets_and_no_others() {
        let roster = Roster::new(8, 8);
        let outboxes = [Outbox::new(1_000), Outbox::new(1_000)];
        let seats: Vec<_> = outboxes
            .iter()
            .map(|outbox| roster.enter(outbox.clone(), Wire::V2))
            .collect();
        seats[0].authenticate(UserId(1), Uuid::from_u128(1)).unwrap();
        seats[1].authenticate(UserId(1), Uuid::from_u128(2)).unwrap();
        roster.revoke(Uuid::from_u128(1));
        assert_eq!(
            outboxes.map(|outbox| outbox.closed()),
            [Some(CloseCode::Revoked), None]
        );
    }

    #[test]
    fn who_comes_back_in_time_neither_came_nor_went() {
        let (roster, user) = (Roster::new(8, 8), UserId(1));
        let sit = |wire| {
            let seat = roster.enter(Outbox::new(1_000), wire);
            seat.authenticate(user, Uuid::nil()).unwrap();
            if wire == Wire::V2 {
                seat.listen(Language::En);
            }
            seat
        };
        let first = sit(Wire::V1);
        let now = Instant::now();
        assert_eq!(roster.take_stir(now).came, [user]);
        assert!(!roster.listens(user), "version 1 has no feed");
        let second = sit(Wire::V2);
        assert!(roster.listens(user));
        drop(first);
        assert_eq!(
            roster.take_stir(now),
            Stir::default(),
            "one socket is still there"
        );
        drop(second);
        assert!(roster.is_here(user) && !roster.listens(user));
        let back = sit(Wire::V2);
        assert_eq!(roster.take_stir(now + 2 * GONE_AFTER), Stir::default());
        drop(back);
        let stir = roster.take_stir(Instant::now());
        assert!(stir.went.is_empty() && stir.next.is_some(), "not yet");
        let stir = roster.take_stir(Instant::now() + GONE_AFTER);
        assert_eq!(stir.went.iter().map(|(who, _)| *who).collect::<Vec<_>>(), [user]);
        assert!(!roster.is_here(user));
    }
}
