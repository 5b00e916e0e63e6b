//! Who is on this node, and what of that Redis does not know yet.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Micros};

/// Goings that wait to be written, at most. If there are more, this node takes another name
/// instead, and all that stood under the old one ends with that.
const GOINGS: usize = 100_000;

/// Something about a user that Redis is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News {
    /// Who.
    pub(super) user: UserId,
    /// Whether the user is here.
    pub(super) here: bool,
    /// When the user was last here.
    pub(super) at: Micros,
}

/// Shared by those who tell and the one who writes.
pub(super) struct Book {
    pages: Mutex<Pages>,
    written: Notify,
    goings: usize,
}

struct Pages {
    /// The name of this node, until what Redis knows of it is in doubt.
    node: String,
    /// Who is here since when.
    here: HashMap<UserId, Micros>,
    /// What Redis does not know: of each user the newest.
    unknown: HashMap<UserId, (bool, Micros)>,
    /// What Redis is being told.
    telling: Vec<News>,
}

fn name() -> String {
    Uuid::new_v4().simple().to_string()
}

impl Book {
    /// Nobody is here.
    pub(super) fn new() -> Self {
        Self {
            pages: Mutex::new(Pages {
                node: name(),
                here: HashMap::new(),
                unknown: HashMap::new(),
                telling: Vec::new(),
            }),
            written: Notify::new(),
            goings: GOINGS,
        }
    }

    /// The name of this node.
    pub(super) fn node(&self) -> String {
        self.pages.lock().node.clone()
    }

    /// `user` is here since `at`.
    pub(super) fn came(&self, user: UserId, at: Micros) {
        let mut pages = self.pages.lock();
        pages.here.insert(user, at);
        pages.unknown.insert(user, (true, at));
        self.written.notify_one();
    }

    /// `user` is not here any more since `at`.
    pub(super) fn went(&self, user: UserId, at: Micros) {
        let mut pages = self.pages.lock();
        pages.here.remove(&user);
        pages.unknown.insert(user, (false, at));
        if pages.unknown.len() > pages.here.len() + self.goings {
            pages.begin_anew();
        }
        self.written.notify_one();
    }

    /// Returns once there may be something to tell.
    pub(super) async fn written(&self) {
        self.written.notified().await;
    }

    /// Something that Redis is to be told, at most `limit`, and the name of the node to which it
    /// belongs. [`Book::told`] or [`Book::untold`] says how that ended.
    pub(super) fn take(&self, limit: usize) -> (String, Vec<News>) {
        let mut pages = self.pages.lock();
        let users: Vec<UserId> = pages.unknown.keys().take(limit).copied().collect();
        let news = users.into_iter().filter_map(|user| {
            let (here, at) = pages.unknown.remove(&user)?;
            Some(News { user, here, at })
        });
        let news: Vec<News> = news.collect();
        pages.telling.clone_from(&news);
        (pages.node.clone(), news)
    }

    /// Redis knows what was taken.
    pub(super) fn told(&self) {
        self.pages.lock().telling.clear();
    }

    /// Redis may not know what was taken: it is told again, but for what is newer already.
    pub(super) fn untold(&self) {
        let mut pages = self.pages.lock();
        for News { user, here, at } in std::mem::take(&mut pages.telling) {
            // A going that was forgotten with a name must not leave its coming behind.
            if !here || pages.here.contains_key(&user) {
                pages.unknown.entry(user).or_insert((here, at));
            }
        }
    }

    /// When each of `users` was last here, where Redis may not know it yet.
    pub(super) fn untold_of(&self, users: &[UserId]) -> Vec<Option<Micros>> {
        let pages = self.pages.lock();
        let telling = |user| {
            pages
                .telling
                .iter()
                .find(|news| news.user == user)
                .map(|news| news.at)
        };
        let of = |user: &UserId| match pages.unknown.get(user) {
            Some((_, at)) => Some(*at),
            None => telling(*user),
        };
        users.iter().map(of).collect()
    }

    /// Redis is to be told again who is here, under another name.
    pub(super) fn begin_anew(&self) {
        self.pages.lock().begin_anew();
        self.written.notify_one();
    }

    /// Redis is to be told again who is here: what it knows would end.
    pub(super) fn tell_again(&self) {
        self.pages.lock().tell_again();
        self.written.notify_one();
    }
}

impl Pages {
    fn begin_anew(&mut self) {
        self.node = name();
        self.unknown.clear();
        self.tell_again();
    }

    fn tell_again(&mut self) {
        for (user, at) in &self.here {
            self.unknown.entry(*user).or_insert((true, *at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Book, News};
    use crate::domain::{id::UserId, time::Micros};

    fn news(user: i64, here: bool, at: i64) -> News {
        News {
            user: UserId(user),
            here,
            at: Micros(at),
        }
    }

    #[test]
    fn of_each_user_the_newest_is_told_once() {
        let book = Book::new();
        book.came(UserId(1), Micros(1));
        book.went(UserId(1), Micros(2));
        assert_eq!(book.take(10), (book.node(), vec![news(1, false, 2)]));
        book.told();
        assert_eq!(book.untold_of(&[UserId(1)]), [None]);
        assert_eq!(book.take(10).1, []);
    }

    #[test]
    fn what_could_not_be_told_waits_unless_there_is_newer() {
        let book = Book::new();
        book.came(UserId(1), Micros(1));
        book.came(UserId(2), Micros(1));
        book.take(10);
        book.went(UserId(1), Micros(5));
        let known = book.untold_of(&[UserId(1), UserId(2), UserId(3)]);
        assert_eq!(known, [Some(Micros(5)), Some(Micros(1)), None]);
        book.untold();
        let (_, mut again) = book.take(10);
        again.sort_unstable_by_key(|news| news.user);
        assert_eq!(again, [news(1, false, 5), news(2, true, 1)]);
    }

    #[test]
    fn a_new_name_takes_along_who_is_here() {
        let book = Book::new();
        book.came(UserId(1), Micros(1));
        book.came(UserId(2), Micros(1));
        book.went(UserId(2), Micros(2));
        let (old, _) = book.take(10);
        book.begin_anew();
        let (new, told) = book.take(10);
        assert_ne!(old, new);
        assert_eq!(told, [news(1, true, 1)]);
    }

    #[test]
    fn goings_that_pile_up_are_forgotten_with_the_name() {
        let book = Book {
            goings: 2,
            ..Book::new()
        };
        let name = book.node();
        for user in 1..=2 {
            book.went(UserId(user), Micros(1));
        }
        assert_eq!(book.node(), name);
        book.came(UserId(9), Micros(1));
        book.went(UserId(3), Micros(1));
        let (new, told) = book.take(10);
        assert_ne!(new, name);
        assert_eq!(told, [news(9, true, 1)]);
    }
}
