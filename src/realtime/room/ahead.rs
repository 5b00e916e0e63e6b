//! Commands of those who may know more than this room does.
//!
//! A client that comes from another node may have been told entries, or have been let in by a
//! fact, that this node has not heard of yet. Before such a command is refused the room looks
//! where its log ends and reads up to there; then the command is decided as any other.

use std::{
    collections::{HashSet, VecDeque},
    time::Instant,
};

use actix::{ActorFutureExt as _, AsyncContext as _, Context, WrapFuture as _};
use tokio::time::timeout;

use super::Room;
use crate::domain::id::UserId;

/// Commands that wait for a look; more are answered `UNAVAILABLE`.
const MAX_HELD: usize = 256;

/// What is done once the room knows what its client knew. Dropped, the command is answered
/// `UNAVAILABLE`.
pub(super) type Go = Box<dyn FnOnce(&mut Room, &mut Context<Room>) + Send>;

/// Commands that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Ahead {
    held: VecDeque<Held>,
    /// How many looks at the log's head have begun.
    looks: u64,
}

struct Held {
    user: UserId,
    deadline: Instant,
    need: Need,
    go: Go,
}

enum Need {
    /// The answer to the look with this number, or to a later one.
    Look(u64),
    /// The entries up to this seq.
    Entries(u64),
}

impl Ahead {
    /// A look at the log's head begins; its number.
    pub(super) fn begin_look(&mut self) -> u64 {
        self.looks += 1;
        self.looks
    }

    /// The look `number` found the head at `seq`.
    pub(super) fn looked(&mut self, number: u64, seq: u64) {
        for held in &mut self.held {
            if matches!(held.need, Need::Look(wanted) if wanted <= number) {
                held.need = Need::Entries(seq);
            }
        }
    }

    /// Whether some command of `user` waits: later ones must not overtake it.
    pub(super) fn holds(&self, user: UserId) -> bool {
        self.held.iter().any(|held| held.user == user)
    }

    /// Lets go of what has waited past its deadline.
    pub(super) fn expire(&mut self, now: Instant) {
        self.held.retain(|held| held.deadline > now);
    }

    /// Takes out what a room whose log is known up to `seq` can do.
    fn ready(&mut self, seq: u64) -> Vec<Go> {
        let mut waits = HashSet::new();
        let (mut ready, mut held) = (Vec::new(), VecDeque::new());
        for one in self.held.drain(..) {
            let met = matches!(one.need, Need::Entries(wanted) if wanted <= seq);
            if met && !waits.contains(&one.user) {
                ready.push(one.go);
            } else {
                waits.insert(one.user);
                held.push_back(one);
            }
        }
        self.held = held;
        ready
    }
}

impl Room {
    /// Whether `user`, who was told entry `seq`, may know more than this room.
    pub(super) fn may_lag(&self, user: UserId, seq: u64) -> bool {
        seq > self.state.tip().head.seq || self.state.check_participant(user).is_err()
    }

    /// Does `go` once the room is where its log was when this was called, and what `user`
    /// asked for before is done. For somebody who never took part, at once.
    pub(super) fn when_current(&mut self, user: UserId, deadline: Instant, go: Go, ctx: &mut Context<Self>) {
        if self.state.check_participant(user).is_ok() {
            return self.hold(user, deadline, go, ctx);
        }
        let (facts, event, patience) = (self.ports.facts.clone(), self.event, self.times.answer);
        let known = async move { timeout(patience, facts.knows(event, user)).await };
        ctx.spawn(known.into_actor(self).map(move |known, room, ctx| match known {
            Ok(Ok(true)) => room.hold(user, deadline, go, ctx),
            Ok(Ok(false)) => go(room, ctx),
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(event.id = %room.event, error, "who takes part cannot be looked up");
            }
            Err(_) => {}
        }));
    }

    fn hold(&mut self, user: UserId, deadline: Instant, go: Go, ctx: &mut Context<Self>) {
        if self.ahead.held.len() >= MAX_HELD {
            return;
        }
        let need = if self.ahead.holds(user) {
            Need::Entries(0)
        } else {
            Need::Look(self.ahead.looks + 1)
        };
        self.ahead.held.push_back(Held {
            user,
            deadline,
            need,
            go,
        });
        self.look(false, ctx);
    }

    /// Does what has waited for entries that are here now.
    pub(super) fn release(&mut self, ctx: &mut Context<Self>) {
        if self.ahead.held.is_empty() {
            return;
        }
        for go in self.ahead.ready(self.state.tip().head.seq) {
            go(self, ctx);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Ahead, Held, Need};
    use crate::domain::id::UserId;

    fn held(user: i64, need: Need, deadline: Instant) -> Held {
        Held {
            user: UserId(user),
            deadline,
            need,
            go: Box::new(|_, _| {}),
        }
    }

    fn ready(ahead: &mut Ahead, seq: u64) -> usize {
        ahead.ready(seq).len()
    }

    #[test]
    fn waits_for_a_look_that_began_later_and_for_what_it_found() {
        let mut ahead = Ahead::default();
        let before = ahead.begin_look();
        let need = Need::Look(ahead.looks + 1);
        ahead.held.push_back(held(1, need, Instant::now()));
        ahead.looked(before, 5);
        assert_eq!(ready(&mut ahead, 5), 0, "that look may have been too early");
        let after = ahead.begin_look();
        ahead.looked(after, 7);
        assert_eq!(ready(&mut ahead, 6), 0, "entry 7 is not here");
        assert_eq!(ready(&mut ahead, 7), 1);
        assert_eq!(ready(&mut ahead, 9), 0, "once");
    }

    #[test]
    fn nothing_overtakes_what_its_user_asked_for_before() {
        let mut ahead = Ahead::default();
        let now = Instant::now();
        for (user, need) in [(1, Need::Look(1)), (1, Need::Entries(0)), (2, Need::Entries(3))] {
            ahead.held.push_back(held(user, need, now));
        }
        assert!(ahead.holds(UserId(1)) && !ahead.holds(UserId(3)));
        assert_eq!(ready(&mut ahead, 3), 1, "only the other user's");
        let look = ahead.begin_look();
        ahead.looked(look, 3);
        assert_eq!(ready(&mut ahead, 3), 2);
    }

    #[test]
    fn nothing_waits_past_its_deadline() {
        let mut ahead = Ahead::default();
        let now = Instant::now();
        ahead.held.push_back(held(1, Need::Look(1), now));
        ahead
            .held
            .push_back(held(1, Need::Entries(0), now + Duration::from_secs(1)));
        ahead.expire(now);
        assert_eq!(ahead.held.len(), 1);
        assert_eq!(ready(&mut ahead, 0), 1);
    }
}
