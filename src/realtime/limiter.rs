//! How often a user may publish, whichever of the user's sockets it comes from.

use std::num::NonZeroU32;

use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use crate::{domain::id::UserId, ports::RateLimited};

/// A token bucket for each user of this node (GCRA, as the `governor` crate has it).
pub struct PublishLimiter {
    buckets: DefaultKeyedRateLimiter<UserId>,
    clock: DefaultClock,
}

impl PublishLimiter {
    /// `per_s` messages a second, of which `burst` may come at once; neither is below 1.
    pub fn new(per_s: u32, burst: u32) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_s)).allow_burst(at_least_one(burst));
        Self {
            buckets: RateLimiter::keyed(quota),
            clock: DefaultClock::default(),
        }
    }

    /// Takes one from the user's bucket.
    ///
    /// # Errors
    /// It is empty; when one will be in it again.
    pub fn take(&self, user: UserId) -> Result<(), RateLimited> {
        self.buckets.check_key(&user).map_err(|refusal| RateLimited {
            retry_after: refusal.wait_time_from(self.clock.now()),
        })
    }

    /// Forgets the buckets that are full again.
    pub fn tidy(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::PublishLimiter;
    use crate::domain::id::UserId;

    #[test]
    fn burst_passes_and_the_next_is_told_when() {
        let limiter = PublishLimiter::new(20, 40);
        for _ in 0..40 {
            limiter.take(UserId(1)).unwrap();
        }
        let refused = limiter.take(UserId(1)).unwrap_err();
        assert!(refused.retry_after.as_millis() <= 50);
        limiter.take(UserId(2)).unwrap();
    }
}
