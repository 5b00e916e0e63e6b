use std::{
    net::IpAddr,
    path::Path,
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
use tempfile::TempDir;
use uuid::Uuid;

use super::{Auth, AuthParts, Caller, SignInError, SignedIn, network};
use crate::{
    adapters::{
        memory::{MemoryCodes, MemoryCounters},
        sql::{Sql, migrate::migrate, users},
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
struct Postbox(Mutex<Vec<(Phone, String)>>);

#[async_trait]
impl CodeSender for Postbox {
    async fn send(&self, phone: &Phone, code: &str, _: Language) -> Result<(), SendCodeError> {
        self.0.lock().push((phone.clone(), code.to_owned()));
        Ok(())
    }
}

impl Postbox {
    fn last(&self) -> String {
        self.0.lock().last().unwrap().1.clone()
    }
}

struct Bench {
    auth: Auth,
    sql: Sql,
    post: Arc<Postbox>,
    hands: Arc<AtomicI64>,
    closed: Arc<Mutex<Vec<Uuid>>>,
    dir: TempDir,
}

impl Bench {
    async fn new(proof: Proof) -> Self {
        Self::with(proof, |_| {}).await
    }

    async fn with(proof: Proof, change: impl FnOnce(&mut Config)) -> Self {
        let defaults = Toml::string(include_str!("../../../config/default.toml"));
        let mut config: Config = Figment::from(defaults).extract().unwrap();
        config.auth.proof = proof;
        config.auth.jwt_secret = SecretString::from(SECRET);
        config.limits.sign_ins_per_address = 10_000;
        // Fifty tasks share the pool, on a machine that may be busy.
        config.data.pool_timeout = Duration::from_secs(30);
        change(&mut config);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        migrate(&path).await.unwrap();
        let sql = Sql::open(&path, config.data.pool, config.data.pool_timeout)
            .await
            .unwrap();
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
            auth: Auth::new(config.auth, &config.limits, parts),
            sql,
            post,
            hands,
            closed,
            dir,
        }
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
        language: Language::Ko,
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

#[tokio::test]
async fn a_code_signs_up_and_the_next_one_signs_in() {
    let bench = Bench::new(Proof::Code).await;
    let first = bench.sign_in().await;
    assert!(first.is_new);
    assert_eq!(first.user.name, "김철수");
    assert_eq!(first.user.phone.as_ref().unwrap().as_str(), "+821012345678");
    assert_eq!(
        (first.user.language.as_str(), first.user.timezone.as_str()),
        ("ko", "Asia/Seoul")
    );
    assert_eq!(first.tokens.expires_in, Duration::from_secs(900));

    let sent = bench.auth.send_code("+82 10 1234 5678", &caller()).await.unwrap();
    assert_eq!(sent.expires_at, Micros(START).plus(Duration::from_secs(300)));
    let second = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), Some("Other"), &caller())
        .await
        .unwrap();
    assert!(!second.is_new);
    assert_eq!(second.user, first.user, "a known number keeps its name");
    assert_ne!(second.session, first.session);

    let identity = bench.auth.authenticate(&second.tokens.access).await.unwrap();
    assert_eq!((identity.user, identity.session), (second.user, second.session));
    assert_eq!(identity.token_expires_at, second.tokens.expires_at);
}

#[tokio::test]
async fn who_gives_no_name_is_named_by_four_digits() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let signed_in = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), None, &caller())
        .await
        .unwrap();
    assert_eq!(signed_in.user.name, "5678");
}

#[tokio::test]
async fn a_bad_name_does_not_use_up_the_code() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    for _ in 0..10 {
        let refused = bench
            .auth
            .verify_code(sent.verification_id, &code, Some("a\nb"), &caller())
            .await;
        assert_eq!(code_of(refused), ErrorCode::ValidationError);
    }
    bench
        .auth
        .verify_code(sent.verification_id, &code, Some("Kim"), &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_does_not_use_up_the_code() {
    let bench = Bench::with(Proof::Code, |config| {
        config.data.pool = 1;
        config.data.pool_timeout = Duration::from_millis(50);
    })
    .await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    let only_connection = bench.sql.get().await.unwrap();
    let refused = bench
        .auth
        .verify_code(sent.verification_id, &code, None, &caller())
        .await;
    assert_eq!(code_of(refused), ErrorCode::Unavailable);
    drop(only_connection);
    bench
        .auth
        .verify_code(sent.verification_id, &code, None, &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn five_wrong_tries_void_a_code() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    for left in (0..5).rev() {
        let error = bench
            .auth
            .verify_code(sent.verification_id, wrong(&right), None, &caller())
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::AuthPhoneCodeInvalid);
        assert_eq!(error.details()["tries_left"], left);
    }
    let refused = bench
        .auth
        .verify_code(sent.verification_id, &right, None, &caller())
        .await;
    assert_eq!(code_of(refused), ErrorCode::AuthPhoneCodeExpired);
}

#[tokio::test]
async fn four_wrong_tries_do_not() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    for _ in 0..4 {
        let refused = bench
            .auth
            .verify_code(sent.verification_id, wrong(&right), None, &caller())
            .await;
        assert!(matches!(refused, Err(SignInError::WrongCode { .. })));
    }
    bench
        .auth
        .verify_code(sent.verification_id, &format!(" {right}\n"), None, &caller())
        .await
        .unwrap();
}

#[tokio::test]
async fn parallel_wrong_tries_are_counted_too() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let right = bench.post.last();
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (auth, wrong) = (bench.auth.clone(), wrong(&right));
            tokio::spawn(async move {
                auth.verify_code(sent.verification_id, wrong, None, &caller())
                    .await
            })
        })
        .collect();
    let mut counted = 0;
    for attempt in tries {
        counted += usize::from(code_of(attempt.await.unwrap()) == ErrorCode::AuthPhoneCodeInvalid);
    }
    assert_eq!(counted, 5);
}

#[tokio::test]
async fn a_code_expires() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    bench.pass(Duration::from_secs(300));
    let late = bench
        .auth
        .verify_code(sent.verification_id, &bench.post.last(), None, &caller())
        .await;
    assert_eq!(code_of(late), ErrorCode::AuthPhoneCodeExpired);
}

#[tokio::test]
async fn a_code_fits_only_its_own_verification() {
    let bench = Bench::new(Proof::Code).await;
    let first = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let first_code = bench.post.last();
    let second = bench.auth.send_code("+14155552671", &caller()).await.unwrap();
    if bench.post.last() != first_code {
        let crossed = bench
            .auth
            .verify_code(second.verification_id, &first_code, None, &caller())
            .await;
        assert_eq!(code_of(crossed), ErrorCode::AuthPhoneCodeInvalid);
    }
    let unknown = bench
        .auth
        .verify_code(Uuid::new_v4(), &first_code, None, &caller())
        .await;
    assert_eq!(code_of(unknown), ErrorCode::AuthPhoneCodeExpired);
    let id = first.verification_id;
    assert_ne!(
        bench.auth.code_hash(id, &first_code),
        bench.auth.code_hash(second.verification_id, &first_code)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_parallel_right_tries_one_signs_in() {
    let bench = Bench::new(Proof::Code).await;
    let sent = bench.auth.send_code(PHONE, &caller()).await.unwrap();
    let code = bench.post.last();
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let (auth, code) = (bench.auth.clone(), code.clone());
            tokio::spawn(async move {
                auth.verify_code(sent.verification_id, &code, None, &caller())
                    .await
            })
        })
        .collect();
    let mut signed_in = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            Ok(_) => signed_in += 1,
            Err(error) => assert!(matches!(error, SignInError::CodeGone), "{error}"),
        }
    }
    assert_eq!(signed_in, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_one_user_however_many_register_at_once() {
    let bench = Bench::new(Proof::None).await;
    let tries: Vec<_> = (0..20)
        .map(|_| {
            let auth = bench.auth.clone();
            tokio::spawn(async move { auth.register(PHONE, Some("Kim"), &caller()).await.unwrap() })
        })
        .collect();
    let mut all = Vec::new();
    for attempt in tries {
        all.push(attempt.await.unwrap());
    }
    assert_eq!(all.iter().filter(|signed_in| signed_in.is_new).count(), 1);
    assert!(all.iter().all(|signed_in| signed_in.user.id == all[0].user.id));
}

#[tokio::test]
async fn codes_are_limited_per_number_from_wherever_they_are_asked_for() {
    let bench = Bench::new(Proof::Code).await;
    for host in 1..=5 {
        bench
            .auth
            .send_code(PHONE, &from(&format!("192.0.2.{host}")))
            .await
            .unwrap();
    }
    let error = bench.auth.send_code(PHONE, &from("192.0.2.6")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RateLimitExceeded);
    assert!(error.retry_after_ms().unwrap() <= 720_000);
    bench
        .auth
        .send_code("010-1234-5679", &from("192.0.2.6"))
        .await
        .unwrap();
}

#[tokio::test]
async fn codes_are_limited_per_address() {
    let bench = Bench::new(Proof::Code).await;
    for number in 0..20 {
        let phone = format!("010-1234-56{number:02}");
        bench.auth.send_code(&phone, &from("2001:db8::1")).await.unwrap();
    }
    // Another address of the same /64 is the same household.
    let refused = bench.auth.send_code("010-1234-5700", &from("2001:db8::2")).await;
    assert_eq!(code_of(refused), ErrorCode::RateLimitExceeded);
    bench
        .auth
        .send_code("010-1234-5700", &from("2001:db8:0:1::1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn sign_ins_are_limited_per_address() {
    let bench = Bench::with(Proof::None, |config| config.limits.sign_ins_per_address = 3).await;
    let token = bench
        .auth
        .register(PHONE, Some("Kim"), &caller())
        .await
        .unwrap()
        .tokens
        .refresh;
    bench.auth.login(PHONE, &caller()).await.unwrap();
    bench.auth.refresh(&token, addr()).await.unwrap();
    assert_eq!(
        code_of(bench.auth.login(PHONE, &caller()).await),
        ErrorCode::RateLimitExceeded
    );
    assert_eq!(
        code_of(bench.auth.refresh(&token, addr()).await),
        ErrorCode::RateLimitExceeded
    );
    assert_eq!(
        code_of(bench.auth.send_code(PHONE, &caller()).await),
        ErrorCode::RateLimitExceeded
    );
    let verify = bench
        .auth
        .verify_code(Uuid::nil(), "000000", None, &caller())
        .await;
    assert_eq!(code_of(verify), ErrorCode::RateLimitExceeded);
    bench.auth.login(PHONE, &from("192.0.2.2")).await.unwrap();
}

#[test]
fn addresses_are_told_apart_by_household() {
    let of = |addr: &str| network(addr.parse().unwrap());
    assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
}

#[tokio::test]
async fn without_proof_only_where_it_is_configured() {
    let bench = Bench::new(Proof::Code).await;
    let register = bench.auth.register(PHONE, Some("Kim"), &caller()).await;
    assert_eq!(code_of(register), ErrorCode::AuthProofRequired);
    assert_eq!(
        code_of(bench.auth.login(PHONE, &caller()).await),
        ErrorCode::AuthProofRequired
    );

    let bench = Bench::new(Proof::None).await;
    let unknown = bench.auth.login(PHONE, &caller()).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.code().status()),
        (ErrorCode::AuthTokenInvalid, 401)
    );
    assert_eq!(unknown.text_key(), "phone-unknown");
    let first = bench.auth.register(PHONE, Some("Kim"), &caller()).await.unwrap();
    assert!(first.is_new);
    assert_eq!(first.tokens.expires_in, Duration::from_secs(12 * 3_600));
    let again = bench.auth.register(PHONE, Some("Lee"), &caller()).await.unwrap();
    assert!(!again.is_new);
    assert_eq!(again.user.name, "Kim");
    assert_eq!(
        bench.auth.login("01012345678", &caller()).await.unwrap().user.id,
        first.user.id
    );
    let bad_phone = bench.auth.register("12", Some("Kim"), &caller()).await;
    assert_eq!(code_of(bad_phone), ErrorCode::ValidationError);
}

#[tokio::test]
async fn a_refresh_token_stays_good_and_its_life_starts_anew() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let token = &signed_in.tokens.refresh;
    for _ in 0..4 {
        bench.pass(Duration::from_secs(6 * 24 * 3_600));
        let refreshed = bench.auth.refresh(token, addr()).await.unwrap();
        assert_eq!(&refreshed.tokens.refresh, token);
        assert_eq!(refreshed.session, signed_in.session);
        assert_eq!(refreshed.tokens.expires_in, Duration::from_secs(900));
        bench.auth.authenticate(&refreshed.tokens.access).await.unwrap();
    }
    let two_at_once = tokio::join!(
        bench.auth.refresh(token, addr()),
        bench.auth.refresh(token, addr())
    );
    assert!(two_at_once.0.is_ok() && two_at_once.1.is_ok());
    bench.pass(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(
        code_of(bench.auth.refresh(token, addr()).await),
        ErrorCode::AuthTokenExpired
    );
}

#[tokio::test]
async fn what_is_no_refresh_token_refreshes_nothing() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let good = &signed_in.tokens.refresh;
    for bad in [
        "",
        "x",
        &"x".repeat(1 << 20),
        &format!("{good}="),
        &signed_in.tokens.access,
        &good[1..],
    ] {
        let refused = bench.auth.refresh(bad, addr()).await;
        assert_eq!(
            code_of(refused),
            ErrorCode::AuthTokenInvalid,
            "{} bytes",
            bad.len()
        );
    }
    let as_access = bench.auth.authenticate(good).await;
    assert_eq!(code_of(as_access), ErrorCode::AuthTokenInvalid);
}

#[tokio::test]
async fn long_expired_refresh_tokens_are_forgotten_at_the_next_sign_in() {
    let bench = Bench::new(Proof::Code).await;
    let old = bench.sign_in().await;
    bench.pass(Duration::from_secs(38 * 24 * 3_600));
    assert_eq!(
        code_of(bench.auth.refresh(&old.tokens.refresh, addr()).await),
        ErrorCode::AuthTokenExpired
    );
    bench.sign_in().await;
    assert_eq!(
        code_of(bench.auth.refresh(&old.tokens.refresh, addr()).await),
        ErrorCode::AuthTokenInvalid
    );
}

#[tokio::test]
async fn logout_ends_one_session_at_once_but_its_requests_after_a_grace() {
    let bench = Bench::new(Proof::Code).await;
    let (leaving, staying) = (bench.sign_in().await, bench.sign_in().await);
    let sessions = [leaving.session, staying.session];
    assert!(bench.auth.revoked(&sessions).await.unwrap().is_empty());
    let identity = bench.auth.authenticate(&leaving.tokens.access).await.unwrap();
    bench.auth.logout(&identity).await.unwrap();

    assert_eq!(*bench.closed.lock(), [leaving.session], "live sockets hear of it");
    assert_eq!(bench.auth.revoked(&sessions).await.unwrap(), [leaving.session]);
    let refresh = bench.auth.refresh(&leaving.tokens.refresh, addr()).await;
    assert_eq!(code_of(refresh), ErrorCode::AuthTokenInvalid);
    let socket = bench.auth.authenticate_socket(&leaving.tokens.access).await;
    assert_eq!(code_of(socket), ErrorCode::AuthTokenInvalid);

    bench.pass(Duration::from_secs(59));
    bench.auth.authenticate(&leaving.tokens.access).await.unwrap();
    bench.auth.logout(&identity).await.unwrap();
    assert_eq!(bench.closed.lock().len(), 1, "a repetition changes nothing");
    bench.pass(Duration::from_secs(1));
    let late = bench.auth.authenticate(&leaving.tokens.access).await;
    assert_eq!(code_of(late), ErrorCode::AuthTokenInvalid);

    bench.auth.authenticate(&staying.tokens.access).await.unwrap();
    bench
        .auth
        .authenticate_socket(&staying.tokens.access)
        .await
        .unwrap();
    bench.auth.refresh(&staying.tokens.refresh, addr()).await.unwrap();
}

#[tokio::test]
async fn an_expired_access_token_says_so() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    bench.pass(Duration::from_secs(900));
    let late = bench.auth.authenticate(&signed_in.tokens.access).await;
    assert_eq!(code_of(late), ErrorCode::AuthTokenExpired);
}

#[tokio::test]
async fn suspended_and_deleted_users_are_refused_everywhere() {
    for status in [UserStatus::Suspended, UserStatus::Deleted] {
        let bench = Bench::new(Proof::None).await;
        let signed_in = bench.sign_in().await;
        bench.set_status(&signed_in, status).await;
        let access = &signed_in.tokens.access;
        assert_eq!(
            code_of(bench.auth.authenticate(access).await),
            ErrorCode::AuthTokenInvalid
        );
        assert_eq!(
            code_of(bench.auth.authenticate_socket(access).await),
            ErrorCode::AuthTokenInvalid
        );
        let refresh = bench.auth.refresh(&signed_in.tokens.refresh, addr()).await;
        assert_eq!(code_of(refresh), ErrorCode::AuthTokenInvalid);
        assert_eq!(
            code_of(bench.auth.login(PHONE, &caller()).await),
            ErrorCode::Forbidden
        );
        let register = bench.auth.register(PHONE, Some("Kim"), &caller()).await;
        assert_eq!(code_of(register), ErrorCode::Forbidden);
        let session = signed_in.session;
        assert_eq!(bench.auth.revoked(&[session]).await.unwrap(), [session]);
        bench.set_status(&signed_in, UserStatus::Active).await;
        bench.auth.authenticate(access).await.unwrap();
        assert!(bench.auth.revoked(&[session]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_session_that_the_store_does_not_know_is_revoked() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let many: Vec<Uuid> = (0..1_200)
        .map(|_| Uuid::new_v4())
        .chain([signed_in.session])
        .collect();
    assert_eq!(bench.auth.revoked(&many).await.unwrap(), many[..1_200]);
    // The token of one installation, with the same secret, is worth nothing in another.
    let other = Bench::new(Proof::Code).await;
    let foreign = other.auth.authenticate(&signed_in.tokens.access).await;
    assert_eq!(code_of(foreign), ErrorCode::AuthTokenInvalid);
}

/// Every byte of the database's files, as a thief of a backup has them.
fn dump(dir: &Path) -> Vec<u8> {
    std::fs::read_dir(dir)
        .unwrap()
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn nothing_in_the_tables_is_a_usable_secret() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use sha2::{Digest, Sha256};

    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    bench
        .auth
        .refresh(&signed_in.tokens.refresh, addr())
        .await
        .unwrap();
    let tokens = &signed_in.tokens;
    let raw_refresh = URL_SAFE_NO_PAD.decode(&tokens.refresh).unwrap();
    assert_eq!(raw_refresh.len(), 32);
    let hash = Sha256::digest(tokens.refresh.as_bytes());
    let rows = dump(bench.dir.path());
    assert!(holds(&rows, "김철수".as_bytes()), "the dump shows what is stored");
    assert!(holds(&rows, &hash), "the hash is what is stored");
    for secret in [
        tokens.refresh.as_bytes(),
        &raw_refresh,
        hex::encode(&raw_refresh).as_bytes(),
        tokens.access.as_bytes(),
        tokens.access.rsplit('.').next().unwrap().as_bytes(),
        SECRET.as_bytes(),
    ] {
        assert!(!holds(&rows, secret));
    }
    // What is stored opens nothing when it is shown in place of the token.
    for stolen in [URL_SAFE_NO_PAD.encode(hash), hex::encode(hash)] {
        let refused = bench.auth.refresh(&stolen, addr()).await;
        assert_eq!(code_of(refused), ErrorCode::AuthTokenInvalid);
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let text = format!("{signed_in:?}");
    assert!(!text.contains(&signed_in.tokens.access));
    assert!(!text.contains(&signed_in.tokens.refresh));
    assert!(!text.contains("1012345678"));
}
