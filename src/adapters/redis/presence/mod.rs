//! Who is on which node.
//!
//! A user's key names the nodes that hold sockets of the user; a node's own key, which it
//! renews, says that it lives. So a node that dies is gone for everybody at once, and what a
//! node has to renew does not grow with its users.

mod book;
mod keeper;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bb8_redis::redis::{cmd, pipe};
use tokio::{runtime, task::JoinHandle};

use self::{book::Book, keeper::Keeper};
use super::server::{Redis, RedisAway};
use crate::{
    domain::{id::UserId, time::Micros},
    ports::{Presence, Seen},
};

/// Users asked for in one go.
const PAGE: usize = 100;
/// The field of a user's key that says when the user was last here; all others are nodes.
const AT: &str = "at";

/// [`Presence`] shared by all nodes. Comings and goings are written behind the caller's back, in
/// batches; a Redis that lost them is told again who is here.
pub struct RedisPresence {
    redis: Redis,
    book: Arc<Book>,
}

impl RedisPresence {
    /// Presence on `redis`. The task on `background` writes; it runs until it is aborted.
    pub fn new(redis: Redis, background: &runtime::Handle) -> (Self, JoinHandle<()>) {
        let book = Arc::new(Book::new());
        let keeper = Keeper::new(redis.clone(), Arc::clone(&book));
        (Self { redis, book }, background.spawn(keeper.run()))
    }

    /// Says that this node is gone, so that nobody has to find out.
    pub async fn leave(&self) {
        let mut del = cmd("DEL");
        del.arg(self.redis.key(keeper::node_key(&self.book.node())));
        // If that fails, its key ends by itself.
        let _ = self.redis.ask::<()>(&del).await;
    }

    async fn look_up(&self, users: &[UserId]) -> Result<Vec<Seen>, RedisAway> {
        // What this node was told must not be missing for as long as it takes to write it; asked
        // first, lest it be written between the two looks.
        let own = self.book.untold_of(users);
        let mut fields = Vec::with_capacity(users.len());
        for page in users.chunks(PAGE) {
            let mut all = pipe();
            for user in page {
                all.hgetall(self.redis.key(keeper::user_key(*user)));
            }
            fields.append(&mut self.redis.ask_all::<Vec<HashMap<String, String>>>(&all).await?);
        }
        let living = self.living(&fields).await?;
        let seen = |(fields, own): (HashMap<String, String>, Option<Micros>)| Seen {
            elsewhere: fields.keys().any(|node| living.get(node) == Some(&true)),
            at: own.max(fields.get(AT).and_then(|at| at.parse().ok()).map(Micros)),
        };
        Ok(fields.into_iter().zip(own).map(seen).collect())
    }

    /// Which of the other nodes that are named live.
    async fn living(&self, fields: &[HashMap<String, String>]) -> Result<HashMap<String, bool>, RedisAway> {
        let own = self.book.node();
        let mut nodes: Vec<&String> = fields.iter().flat_map(HashMap::keys).collect();
        nodes.retain(|node| *node != AT && **node != own);
        nodes.sort_unstable();
        nodes.dedup();
        let mut living = HashMap::with_capacity(nodes.len());
        for page in nodes.chunks(PAGE) {
            let mut all = pipe();
            for node in page {
                all.exists(self.redis.key(keeper::node_key(node)));
            }
            let exist: Vec<bool> = self.redis.ask_all(&all).await?;
            living.extend(page.iter().map(|node| (*node).clone()).zip(exist));
        }
        Ok(living)
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn came(&self, user: UserId, at: Micros) {
        self.book.came(user, at);
    }

    async fn went(&self, user: UserId, at: Micros) {
        self.book.went(user, at);
    }

    async fn of(&self, users: &[UserId]) -> Vec<Seen> {
        self.look_up(users).await.unwrap_or_default()
    }
}
