//! Access tokens: what is in one, and the strict reading of it.
//!
//! A token is proof only together with its session: [`super::auth::Auth::authenticate`]
//! asks the store whether that one still stands.

use std::{sync::Arc, time::Duration};

use hmac::{Hmac, Mac, digest::KeyInit};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    domain::{
        id::UserId,
        time::{Clock, Micros},
    },
    error::{Coded, ErrorCode},
};

/// Who makes the tokens.
const ISSUER: &str = "timingle";
/// For whom they are made.
const AUDIENCE: &str = "timingle";
/// The claim that tells an access token from whatever else this key may sign one day.
const TYPE: &str = "access";
/// The same in the header, as RFC 9068 names it.
const HEADER_TYPE: &str = "at+jwt";
/// The longest token that is looked at, in bytes; ours have about 500.
const MAX_BYTES: usize = 2_048;
/// A token counts from this long before it was made: a node whose clock is behind takes
/// it too, and a clock that is set back by some hours signs nobody out. No token is ever
/// made for later, so this gives nothing away.
const NOT_BEFORE: Duration = Duration::from_secs(24 * 3_600);
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Makes and reads access tokens: JSON web tokens, HMAC-SHA-256. Cheap to clone.
#[derive(Clone)]
pub struct AccessTokens(Arc<Inner>);

struct Inner {
    key: Key,
    older: Option<Key>,
    clock: Clock,
}

struct Key {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Key {
    fn new(secret: &SecretString) -> Self {
        let secret = secret.expose_secret().as_bytes();
        // The name tells keys apart and nothing about the secret.
        let digest = Sha256::new_with_prefix(b"timingle.kid.v1")
            .chain_update(secret)
            .finalize();
        let mut header = Header::new(Algorithm::HS256);
        header.typ = Some(HEADER_TYPE.to_owned());
        header.kid = digest.get(..8).map(hex::encode);
        Self {
            header,
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }
}

/// What a token says of its bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessClaims {
    /// Who.
    pub user: UserId,
    /// In which signed-in session.
    pub session: Uuid,
    /// From when on the token counts no more; whole seconds.
    pub expires_at: Micros,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    user_id: i64,
    sub: String,
    sid: Uuid,
    jti: Uuid,
    iss: String,
    aud: String,
    typ: String,
    exp: i64,
    nbf: i64,
    iat: i64,
}

/// A new token.
#[derive(Clone)]
pub struct AccessToken {
    /// The token itself: a secret.
    pub text: String,
    /// From when on it counts no more; whole seconds.
    pub expires_at: Micros,
}

impl std::fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AccessToken(until {})", self.expires_at)
    }
}

impl AccessTokens {
    /// Signs and reads with `secret`, which has at least 32 bytes (the configuration sees to it).
    pub fn new(secret: &SecretString, clock: Clock) -> Self {
        Self::with_older(secret, None, clock)
    }

    /// As [`AccessTokens::new`]; also reads what was signed with `older`, for as long
    /// as tokens of a key that was replaced are about.
    pub fn with_older(secret: &SecretString, older: Option<&SecretString>, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            key: Key::new(secret),
            older: older.map(Key::new),
            clock,
        }))
    }

    /// Makes a token for `user` in `session` that lives for `life` (whole seconds, rounded down).
    ///
    /// # Errors
    /// The claims could not be signed: a fault on our side.
    pub fn mint(&self, user: UserId, session: Uuid, life: Duration) -> Result<AccessToken, MintError> {
        let now = self.0.clock.now().0.div_euclid(MICROS_PER_SECOND);
        let exp = now.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let claims = Claims {
            user_id: user.0,
            sub: user.to_string(),
            sid: session,
            jti: Uuid::new_v4(),
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            typ: TYPE.to_owned(),
            exp,
            nbf: now.saturating_sub(NOT_BEFORE.as_secs().cast_signed()),
            iat: now,
        };
        let key = &self.0.key;
        Ok(AccessToken {
            text: jsonwebtoken::encode(&key.header, &claims, &key.encoding)?,
            expires_at: Micros(exp.saturating_mul(MICROS_PER_SECOND)),
        })
    }

    /// Reads a token that anybody may have sent.
    ///
    /// # Errors
    /// [`TokenError::Expired`]: ours in every respect, but its time is over.
    /// [`TokenError::Invalid`]: anything else.
    pub fn verify(&self, token: &str) -> Result<AccessClaims, TokenError> {
        if token.len() > MAX_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // The whole header has to be the one we write: this leaves no room for another
        // algorithm, a key that the token brings along (jwk, jku, x5u) or `crit`.
        let key = [Some(&self.0.key), self.0.older.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.header == header)
            .ok_or(TokenError::Invalid)?;
        let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &signature_only())
            .map_err(|_| TokenError::Invalid)?;
        self.judge(&data.claims)
    }

    fn judge(&self, claims: &Claims) -> Result<AccessClaims, TokenError> {
        let user = UserId(claims.user_id);
        let ours = claims.iss == ISSUER
            && claims.aud == AUDIENCE
            && claims.typ == TYPE
            && claims.user_id > 0
            && claims.sub == user.to_string();
        let now = self.0.clock.now();
        let at = |seconds: i64| Micros(seconds.saturating_mul(MICROS_PER_SECOND));
        if !ours || at(claims.nbf) > now {
            return Err(TokenError::Invalid);
        }
        if at(claims.exp) <= now {
            return Err(TokenError::Expired);
        }
        Ok(AccessClaims {
            user,
            session: claims.sid,
            expires_at: at(claims.exp),
        })
    }
}

/// The library checks the signature and nothing else: it would read the machine's
/// clock, and lets a claim pass that is not there.
fn signature_only() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

/// A key for one more purpose, made from the same secret and of no use for any other.
pub(super) fn derived_key(secret: &SecretString, purpose: &str) -> [u8; 32] {
    let root = Sha256::digest(secret.expose_secret().as_bytes()).into();
    keyed_hash(&root, &[b"timingle.key.v1", purpose.as_bytes()])
}

/// HMAC-SHA-256 over `parts`, each preceded by its length.
pub(super) fn keyed_hash(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC fills a short key up to its block of 64 bytes with zeros; doing that here
    // leaves nothing that could fail.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the access token could not be signed")]
pub struct MintError(#[from] jsonwebtoken::errors::Error);

impl Coded for MintError {
    fn code(&self) -> ErrorCode {
        ErrorCode::InternalError
    }
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Not ours, damaged, or its session does not stand any more.
    #[error("the token is not valid")]
    Invalid,
}

impl Coded for TokenError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Expired => ErrorCode::AuthTokenExpired,
            Self::Invalid => ErrorCode::AuthTokenInvalid,
        }
    }
}

#[cfg(test)]
mod tests;
