//! How long to wait: for answers, and between tries.

use std::time::Duration;

/// How patient a connection is.
#[derive(Debug, Clone, Copy)]
pub(in crate::chat) struct Pace {
    /// Upper end of the first wait; each further one doubles it.
    pub(in crate::chat) first: Duration,
    /// Upper end of every wait.
    pub(in crate::chat) longest: Duration,
    /// A socket that lasted this long was a good one: the waits begin small again.
    pub(in crate::chat) steady: Duration,
    /// How long an answer may take before the socket counts as lost.
    pub(in crate::chat) answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(20),
            steady: Duration::from_secs(5),
            answer: Duration::from_secs(15),
        }
    }
}

/// Waits with full jitter: anything from nothing to a bound that doubles.
///
/// When a server falls, all its clients lose it at once; with a fixed wait they
/// would all come back at once too.
#[derive(Debug)]
pub(super) struct Backoff {
    pace: Pace,
    tries: u32,
}

impl Backoff {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, tries: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    pub(super) fn next(&mut self) -> Duration {
        let bound = self
            .pace
            .first
            .saturating_mul(1 << self.tries.min(16))
            .min(self.pace.longest);
        self.tries += 1;
        bound.mul_f64(rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backoff, Pace};

    #[test]
    fn waits_are_spread_below_a_bound_that_doubles_up_to_the_longest() {
        let pace = Pace {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(10),
            ..Pace::default()
        };
        for (tries, bound) in [1, 2, 4, 8, 10, 10, 10].into_iter().enumerate() {
            let waits: Vec<Duration> = (0..200)
                .map(|_| {
                    Backoff {
                        pace,
                        tries: u32::try_from(tries).unwrap(),
                    }
                    .next()
                })
                .collect();
            let bound = Duration::from_secs(bound);
            assert!(waits.iter().all(|wait| *wait < bound), "{tries}");
            assert!(waits.iter().any(|wait| *wait > bound / 2) && waits.iter().any(|wait| *wait < bound / 2));
        }
        let mut backoff = Backoff {
            pace,
            tries: u32::MAX - 1,
        };
        assert!(backoff.next() <= pace.longest);
        backoff.reset();
        assert!(backoff.next() <= pace.first);
    }
}
