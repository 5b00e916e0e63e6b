use std::time::Duration;

use secrecy::SecretString;

use super::{Bench, SECRET, addr, code_of};
use crate::{
    config::Proof,
    error::ErrorCode,
    service::auth::{AuthenticateError, SignedIn},
};

const GRACE: Duration = Duration::from_secs(10);

async fn rotate(bench: &Bench, token: &str) -> Result<SignedIn, AuthenticateError> {
    bench.auth.refresh(token, true, addr()).await
}

async fn successor(bench: &Bench, token: &str) -> String {
    rotate(bench, token).await.unwrap().tokens.refresh
}

async fn is_over(bench: &Bench, signed_in: &SignedIn) -> bool {
    let revoked = bench.auth.revoked(&[signed_in.session]).await.unwrap();
    revoked == [signed_in.session]
}

#[tokio::test]
async fn two_honest_refreshes_at_once_get_the_same_successor() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let token = &signed_in.tokens.refresh;
    let (one, two) = tokio::join!(rotate(&bench, token), rotate(&bench, token));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.tokens.refresh, two.tokens.refresh);
    assert_ne!(&one.tokens.refresh, token);
    assert_eq!(one.session, signed_in.session);

    // The answer was lost: the client asks again, also in the old way.
    bench.pass(Duration::from_micros(9_999_999));
    assert_eq!(successor(&bench, token).await, one.tokens.refresh);
    let again = bench.auth.refresh(token, false, addr()).await.unwrap();
    assert_eq!(again.tokens.refresh, one.tokens.refresh);
    assert!(!is_over(&bench, &signed_in).await);
    bench.auth.authenticate(&again.tokens.access).await.unwrap();
}

#[tokio::test]
async fn use_of_a_replaced_token_after_the_grace_ends_the_session() {
    for rotates in [true, false] {
        let bench = Bench::new(Proof::Code).await;
        let (signed_in, other) = (bench.sign_in().await, bench.sign_in().await);
        let token = &signed_in.tokens.refresh;
        let next = rotate(&bench, token).await.unwrap();
        bench.pass(GRACE);
        let reused = bench.auth.refresh(token, rotates, addr()).await;
        assert_eq!(code_of(reused), ErrorCode::AuthTokenInvalid);

        assert!(is_over(&bench, &signed_in).await);
        assert_eq!(
            *bench.closed.lock(),
            [signed_in.session],
            "live sockets hear of it"
        );
        let after = rotate(&bench, &next.tokens.refresh).await;
        assert_eq!(code_of(after), ErrorCode::AuthTokenInvalid);
        let socket = bench.auth.authenticate_socket(&next.tokens.access).await;
        assert_eq!(code_of(socket), ErrorCode::AuthTokenInvalid);
        let request = bench.auth.authenticate(&next.tokens.access).await;
        assert_eq!(
            code_of(request),
            ErrorCode::AuthTokenInvalid,
            "no last requests for a thief"
        );
        assert!(!is_over(&bench, &other).await, "another device is another family");
    }
}

#[tokio::test]
async fn thief_who_comes_first_is_found_out_when_the_owner_comes() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let stolen = &signed_in.tokens.refresh;
    let loot = successor(&bench, stolen).await;
    bench.pass(Duration::from_secs(600));
    let owner = rotate(&bench, stolen).await;
    assert_eq!(code_of(owner), ErrorCode::AuthTokenInvalid);
    assert_eq!(code_of(rotate(&bench, &loot).await), ErrorCode::AuthTokenInvalid);
    assert!(is_over(&bench, &signed_in).await);
}

#[tokio::test]
async fn thief_within_the_grace_is_found_out_one_step_later() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let shared = successor(&bench, &signed_in.tokens.refresh).await;
    assert_eq!(successor(&bench, &signed_in.tokens.refresh).await, shared);
    bench.pass(Duration::from_secs(600));
    successor(&bench, &shared).await;
    bench.pass(Duration::from_secs(600));
    assert_eq!(
        code_of(rotate(&bench, &shared).await),
        ErrorCode::AuthTokenInvalid
    );
    assert!(is_over(&bench, &signed_in).await);
}

#[tokio::test]
async fn chain_of_ten_is_one_session_and_each_link_counts_once() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let mut tokens = vec![signed_in.tokens.refresh.clone()];
    for _ in 0..10 {
        bench.pass(Duration::from_secs(3_600));
        let next = rotate(&bench, tokens.last().unwrap()).await.unwrap();
        assert_eq!(next.session, signed_in.session);
        assert!(!tokens.contains(&next.tokens.refresh));
        tokens.push(next.tokens.refresh);
    }
    // The last one still works in the old way, for as often as one likes.
    let last = tokens.last().unwrap();
    for _ in 0..3 {
        let same = bench.auth.refresh(last, false, addr()).await.unwrap();
        assert_eq!(&same.tokens.refresh, last);
    }
    assert_eq!(
        code_of(rotate(&bench, &tokens[3]).await),
        ErrorCode::AuthTokenInvalid
    );
    assert!(is_over(&bench, &signed_in).await);
}

#[tokio::test]
async fn sign_out_ends_the_successor_too() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let next = rotate(&bench, &signed_in.tokens.refresh).await.unwrap();
    let identity = bench.auth.authenticate(&next.tokens.access).await.unwrap();
    bench.auth.logout(&identity).await.unwrap();
    for token in [&signed_in.tokens.refresh, &next.tokens.refresh] {
        assert_eq!(code_of(rotate(&bench, token).await), ErrorCode::AuthTokenInvalid);
    }
}

#[tokio::test]
async fn long_access_tokens_of_version_1_stay_long_after_a_refresh() {
    let bench = Bench::new(Proof::None).await;
    let signed_in = bench
        .auth
        .register(super::PHONE, Some("Kim"), &super::caller())
        .await
        .unwrap();
    let half_a_day = Duration::from_secs(12 * 3_600);
    let mut token = signed_in.tokens.refresh;
    for rotates in [false, true, false] {
        let next = bench.auth.refresh(&token, rotates, addr()).await.unwrap();
        assert_eq!(next.tokens.expires_in, half_a_day);
        token = next.tokens.refresh;
    }
}

#[tokio::test]
async fn replaced_tokens_are_forgotten_long_after_their_end() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let mut token = signed_in.tokens.refresh.clone();
    for _ in 0..8 {
        bench.pass(Duration::from_secs(6 * 24 * 3_600));
        token = successor(&bench, &token).await;
    }
    // It stands in no table any more, so it accuses nobody either.
    assert_eq!(
        code_of(rotate(&bench, &signed_in.tokens.refresh).await),
        ErrorCode::AuthTokenInvalid
    );
    assert!(!is_over(&bench, &signed_in).await);
    rotate(&bench, &token).await.unwrap();
}

#[tokio::test]
async fn another_key_signs_nobody_out() {
    let bench = Bench::new(Proof::Code).await;
    let signed_in = bench.sign_in().await;
    let next = rotate(&bench, &signed_in.tokens.refresh).await.unwrap();

    let other = "another-secret-another-secret-xx";
    let rotated = bench.restarted(|config| {
        config.auth.jwt_secret = SecretString::from(other);
        config.auth.jwt_previous_secret = SecretString::from(SECRET);
    });
    rotated.authenticate(&signed_in.tokens.access).await.unwrap();
    // Within the grace of the rotation, across the change of the key.
    let again = rotated
        .refresh(&signed_in.tokens.refresh, true, addr())
        .await
        .unwrap();
    assert_eq!(again.tokens.refresh, next.tokens.refresh);
    let fresh = rotated.refresh(&next.tokens.refresh, true, addr()).await.unwrap();
    rotated.authenticate(&fresh.tokens.access).await.unwrap();

    let without_older = bench.restarted(|config| config.auth.jwt_secret = SecretString::from(other));
    let old = without_older.authenticate(&signed_in.tokens.access).await;
    assert_eq!(code_of(old), ErrorCode::AuthTokenInvalid);
    without_older.authenticate(&fresh.tokens.access).await.unwrap();
}
