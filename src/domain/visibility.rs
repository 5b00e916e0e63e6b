//! Which part of a record a participant may see.
//!
//! A late joiner sees the record from its first entry. Who left or was removed
//! sees it up to the entry that says so; who came back does not see what lay between.

use std::collections::HashMap;

use super::{fact::Membership, id::UserId};

/// The entries one user may see: closed intervals of seqs, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    intervals: Vec<(u64, Option<u64>)>,
}

impl Visible {
    /// Whether this user takes part now.
    pub fn is_open(&self) -> bool {
        matches!(self.intervals.last(), Some((_, None)))
    }

    /// Whether the entry `seq` may be seen.
    pub fn contains(&self, seq: u64) -> bool {
        self.intervals
            .iter()
            .any(|&(from, to)| from <= seq && to.is_none_or(|to| seq <= to))
    }

    /// The intervals; an open one has no end.
    pub fn intervals(&self) -> &[(u64, Option<u64>)] {
        &self.intervals
    }

    fn enter(&mut self, seq: u64) {
        if !self.is_open() {
            let from = if self.intervals.is_empty() { 1 } else { seq };
            self.intervals.push((from, None));
        }
    }

    fn leave(&mut self, seq: u64) {
        if let Some((_, to @ None)) = self.intervals.last_mut() {
            *to = Some(seq);
        }
    }
}

/// Everyone who takes part or ever did, with what they may see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circle {
    users: HashMap<UserId, Visible>,
}

impl Circle {
    /// What `user` may see; nothing when the user never took part.
    pub fn visible(&self, user: UserId) -> Option<&Visible> {
        self.users.get(&user)
    }

    /// Whether `user` takes part now.
    pub fn has(&self, user: UserId) -> bool {
        self.visible(user).is_some_and(Visible::is_open)
    }

    /// Who takes part now.
    pub fn taking_part(&self) -> impl Iterator<Item = UserId> {
        let open = self.users.iter().filter(|(_, visible)| visible.is_open());
        open.map(|(user, _)| *user)
    }

    /// Takes in the fact that stands at `seq`. Returns who takes part no longer.
    pub fn apply(&mut self, membership: &Membership, seq: u64) -> Vec<UserId> {
        match membership {
            Membership::Enters(user) => {
                self.users.entry(*user).or_default().enter(seq);
                Vec::new()
            }
            Membership::Leaves(user) => {
                let open = self.has(*user);
                if let Some(visible) = self.users.get_mut(user) {
                    visible.leave(seq);
                }
                if open { vec![*user] } else { Vec::new() }
            }
            Membership::Are(users) => {
                let gone: Vec<UserId> = self
                    .users
                    .iter()
                    .filter(|(user, visible)| visible.is_open() && !users.contains(user))
                    .map(|(user, _)| *user)
                    .collect();
                for user in &gone {
                    if let Some(visible) = self.users.get_mut(user) {
                        visible.leave(seq);
                    }
                }
                for user in users {
                    self.users.entry(*user).or_default().enter(seq);
                }
                gone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Circle;
    use crate::domain::{fact::Membership, id::UserId};

    #[test]
    fn who_came_back_does_not_see_what_lay_between() {
        let (mut circle, user) = (Circle::default(), UserId(2));
        circle.apply(&Membership::Enters(user), 3);
        assert_eq!(circle.apply(&Membership::Leaves(user), 10), vec![user]);
        assert!(!circle.has(user));
        circle.apply(&Membership::Enters(user), 20);
        let seen: Vec<u64> = (1..=25)
            .filter(|seq| circle.visible(user).unwrap().contains(*seq))
            .collect();
        assert_eq!(seen, (1..=10).chain(20..=25).collect::<Vec<_>>());
    }

    #[test]
    fn restored_circle_is_exactly_the_one_stated() {
        let mut circle = Circle::default();
        circle.apply(&Membership::Enters(UserId(1)), 1);
        circle.apply(&Membership::Enters(UserId(2)), 2);
        assert_eq!(
            circle.apply(&Membership::Are(vec![UserId(1), UserId(3)]), 9),
            vec![UserId(2)]
        );
        assert!(circle.has(UserId(1)) && circle.has(UserId(3)) && !circle.has(UserId(2)));
    }
}
