use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{AccessTokens, TokenError, derived_key, keyed_hash};
use crate::{
    domain::{
        id::UserId,
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const START: i64 = 1_790_000_000;

fn clock() -> (Clock, Arc<AtomicI64>) {
    let seconds = Arc::new(AtomicI64::new(START));
    let hands = Arc::clone(&seconds);
    (
        Clock::from_fn(move || Micros(hands.load(Ordering::SeqCst) * 1_000_000)),
        seconds,
    )
}

fn tokens(secret: &str) -> AccessTokens {
    AccessTokens::new(&SecretString::from(secret), clock().0)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7515 by hand, so that the table does not depend on what it tests.
fn sign(secret: &str, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = hmac_sha256(secret, &message);
    format!("{message}.{}", encode(signature))
}

fn hmac_sha256(secret: &str, message: &str) -> Vec<u8> {
    use hmac::Mac;
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn good_header() -> Value {
    let token = tokens(SECRET)
        .mint(UserId(7), Uuid::nil(), Duration::from_secs(900))
        .unwrap();
    let header = token.text.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

fn good_claims() -> Value {
    json!({
        "user_id": 7, "sub": "7", "sid": Uuid::nil(), "jti": Uuid::max(), "iss": "timingle",
        "aud": "timingle", "typ": "access", "exp": START + 900, "nbf": START, "iat": START,
    })
}

fn changed(mut base: Value, key: &str, value: Value) -> Value {
    base[key] = value;
    base
}

fn without(mut base: Value, key: &str) -> Value {
    base.as_object_mut().unwrap().remove(key);
    base
}

#[test]
fn what_was_minted_is_read_back() {
    let session = Uuid::new_v4();
    let tokens = tokens(SECRET);
    let token = tokens.mint(UserId(7), session, Duration::from_secs(900)).unwrap();
    let claims = tokens.verify(&token.text).unwrap();
    assert_eq!((claims.user, claims.session), (UserId(7), session));
    assert_eq!(claims.expires_at, Micros((START + 900) * 1_000_000));
    assert_eq!(claims.expires_at, token.expires_at);
    let again = tokens.mint(UserId(7), session, Duration::from_secs(900)).unwrap();
    assert_ne!(token.text, again.text, "two tokens of one second differ");
    assert!(!format!("{token:?}").contains(&token.text[..20]));
}

#[test]
fn the_table_of_hostile_tokens_starts_from_a_good_one() {
    assert!(
        tokens(SECRET)
            .verify(&sign(SECRET, &good_header(), &good_claims()))
            .is_ok()
    );
}

#[test]
fn expiry_is_exact_by_our_clock() {
    let (clock, hands) = clock();
    let tokens = AccessTokens::new(&SecretString::from(SECRET), clock);
    let token = tokens
        .mint(UserId(7), Uuid::nil(), Duration::from_secs(60))
        .unwrap();
    hands.store(START + 59, Ordering::SeqCst);
    assert!(tokens.verify(&token.text).is_ok());
    hands.store(START + 60, Ordering::SeqCst);
    assert_eq!(tokens.verify(&token.text), Err(TokenError::Expired));
    // A node whose clock is behind takes what another has just made, but not by days.
    hands.store(START - 86_400, Ordering::SeqCst);
    assert!(tokens.verify(&token.text).is_ok());
    hands.store(START - 86_401, Ordering::SeqCst);
    assert_eq!(tokens.verify(&token.text), Err(TokenError::Invalid));
}

#[test]
fn an_older_key_is_read_but_not_signed_with() {
    let old = tokens(OTHER)
        .mint(UserId(7), Uuid::nil(), Duration::from_secs(900))
        .unwrap();
    let (secret, other) = (SecretString::from(SECRET), SecretString::from(OTHER));
    assert_eq!(tokens(SECRET).verify(&old.text), Err(TokenError::Invalid));
    let both = AccessTokens::with_older(&secret, Some(&other), clock().0);
    assert!(both.verify(&old.text).is_ok());
    let new = both
        .mint(UserId(7), Uuid::nil(), Duration::from_secs(900))
        .unwrap();
    assert!(tokens(SECRET).verify(&new.text).is_ok());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_hostile_token_is_refused() {
    let header = good_header;
    let claims = good_claims;
    let good = sign(SECRET, &header(), &claims());
    let [head, body, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other_header: Value = {
        let token = tokens(OTHER)
            .mint(UserId(7), Uuid::nil(), Duration::from_secs(900))
            .unwrap();
        serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(token.text.split('.').next().unwrap())
                .unwrap(),
        )
        .unwrap()
    };
    let unsigned = |alg: &str| {
        let header = changed(header(), "alg", json!(alg));
        format!("{}.{body}.", encode(header.to_string()))
    };
    let with_header = |key: &str, value: Value| sign(SECRET, &changed(header(), key, value), &claims());
    let with_claim = |key: &str, value: Value| sign(SECRET, &header(), &changed(claims(), key, value));
    let doubled = {
        let text = claims().to_string().replacen('{', "{\"user_id\":8,", 1);
        let message = format!("{head}.{}", encode(text));
        format!("{message}.{}", encode(hmac_sha256(SECRET, &message)))
    };
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[31] ^= 1;

    let invalid = [
        ("alg none, no signature", unsigned("none")),
        ("alg None", unsigned("None")),
        (
            "alg NONE with the good signature",
            format!("{}{signature}", unsigned("NONE")),
        ),
        ("our alg without a signature", format!("{head}.{body}.")),
        ("RS256 header over our HMAC", with_header("alg", json!("RS256"))),
        ("ES256 header over our HMAC", with_header("alg", json!("ES256"))),
        ("PS256 header over our HMAC", with_header("alg", json!("PS256"))),
        ("EdDSA header over our HMAC", with_header("alg", json!("EdDSA"))),
        ("HS384 header over our HMAC", with_header("alg", json!("HS384"))),
        ("HS512 header over our HMAC", with_header("alg", json!("HS512"))),
        ("lower-case alg", with_header("alg", json!("hs256"))),
        ("no alg", sign(SECRET, &without(header(), "alg"), &claims())),
        ("no kid", sign(SECRET, &without(header(), "kid"), &claims())),
        ("unknown kid", with_header("kid", json!("0011223344556677"))),
        ("kid as a path", with_header("kid", json!("../../dev/null"))),
        ("kid as SQL", with_header("kid", json!("x' UNION SELECT 'key"))),
        (
            "kid of another key, our signature",
            with_header("kid", other_header["kid"].clone()),
        ),
        (
            "another key under its own kid",
            sign(OTHER, &other_header, &claims()),
        ),
        ("another key under our kid", sign(OTHER, &header(), &claims())),
        ("empty key", sign("", &header(), &claims())),
        ("jku", with_header("jku", json!("https://evil.example/keys"))),
        ("x5u", with_header("x5u", json!("https://evil.example/cert"))),
        ("x5c", with_header("x5c", json!(["MIIB"]))),
        (
            "jwk with its own key",
            with_header("jwk", json!({"kty": "oct", "k": encode("evil")})),
        ),
        ("crit", with_header("crit", json!(["b64"]))),
        ("unknown header member", with_header("b64", json!(false))),
        ("header typ JWT", with_header("typ", json!("JWT"))),
        (
            "header typ of a refresh token",
            with_header("typ", json!("rt+jwt")),
        ),
        (
            "no header typ",
            sign(SECRET, &without(header(), "typ"), &claims()),
        ),
        ("wrong aud", with_claim("aud", json!("timingle-admin"))),
        ("aud as a list", with_claim("aud", json!(["timingle", "x"]))),
        ("no aud", sign(SECRET, &header(), &without(claims(), "aud"))),
        ("wrong iss", with_claim("iss", json!("evil"))),
        ("no iss", sign(SECRET, &header(), &without(claims(), "iss"))),
        ("typ refresh", with_claim("typ", json!("refresh"))),
        ("no typ", sign(SECRET, &header(), &without(claims(), "typ"))),
        ("not yet valid", with_claim("nbf", json!(START + 1))),
        ("no nbf", sign(SECRET, &header(), &without(claims(), "nbf"))),
        ("no exp", sign(SECRET, &header(), &without(claims(), "exp"))),
        ("exp as a string", with_claim("exp", json!("9999999999"))),
        ("exp beyond 64 bits", with_claim("exp", json!(1e30))),
        ("no session", sign(SECRET, &header(), &without(claims(), "sid"))),
        ("session is no UUID", with_claim("sid", json!("1"))),
        ("sub of somebody else", with_claim("sub", json!("8"))),
        ("user_id of somebody else", with_claim("user_id", json!(8))),
        ("user_id as a string", with_claim("user_id", json!("7"))),
        (
            "user 0",
            sign(
                SECRET,
                &header(),
                &changed(changed(claims(), "user_id", json!(0)), "sub", json!("0")),
            ),
        ),
        ("user_id twice", doubled),
        (
            "claims changed after signing",
            format!(
                "{head}.{}.{signature}",
                encode(changed(claims(), "user_id", json!(8)).to_string())
            ),
        ),
        (
            "signature with a bit flipped",
            format!("{head}.{body}.{}", encode(flipped)),
        ),
        ("signature cut short", good[..good.len() - 4].to_owned()),
        ("no signature part", format!("{head}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("padding", format!("{good}=")),
        ("newline behind", format!("{good}\n")),
        ("space before", format!(" {good}")),
        ("empty", String::new()),
        ("two dots", "..".to_owned()),
        ("a refresh token", encode([7; 32])),
        ("no base64", "a!.b!.c!".to_owned()),
        ("not ASCII", "토큰.토큰.토큰".to_owned()),
        ("not ASCII in the signature", format!("{head}.{body}.é")),
        ("NUL", format!("{good}\0")),
        ("claims are no object", sign(SECRET, &header(), &json!([1, 2]))),
        ("header is no object", sign(SECRET, &json!("x"), &claims())),
        ("huge", with_claim("pad", json!("x".repeat(1 << 20)))),
        ("huge rubbish", "a".repeat(1 << 20)),
        (
            "deep nesting",
            format!("{}.{body}.{signature}", encode("[".repeat(1_400))),
        ),
        (
            "invalid and expired",
            sign(OTHER, &header(), &changed(claims(), "exp", json!(1))),
        ),
    ];
    for (what, token) in &invalid {
        let error = tokens(SECRET).verify(token).expect_err(what);
        assert_eq!(error.code(), ErrorCode::AuthTokenInvalid, "{what}");
    }
    for (what, exp) in [
        ("a second ago", START - 1),
        ("now", START),
        ("1970", 0),
        ("before", -1),
        ("long ago", i64::MIN),
    ] {
        let error = tokens(SECRET)
            .verify(&with_claim("exp", json!(exp)))
            .expect_err(what);
        assert_eq!(error.code(), ErrorCode::AuthTokenExpired, "{what}");
    }
}

#[test]
fn keyed_hash_is_hmac_and_separates_its_parts() {
    let key = [9; 32];
    let by_hand = {
        use hmac::Mac;
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(&[0, 0, 0, 0, 0, 0, 0, 2]);
        mac.update(b"ab");
        mac.finalize().into_bytes().to_vec()
    };
    assert_eq!(keyed_hash(&key, &[b"ab"]).to_vec(), by_hand);
    assert_ne!(keyed_hash(&key, &[b"ab", b"c"]), keyed_hash(&key, &[b"a", b"bc"]));
    let secret = SecretString::from(SECRET);
    assert_ne!(derived_key(&secret, "one"), derived_key(&secret, "two"));
}
