//! Signing in, staying signed in, signing out.
//!
//! - `codes`: a one-time code proves a phone number ([`Auth::send_code`], [`Auth::verify_code`]).
//! - `sign_in`: a proven number becomes a session with its two tokens; also the ways
//!   without proof, for development ([`Auth::register`], [`Auth::login`]).
//! - `session`: what a token is worth afterwards ([`Auth::authenticate`],
//!   [`Auth::logout`], [`Auth::revoked`]), and which sessions one has ([`Auth::sign_ins`]).
//! - `refresh`: another access token for a refresh token ([`Auth::refresh`]).
//!
//! Nothing that is stored can be used by who reads it: codes are kept as keyed
//! hashes, refresh tokens as hashes, access tokens not at all.

mod codes;
mod error;
mod refresh;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use super::token::{AccessToken, AccessTokens, derived_key, keyed_hash};
use crate::{
    adapters::sql::Sql,
    config,
    domain::{
        id::UserId,
        phone::Phone,
        time::{Clock, Micros},
        user::User,
    },
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::{CodeSender, Counters, Left, OneTimeCodes, RateLimited},
};

pub use self::error::{AuthenticateError, EndSignInError, RequestCodeError, SignInError};
pub use crate::adapters::sql::sessions::SignInRow;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// How many refreshes an address may make for each sign-in that it may make.
const REFRESHES_PER_SIGN_IN: u32 = 10;

/// Is told the id of a session the moment that it is revoked on this node, so that its
/// live sockets close at once. Must neither block nor panic.
pub type OnRevoked = Arc<dyn Fn(Uuid) + Send + Sync>;

/// Sign-in. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    config: config::Auth,
    limits: Limits,
    tokens: AccessTokens,
    code_key: [u8; 32],
    counter_key: [u8; 32],
    /// Make successors of refresh tokens: with the key that signs, and with the one before it.
    successor_keys: Vec<[u8; 32]>,
    /// Whose code is fixed.
    review: Option<Phone>,
    parts: AuthParts,
}

struct Limits {
    codes_per_number: u32,
    codes_per_address: u32,
    sign_ins_per_address: u32,
    requests_per_user: u32,
    invite_lookups_per_address: u32,
}

/// What sign-in stands on.
#[derive(Clone)]
pub struct AuthParts {
    /// Users, sessions, refresh tokens.
    pub sql: Sql,
    /// One-time codes on their way.
    pub codes: Arc<dyn OneTimeCodes>,
    /// Counts per number and address.
    pub counters: Arc<dyn Counters>,
    /// Brings codes to people.
    pub sender: Arc<dyn CodeSender>,
    /// Hears of revoked sessions.
    pub on_revoked: OnRevoked,
    /// What time it is.
    pub clock: Clock,
}

/// Who asks, as far as that is known before they are signed in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// From where; behind a trusted proxy, whom that one names.
    pub addr: IpAddr,
    /// The language that they ask for, if they do; a new user's setting.
    pub language: Option<Language>,
    /// What their client calls itself (`User-Agent`); kept cut to 200 characters.
    pub client: Option<String>,
}

/// A one-time code is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeSent {
    /// To be given back with the code.
    pub verification_id: Uuid,
    /// From when on the code counts no more.
    pub expires_at: Micros,
}

/// Somebody is signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// In which session.
    pub session: Uuid,
    /// Whether the account came to be by this.
    pub is_new: bool,
    /// What to show from now on.
    pub tokens: Tokens,
}

/// The tokens of a session. Secrets: `Debug` does not show them.
#[derive(Clone)]
pub struct Tokens {
    /// To be shown with each request.
    pub access: String,
    /// To get another access token with, again and again.
    pub refresh: String,
    /// How long the access token counts, in whole seconds.
    pub expires_in: Duration,
    /// From when on the access token counts no more.
    pub expires_at: Micros,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens(until {})", self.expires_at)
    }
}

impl Tokens {
    fn new(access: AccessToken, refresh: String, life: Duration) -> Self {
        Self {
            access: access.text,
            refresh,
            expires_in: Duration::from_secs(life.as_secs()),
            expires_at: access.expires_at,
        }
    }
}

/// The bearer of an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who, as the store knows them now.
    pub user: User,
    /// In which session.
    pub session: Uuid,
    /// From when on the token counts no more.
    pub token_expires_at: Micros,
}

/// What is left of a user's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestsLeft {
    /// How many there are per minute.
    pub limit: u32,
    /// How many can be made at once now.
    pub remaining: u32,
    /// When all of them can, without another request until then.
    pub full_at: Micros,
}

/// A user made more requests than one may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the user makes too many requests")]
pub struct RequestsUsedUp {
    /// What is left: none.
    pub left: RequestsLeft,
    /// When the next one may be made.
    #[source]
    pub limited: RateLimited,
}

impl Coded for RequestsUsedUp {
    fn code(&self) -> ErrorCode {
        self.limited.code()
    }

    fn retry_after_ms(&self) -> Option<u64> {
        self.limited.retry_after_ms()
    }
}

impl Auth {
    /// Sign-in by the rules of `config` and `limits`; `config.jwt_secret` is the key
    /// from which every other one is made.
    pub fn new(config: config::Auth, limits: &config::Limits, parts: AuthParts) -> Self {
        let secret: &SecretString = &config.jwt_secret;
        let older = Some(&config.jwt_previous_secret).filter(|older| !older.expose_secret().is_empty());
        let review = Some(&config.review_phone)
            .filter(|phone| !phone.is_empty() && !config.review_code.expose_secret().is_empty())
            .and_then(|phone| Phone::parse(phone, &config.default_region).ok());
        Self(Arc::new(Inner {
            tokens: AccessTokens::with_older(secret, older, parts.clock.clone()),
            successor_keys: [Some(secret), older]
                .into_iter()
                .flatten()
                .map(|secret| derived_key(secret, "successors of refresh tokens"))
                .collect(),
            review,
            code_key: derived_key(secret, "one-time codes"),
            counter_key: derived_key(secret, "counters"),
            limits: Limits {
                codes_per_number: limits.codes_per_number,
                codes_per_address: limits.codes_per_address,
                sign_ins_per_address: limits.sign_ins_per_address,
                requests_per_user: limits.requests_per_user,
                invite_lookups_per_address: limits.invite_lookups_per_address,
            },
            config,
            parts,
        }))
    }

    /// Whether there is a number whose code is fixed: a door for those who review the app.
    pub fn has_review_account(&self) -> bool {
        self.0.review.is_some()
    }

    /// Takes one request from the allowance of `user`, which is so many per minute.
    ///
    /// # Errors
    /// It is used up.
    pub async fn count_request(&self, user: UserId) -> Result<RequestsLeft, RequestsUsedUp> {
        let limit = self.0.limits.requests_per_user;
        let key = format!("requests/{user}");
        let taken = self.0.parts.counters.take(&key, limit, MINUTE).await;
        let now = self.now();
        // It refills evenly: one comes back every so often.
        let each = MINUTE / limit.max(1);
        match taken {
            Ok(Left(remaining)) => Ok(RequestsLeft {
                limit,
                remaining,
                full_at: now.plus(each.saturating_mul(limit.saturating_sub(remaining))),
            }),
            Err(limited) => Err(RequestsUsedUp {
                left: RequestsLeft {
                    limit,
                    remaining: 0,
                    full_at: now.plus(MINUTE),
                },
                limited,
            }),
        }
    }

    fn now(&self) -> Micros {
        self.0.parts.clock.now()
    }

    /// Takes one from an allowance. The key of the counter is hashed: whoever reads the
    /// counters learns no number and no address.
    async fn limit(&self, what: &str, who: &str, limit: u32, window: Duration) -> Result<(), RateLimited> {
        let who = keyed_hash(&self.0.counter_key, &[who.as_bytes()]);
        let key = format!("{what}/{}", hex::encode(who));
        self.0.parts.counters.take(&key, limit, window).await.map(drop)
    }

    /// Takes one look at an invite link without sign-in from the allowance of `addr`.
    ///
    /// # Errors
    /// It is used up.
    pub async fn count_invite_lookup(&self, addr: IpAddr) -> Result<(), RateLimited> {
        let limit = self.0.limits.invite_lookups_per_address;
        self.limit("invite/address", &network(addr), limit, MINUTE).await
    }

    /// Refreshes have an allowance of their own: nobody guesses such a token, and behind one
    /// address of a carrier are many honest clients.
    async fn limit_refreshes(&self, addr: IpAddr) -> Result<(), RateLimited> {
        let limit = self
            .0
            .limits
            .sign_ins_per_address
            .saturating_mul(REFRESHES_PER_SIGN_IN);
        self.limit("refresh/address", &network(addr), limit, MINUTE).await
    }

    /// Every sign-in request passes here first.
    async fn limit_sign_ins(&self, addr: IpAddr) -> Result<(), RateLimited> {
        let limit = self.0.limits.sign_ins_per_address;
        self.limit("sign-in/address", &network(addr), limit, MINUTE).await
    }
}

/// What counts as one address: of IPv6 the /64, all of which one household has.
fn network(addr: IpAddr) -> String {
    match addr.to_canonical() {
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}
