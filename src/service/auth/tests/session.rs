use std::time::Duration;

use uuid::Uuid;

use super::{Bench, PHONE, SECRET, addr, caller, code_of};
use crate::{
    config::Proof,
    domain::user::UserStatus,
    error::{Coded, ErrorCode},
};

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
        let refreshed = bench.auth.refresh(token, false, addr()).await.unwrap();
        assert_eq!(&refreshed.tokens.refresh, token);
        assert_eq!(refreshed.session, signed_in.session);
        assert_eq!(refreshed.tokens.expires_in, Duration::from_secs(900));
        bench.auth.authenticate(&refreshed.tokens.access).await.unwrap();
    }
    let two_at_once = tokio::join!(
        bench.auth.refresh(token, false, addr()),
        bench.auth.refresh(token, false, addr())
    );
    assert!(two_at_once.0.is_ok() && two_at_once.1.is_ok());
    bench.pass(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(
        code_of(bench.auth.refresh(token, false, addr()).await),
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
        let refused = bench.auth.refresh(bad, false, addr()).await;
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
        code_of(bench.auth.refresh(&old.tokens.refresh, false, addr()).await),
        ErrorCode::AuthTokenExpired
    );
    bench.sign_in().await;
    assert_eq!(
        code_of(bench.auth.refresh(&old.tokens.refresh, false, addr()).await),
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
    let refresh = bench.auth.refresh(&leaving.tokens.refresh, false, addr()).await;
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
    bench
        .auth
        .refresh(&staying.tokens.refresh, false, addr())
        .await
        .unwrap();
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
        let refresh = bench.auth.refresh(&signed_in.tokens.refresh, false, addr()).await;
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
        .refresh(&signed_in.tokens.refresh, false, addr())
        .await
        .unwrap();
    let tokens = &signed_in.tokens;
    let raw_refresh = URL_SAFE_NO_PAD.decode(&tokens.refresh).unwrap();
    assert_eq!(raw_refresh.len(), 32);
    let hash = Sha256::digest(tokens.refresh.as_bytes());
    let rows = bench.db.dump().await;
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
        let refused = bench.auth.refresh(&stolen, false, addr()).await;
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
