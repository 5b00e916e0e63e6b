//! One-time codes on their way, in memory. A restart loses them; people ask again.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::{
    domain::time::{Clock, Micros},
    ports::{CodeCheck, CodesUnavailable, OneTimeCodes, PendingCode},
};

/// Codes kept at a time, about 20 MB at most.
const CAPACITY: usize = 100_000;

/// One-time codes of this process.
///
/// At most 100,000: when there are as many, the one that expires first gives way
/// to the new one. Whoever waits for it has waited longest and can ask again,
/// while refusing new ones would lock out everybody.
pub struct MemoryCodes {
    codes: Mutex<Codes>,
    clock: Clock,
    capacity: usize,
}

#[derive(Default)]
struct Codes {
    by_id: HashMap<Uuid, PendingCode>,
    by_expiry: BTreeSet<(Micros, Uuid)>,
}

impl Codes {
    fn remove(&mut self, id: Uuid) -> Option<PendingCode> {
        let code = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(code.expires_at, id));
        Some(code)
    }

    fn drop_expired(&mut self, now: Micros) {
        while let Some(&(expires_at, id)) = self.by_expiry.first()
            && expires_at <= now
        {
            self.remove(id);
        }
    }
}

impl MemoryCodes {
    /// An empty store; `clock` says when a code is old enough to be forgotten.
    pub fn new(clock: Clock) -> Self {
        Self {
            codes: Mutex::default(),
            clock,
            capacity: CAPACITY,
        }
    }
}

#[async_trait]
impl OneTimeCodes for MemoryCodes {
    async fn put(&self, id: Uuid, code: PendingCode) -> Result<(), CodesUnavailable> {
        let mut codes = self.codes.lock();
        codes.drop_expired(self.clock.now());
        codes.remove(id);
        if codes.by_id.len() >= self.capacity
            && let Some(&(_, first)) = codes.by_expiry.first()
        {
            codes.remove(first);
        }
        codes.by_expiry.insert((code.expires_at, id));
        codes.by_id.insert(id, code);
        Ok(())
    }

    async fn check(&self, id: Uuid, hash: [u8; 32], now: Micros) -> Result<CodeCheck, CodesUnavailable> {
        let mut codes = self.codes.lock();
        let Some(code) = codes.by_id.get_mut(&id) else {
            return Ok(CodeCheck::Gone);
        };
        if code.expires_at <= now {
            codes.remove(id);
            return Ok(CodeCheck::Gone);
        }
        if same(&code.hash, &hash) {
            return Ok(codes
                .remove(id)
                .map_or(CodeCheck::Gone, |code| CodeCheck::Right(code.phone)));
        }
        code.tries_left = code.tries_left.saturating_sub(1);
        let tries_left = code.tries_left;
        if tries_left == 0 {
            codes.remove(id);
        }
        Ok(CodeCheck::Wrong { tries_left })
    }
}

/// Compares in the same time wherever the first difference is.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::MemoryCodes;
    use crate::{
        domain::{
            phone::Phone,
            time::{Clock, Micros},
        },
        ports::{CodeCheck, OneTimeCodes, PendingCode},
    };

    const RIGHT: [u8; 32] = [1; 32];
    const WRONG: [u8; 32] = [2; 32];

    fn phone() -> Phone {
        Phone::parse("010-1234-5678", "KR").unwrap()
    }

    fn code(expires_at: i64) -> PendingCode {
        PendingCode {
            phone: phone(),
            hash: RIGHT,
            expires_at: Micros(expires_at),
            tries_left: 3,
        }
    }

    fn store(now: i64) -> MemoryCodes {
        MemoryCodes::new(Clock::from_fn(move || Micros(now)))
    }

    async fn check(codes: &MemoryCodes, id: Uuid, hash: [u8; 32], now: i64) -> CodeCheck {
        codes.check(id, hash, Micros(now)).await.unwrap()
    }

    #[tokio::test]
    async fn a_code_counts_once_and_until_it_expires() {
        let codes = store(0);
        let [once, late] = [Uuid::new_v4(), Uuid::new_v4()];
        codes.put(once, code(100)).await.unwrap();
        codes.put(late, code(100)).await.unwrap();
        assert_eq!(check(&codes, once, RIGHT, 99).await, CodeCheck::Right(phone()));
        assert_eq!(check(&codes, once, RIGHT, 99).await, CodeCheck::Gone);
        assert_eq!(check(&codes, late, RIGHT, 100).await, CodeCheck::Gone);
        assert_eq!(check(&codes, Uuid::new_v4(), RIGHT, 0).await, CodeCheck::Gone);
    }

    #[tokio::test]
    async fn wrong_tries_void_a_code() {
        let codes = store(0);
        let id = Uuid::new_v4();
        codes.put(id, code(100)).await.unwrap();
        for tries_left in [2, 1, 0] {
            assert_eq!(check(&codes, id, WRONG, 1).await, CodeCheck::Wrong { tries_left });
        }
        assert_eq!(check(&codes, id, RIGHT, 1).await, CodeCheck::Gone);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_parallel_right_tries_one_wins() {
        let codes = Arc::new(store(0));
        let id = Uuid::new_v4();
        codes.put(id, code(100)).await.unwrap();
        let tries: Vec<_> = (0..50)
            .map(|_| {
                let codes = Arc::clone(&codes);
                tokio::spawn(async move { check(&codes, id, RIGHT, 1).await })
            })
            .collect();
        let mut right = 0;
        for attempt in tries {
            right += usize::from(attempt.await.unwrap() == CodeCheck::Right(phone()));
        }
        assert_eq!(right, 1);
    }

    #[tokio::test]
    async fn a_full_store_lets_the_first_to_expire_go() {
        let codes = MemoryCodes {
            capacity: 2,
            ..store(0)
        };
        let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
        for (id, expires_at) in ids.into_iter().zip([200, 100, 300]) {
            codes.put(id, code(expires_at)).await.unwrap();
        }
        assert_eq!(check(&codes, ids[1], RIGHT, 1).await, CodeCheck::Gone);
        assert_eq!(check(&codes, ids[0], RIGHT, 1).await, CodeCheck::Right(phone()));
        assert_eq!(check(&codes, ids[2], RIGHT, 1).await, CodeCheck::Right(phone()));
    }

    #[tokio::test]
    async fn expired_codes_leave_the_memory() {
        let codes = store(1_000);
        codes.put(Uuid::new_v4(), code(900)).await.unwrap();
        codes.put(Uuid::new_v4(), code(2_000)).await.unwrap();
        let held = codes.codes.lock();
        assert_eq!((held.by_id.len(), held.by_expiry.len()), (1, 1));
    }
}
