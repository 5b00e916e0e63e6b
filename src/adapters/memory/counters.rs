//! Counts what happens, to limit how often it may, in memory.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use parking_lot::Mutex;

use crate::ports::{Counters, Left, RateLimited};

/// Keys kept of one allowance, about 10 MB.
const KEYS: usize = 65_536;
/// Allowances (pairs of limit and window) kept; the configuration names far fewer.
const ALLOWANCES: usize = 64;
/// After this many takes of an allowance its keys that have all of it are forgotten.
const FORGET_EVERY: u64 = 4_096;
/// Into so many groups new keys are put when there is no room for more.
const CROWDED_GROUPS: u64 = 1_024;

/// So many per so long.
type Allowance = (NonZeroU32, Duration);
type Limiter<C> = RateLimiter<String, DashMapStateStore<String>, C, StateInformationMiddleware>;

/// What is counted of one allowance.
struct Counted<C: Clock> {
    limiter: Limiter<C>,
    takes: AtomicU64,
}

/// Counts of this process. An allowance refills evenly: "5 per hour" is 5 at once,
/// then one every 12 minutes. The clock does not follow the wall's, so setting that
/// one frees or blocks nobody.
///
/// At most 65,536 keys of an allowance are told apart. When there are more, keys
/// are counted in 1,024 shared groups until there is room again: a flood can neither
/// use up the memory nor have earlier counts forgotten; nobody gets more than twice
/// the allowance, but somebody may be refused for another's sake.
pub struct MemoryCounters<C: Clock + Clone = MonotonicClock> {
    clock: C,
    limiters: Mutex<HashMap<Allowance, Arc<Counted<C>>>>,
    // Seeded at random: nobody can choose whom to share a group with.
    groups: RandomState,
    keys: usize,
}

impl MemoryCounters {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self::with_clock(MonotonicClock)
    }
}

impl Default for MemoryCounters {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock + Clone> MemoryCounters<C> {
    fn with_clock(clock: C) -> Self {
        Self {
            clock,
            limiters: Mutex::default(),
            groups: RandomState::new(),
            keys: KEYS,
        }
    }

    fn limiter(&self, limit: NonZeroU32, window: Duration) -> Option<Arc<Counted<C>>> {
        let mut limiters = self.limiters.lock();
        if let Some(counted) = limiters.get(&(limit, window)) {
            return Some(Arc::clone(counted));
        }
        let quota = Quota::with_period(window / limit.get())?.allow_burst(limit);
        if limiters.len() >= ALLOWANCES {
            limiters.clear();
        }
        let counted = Arc::new(Counted {
            limiter: Limiter::new(quota, DashMapStateStore::default(), self.clock.clone()),
            takes: AtomicU64::new(0),
        });
        limiters.insert((limit, window), Arc::clone(&counted));
        Some(counted)
    }

    fn count(&self, key: &str, limit: u32, window: Duration) -> Result<Left, RateLimited> {
        let Some(limit) = NonZeroU32::new(limit) else {
            return Err(RateLimited { retry_after: window });
        };
        // A window of no length limits nothing.
        let Some(counted) = self.limiter(limit, window) else {
            return Ok(Left(limit.get()));
        };
        let Counted { limiter, takes } = &*counted;
        if takes.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            limiter.retain_recent();
        }
        let key = if limiter.len() < self.keys {
            key.to_owned()
        } else {
            format!("group {}", self.groups.hash_one(key) % CROWDED_GROUPS)
        };
        match limiter.check_key(&key) {
            Ok(state) => Ok(Left(state.remaining_burst_capacity())),
            Err(busy) => Err(RateLimited {
                retry_after: busy.wait_time_from(self.clock.now()),
            }),
        }
    }
}

#[async_trait]
impl<C> Counters for MemoryCounters<C>
where
    C: Clock + Clone + Send + Sync + 'static,
{
    async fn take(&self, key: &str, limit: u32, window: Duration) -> Result<Left, RateLimited> {
        self.count(key, limit, window)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;

    use super::{CROWDED_GROUPS, FORGET_EVERY, MemoryCounters};
    use crate::{error::Coded, ports::Counters};

    const HOUR: Duration = Duration::from_secs(3_600);

    fn counters() -> (MemoryCounters<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (MemoryCounters::with_clock(clock.clone()), clock)
    }

    #[tokio::test]
    async fn an_allowance_is_used_up_and_refills() {
        let (counters, clock) = counters();
        for _ in 0..5 {
            counters.take("a", 5, HOUR).await.unwrap();
        }
        let refused = counters.take("a", 5, HOUR).await.unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(720));
        assert_eq!(refused.retry_after_ms(), Some(720_000));
        counters.take("b", 5, HOUR).await.unwrap();
        clock.advance(Duration::from_secs(719));
        assert!(counters.take("a", 5, HOUR).await.is_err());
        clock.advance(Duration::from_secs(1));
        counters.take("a", 5, HOUR).await.unwrap();
        assert!(counters.take("a", 5, HOUR).await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_allowed_at_a_limit_of_zero() {
        let (counters, _) = counters();
        assert_eq!(counters.take("a", 0, HOUR).await.unwrap_err().retry_after, HOUR);
        counters.take("a", 1, Duration::ZERO).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn parallel_takes_never_exceed_the_limit() {
        let counters = std::sync::Arc::new(counters().0);
        let takes: Vec<_> = (0..200)
            .map(|_| {
                let counters = std::sync::Arc::clone(&counters);
                tokio::spawn(async move { counters.take("a", 20, HOUR).await.is_ok() })
            })
            .collect();
        let mut successes = 0;
        for take in takes {
            successes += usize::from(take.await.unwrap());
        }
        assert_eq!(successes, 20);
    }

    #[tokio::test]
    async fn a_flood_of_keys_is_bounded_and_frees_nobody() {
        let (mut counters, _) = counters();
        counters.keys = 100;
        counters.take("victim", 1, HOUR).await.unwrap();
        for number in 0..20_000 {
            let _ = counters.take(&format!("flood {number}"), 1, HOUR).await;
        }
        let counted = counters.limiter(1.try_into().unwrap(), HOUR).unwrap();
        let limiter = &counted.limiter;
        assert!(
            limiter.len() as u64 <= 100 + CROWDED_GROUPS,
            "{} keys",
            limiter.len()
        );
        assert!(counters.take("victim", 1, HOUR).await.is_err());
    }

    #[tokio::test]
    async fn keys_with_a_full_allowance_are_forgotten() {
        let (counters, clock) = counters();
        for number in 0..100 {
            counters.take(&number.to_string(), 1, HOUR).await.unwrap();
        }
        clock.advance(HOUR * 2);
        for _ in 0..FORGET_EVERY {
            let _ = counters.take("busy", 1, HOUR).await;
        }
        let counted = counters.limiter(1.try_into().unwrap(), HOUR).unwrap();
        let limiter = &counted.limiter;
        assert!(limiter.len() <= 2, "{} keys", limiter.len());
    }

    #[tokio::test]
    async fn keys_are_forgotten_whatever_is_counted_in_between() {
        let (counters, clock) = counters();
        for number in 0..100 {
            counters.take(&number.to_string(), 1, HOUR).await.unwrap();
        }
        clock.advance(HOUR * 2);
        // As one request that counts against two allowances, one after the other.
        for _ in 0..FORGET_EVERY {
            let _ = counters.take("busy", 1, HOUR).await;
            let _ = counters.take("busy", 2, HOUR).await;
        }
        let counted = counters.limiter(1.try_into().unwrap(), HOUR).unwrap();
        assert!(counted.limiter.len() <= 2, "{} keys", counted.limiter.len());
    }
}
