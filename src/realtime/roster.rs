//! The sockets of this node, by user and by sign-in.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    outbox::Outbox,
    protocol::{CloseCode, v2},
};
use crate::{
    domain::id::UserId,
    error::{Coded, ErrorCode},
};

/// The number of a socket, unique on its node while the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

/// All sockets of this node. Clones share them.
#[derive(Clone)]
pub struct Roster {
    shared: Arc<Shared>,
}

struct Shared {
    sockets_per_user: usize,
    next: AtomicU64,
    draining: AtomicBool,
    book: Mutex<Book>,
    left: Notify,
}

#[derive(Default)]
struct Book {
    seats: HashMap<SessionId, Entry>,
    per_user: HashMap<UserId, usize>,
}

struct Entry {
    outbox: Outbox,
    /// Who, by which sign-in; `None` until authenticated.
    holder: Option<(UserId, Uuid)>,
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
    /// An empty roster in which one user may have `sockets_per_user`.
    pub fn new(sockets_per_user: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                sockets_per_user,
                next: AtomicU64::new(1),
                draining: AtomicBool::new(false),
                book: Mutex::default(),
                left: Notify::new(),
            }),
        }
    }

    /// Takes a new socket in, not authenticated yet.
    pub fn enter(&self, outbox: Outbox) -> Seat {
        let id = SessionId(self.shared.next.fetch_add(1, Ordering::Relaxed));
        let late = outbox.clone();
        self.shared
            .book
            .lock()
            .seats
            .insert(id, Entry { outbox, holder: None });
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

    /// Closes every socket of this sign-in: it was revoked, or the account is gone.
    pub fn revoke(&self, sign_in: Uuid) {
        let outboxes: Vec<Outbox> = {
            let book = self.shared.book.lock();
            let held = book
                .seats
                .values()
                .filter(|entry| entry.holder.is_some_and(|(_, held)| held == sign_in));
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
    /// spread over `spread`.
    pub fn announce_shutdown(&self, spread: Duration) {
        self.shared.draining.store(true, Ordering::Release);
        let outboxes = self.outboxes();
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
        for outbox in self.outboxes() {
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

    fn outboxes(&self) -> Vec<Outbox> {
        self.shared
            .book
            .lock()
            .seats
            .values()
            .map(|entry| entry.outbox.clone())
            .collect()
    }
}

impl Seat {
    /// The socket's number.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Writes down whose socket this is.
    ///
    /// # Errors
    /// The user has as many sockets as one may have; nothing is changed.
    pub fn authenticate(&self, user: UserId, sign_in: Uuid) -> Result<(), TooManySockets> {
        let limit = self.roster.shared.sockets_per_user;
        let mut book = self.roster.shared.book.lock();
        let renewal = book
            .seats
            .get(&self.id)
            .is_some_and(|entry| entry.holder.is_some_and(|(holder, _)| holder == user));
        if !renewal {
            let count = book.per_user.entry(user).or_default();
            if *count >= limit {
                return Err(TooManySockets { limit });
            }
            *count += 1;
        }
        if let Some(entry) = book.seats.get_mut(&self.id) {
            entry.holder = Some((user, sign_in));
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut book = self.roster.shared.book.lock();
            let entry = book.seats.remove(&self.id);
            if let Some((user, _)) = entry.and_then(|entry| entry.holder)
                && let Some(count) = book.per_user.get_mut(&user)
            {
                *count -= 1;
                if *count == 0 {
                    book.per_user.remove(&user);
                }
            }
        }
        self.roster.shared.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Roster, TooManySockets};
    use crate::{
        domain::id::UserId,
        realtime::{outbox::Outbox, protocol::CloseCode},
    };

    #[test]
    fn user_has_so_many_sockets_and_a_place_is_free_again_after_one_left() {
        let roster = Roster::new(2);
        let seats: Vec<_> = (0..3).map(|_| roster.enter(Outbox::new(1_000))).collect();
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
        let mut seats = seats;
        drop(seats.remove(0));
        assert_eq!(seats[1].authenticate(UserId(1), sign_in), Ok(()));
    }

    #[test]
    fn socket_that_comes_while_the_server_stops_is_told_so() {
        let (roster, outbox) = (Roster::new(8), Outbox::new(1_000));
        roster.announce_shutdown(std::time::Duration::from_secs(1));
        let _seat = roster.enter(outbox.clone());
        assert_eq!(outbox.closed(), Some(CloseCode::Shutdown));
    }

    #[test]
    fn revoked_sign_in_closes_its_sockets_and_no_others() {
        let roster = Roster::new(8);
        let outboxes = [Outbox::new(1_000), Outbox::new(1_000)];
        let seats: Vec<_> = outboxes
            .iter()
            .map(|outbox| roster.enter(outbox.clone()))
            .collect();
        seats[0].authenticate(UserId(1), Uuid::from_u128(1)).unwrap();
        seats[1].authenticate(UserId(1), Uuid::from_u128(2)).unwrap();
        roster.revoke(Uuid::from_u128(1));
        assert_eq!(
            outboxes.map(|outbox| outbox.closed()),
            [Some(CloseCode::Revoked), None]
        );
    }
}
