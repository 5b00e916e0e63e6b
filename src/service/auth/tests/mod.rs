mod codes;
mod review;
mod rotation;
mod session;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use figment::{
    Figment,
    providers::{Format, Toml},
};
use parking_lot::Mutex;
use secrecy::SecretString;
use uuid::Uuid;

use super::{Auth, AuthParts, Caller, SignedIn};
use crate::{
    adapters::{
        memory::{MemoryCodes, MemoryCounters},
        sql::{Sql, fixture::TestDb, users},
    },
    config::{Config, Proof},
    domain::{
        phone::Phone,
        time::{Clock, Micros},
        user::UserStatus,
    },
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::{CodeSender, SendCodeError},
};

const PHONE: &str = "010-1234-5678";
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const START: i64 = 1_790_000_000_000_000;

#[derive(Default)]
struct Postbox(Mutex<Vec<(Phone, String, Language)>>);

#[async_trait]
impl CodeSender for Postbox {
    async fn send(&self, phone: &Phone, code: &str, language: Language) -> Result<(), SendCodeError> {
        self.0.lock().push((phone.clone(), code.to_owned(), language));
        Ok(())
    }
}

impl Postbox {
    fn last(&self) -> String {
        self.0.lock().last().unwrap().1.clone()
    }
}

fn defaults(proof: Proof) -> Config {
    let defaults = Toml::string(include_str!("../../../../config/default.toml"));
    let mut config: Config = Figment::from(defaults).extract().unwrap();
    config.auth.proof = proof;
    config.auth.jwt_secret = SecretString::from(SECRET);
    config.limits.sign_ins_per_address = 10_000;
    // Fifty tasks share the pool, on a machine that may be busy.
    config.data.pool_timeout = Duration::from_secs(30);
    config
}

struct Bench {
    auth: Auth,
    parts: AuthParts,
    sql: Sql,
    post: Arc<Postbox>,
    hands: Arc<AtomicI64>,
    closed: Arc<Mutex<Vec<Uuid>>>,
    db: TestDb,
}

impl Bench {
    async fn new(proof: Proof) -> Self {
        Self::with(proof, |_| {}).await
    }

    async fn with(proof: Proof, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = defaults(proof);
        change(&mut config);

        let db = TestDb::open().await;
        let sql = db.again(config.data.pool, config.data.pool_timeout).await;
        let hands = Arc::new(AtomicI64::new(START));
        let clock = {
            let hands = Arc::clone(&hands);
            Clock::from_fn(move || Micros(hands.load(Ordering::SeqCst)))
        };
        let post = Arc::new(Postbox::default());
        let closed = Arc::new(Mutex::new(Vec::new()));
        let parts = AuthParts {
            sql: sql.clone(),
            codes: Arc::new(MemoryCodes::new(clock.clone())),
            counters: Arc::new(MemoryCounters::new()),
            sender: Arc::clone(&post) as Arc<dyn CodeSender>,
            on_revoked: {
                let closed = Arc::clone(&closed);
                Arc::new(move |session| closed.lock().push(session))
            },
            clock,
        };
        Self {
            auth: Auth::new(config.auth, &config.limits, parts.clone()),
            parts,
            sql,
            post,
            hands,
            closed,
            db,
        }
    }

    /// Sign-in on the same stores after the configuration was changed.
    fn restarted(&self, change: impl FnOnce(&mut Config)) -> Auth {
        let mut config = defaults(Proof::Code);
        change(&mut config);
        Auth::new(config.auth, &config.limits, self.parts.clone())
    }

    fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.hands.fetch_add(micros, Ordering::SeqCst);
    }

    async fn sign_in(&self) -> SignedIn {
        let sent = self.auth.send_code(PHONE, &caller()).await.unwrap();
        let code = self.post.last();
        self.auth
            .verify_code(sent.verification_id, &code, Some("김철수"), &caller())
            .await
            .unwrap()
    }

    async fn set_status(&self, who: &SignedIn, status: UserStatus) {
        let mut conn = self.sql.get().await.unwrap();
        let changed = users::set_status(&mut conn, who.user.id, status, Micros(START)).await;
        assert!(changed.unwrap());
    }
}

fn from(addr: &str) -> Caller {
    Caller {
        addr: addr.parse().unwrap(),
        language: None,
        client: Some("test/1.0".to_owned()),
    }
}

fn caller() -> Caller {
    from("192.0.2.1")
}

fn addr() -> IpAddr {
    caller().addr
}

fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

fn code_of<T: std::fmt::Debug, E: Coded>(result: Result<T, E>) -> ErrorCode {
    result.unwrap_err().code()
}
