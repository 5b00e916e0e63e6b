//! Keeps in Redis who is on this node.

use std::{sync::Arc, time::Duration};

use bb8_redis::redis::{cmd, pipe};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::book::{Book, News};
use crate::{
    adapters::redis::server::{Redis, RedisAway},
    domain::id::UserId,
};

const HERE: &str = include_str!("../scripts/here.lua");

/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(5);
/// How long that counts: two beats may be lost.
const NODE_LIFE_MS: u64 = 15_000;
/// How long it is known when somebody was last here.
const USER_LIFE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How often all who stay are told of again, so that they do not end while they are here.
const RENEWAL: Duration = Duration::from_secs(24 * 3_600);
/// Users told of in one go, and the pause after it: 5,000 a second at most.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The key of a node, without the prefix.
pub(super) fn node_key(node: &str) -> String {
    format!("node:{node}")
}

/// The key of a user, without the prefix.
pub(super) fn user_key(user: UserId) -> String {
    format!("here:{user}")
}

pub(super) struct Keeper {
    redis: Redis,
    book: Arc<Book>,
    /// Under which name this node has said that it lives.
    known_as: Option<String>,
}

impl Keeper {
    pub(super) fn new(redis: Redis, book: Arc<Book>) -> Self {
        Self {
            redis,
            book,
            known_as: None,
        }
    }

    /// Beats and writes for ever.
    pub(super) async fn run(mut self) {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                _ = beats.tick() => {
                    if renewed.elapsed() >= RENEWAL {
                        renewed = Instant::now();
                        self.book.tell_again();
                    }
                    // What fails here is repeated when Redis is back.
                    let _ = self.beat().await;
                }
                () = self.book.written() => {}
            }
            while self.tell().await.is_err() {
                // Known to be away, or refusing: the pause is for the latter.
                sleep(PAUSE * 10).await;
                self.redis.back().await;
                let _ = self.beat().await;
            }
        }
    }

    /// Says that this node lives. If Redis has forgotten that, it may have forgotten more; or it
    /// was away for long, and others have stopped counting what is written under this name.
    async fn beat(&mut self) -> Result<(), RedisAway> {
        let node = self.book.node();
        let known = self.say_alive(&node).await?;
        if !known && self.known_as.as_ref() == Some(&node) {
            self.book.begin_anew();
            return self.introduce(&self.book.node()).await;
        }
        if self.known_as.as_ref() != Some(&node) {
            self.introduce(&node).await?;
        }
        Ok(())
    }

    /// From now on this node is known by another name, and no longer by the one before.
    async fn introduce(&mut self, node: &str) -> Result<(), RedisAway> {
        self.say_alive(node).await?;
        if let Some(before) = self.known_as.replace(node.to_owned())
            && before != node
        {
            let mut del = cmd("DEL");
            del.arg(self.redis.key(node_key(&before)));
            self.redis.ask::<()>(&del).await?;
        }
        Ok(())
    }

    /// Whether it was known.
    async fn say_alive(&self, node: &str) -> Result<bool, RedisAway> {
        let mut set = cmd("SET");
        set.arg(self.redis.key(node_key(node))).arg(1);
        set.arg("GET").arg("PX").arg(NODE_LIFE_MS);
        let before: Option<String> = self.redis.ask(&set).await?;
        Ok(before.is_some())
    }

    /// Tells Redis what it does not know.
    async fn tell(&mut self) -> Result<(), RedisAway> {
        loop {
            let (node, news) = self.book.take(BATCH);
            let told = self.tell_of(&node, &news).await;
            match told {
                Ok(()) => self.book.told(),
                Err(error) => {
                    self.book.untold();
                    return Err(error);
                }
            }
            if news.is_empty() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    async fn tell_of(&mut self, node: &str, news: &[News]) -> Result<(), RedisAway> {
        if self.known_as.as_deref() != Some(node) {
            self.introduce(node).await?;
        }
        if news.is_empty() {
            return Ok(());
        }
        let mut all = pipe();
        for about in news {
            all.cmd("EVAL").arg(HERE).arg(1);
            all.arg(self.redis.key(user_key(about.user))).arg(node);
            all.arg(u8::from(about.here)).arg(about.at.0);
            all.arg(u64::try_from(USER_LIFE.as_millis()).unwrap_or(u64::MAX));
            all.arg(self.redis.key(node_key(""))).ignore();
        }
        self.redis.ask_all(&all).await
    }
}
