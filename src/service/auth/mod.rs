//! Signing in, staying signed in, signing out.
//!
//! - `codes`: a one-time code proves a phone number ([`Auth::send_code`], [`Auth::verify_code`]).
//! - `sign_in`: a proven number becomes a session with its two tokens; also the ways
//!   without proof, for development ([`Auth::register`], [`Auth::login`]).
//! - `session`: what a token is worth afterwards ([`Auth::authenticate`],
//!   [`Auth::refresh`], [`Auth::logout`], [`Auth::revoked`]).
//!
//! Nothing that is stored can be used by who reads it: codes are kept as keyed
//! hashes, refresh tokens as hashes, access tokens not at all.

mod codes;
mod error;
mod session;
mod sign_in;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc, time::Duration};

use secrecy::SecretString;
use uuid::Uuid;

use super::token::{AccessToken, AccessTokens, derived_key, keyed_hash};
use crate::{
    adapters::sql::Sql,
    config,
    domain::{
        time::{Clock, Micros},
        user::User,
    },
    i18n::Language,
    ports::{CodeSender, Counters, OneTimeCodes, RateLimited},
};

pub use self::error::{AuthenticateError, RequestCodeError, SignInError};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

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
    parts: AuthParts,
}

struct Limits {
    codes_per_number: u32,
    codes_per_address: u32,
    sign_ins_per_address: u32,
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
    /// In which language they read; a new user's setting.
    pub language: Language,
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

impl Auth {
    /// Sign-in by the rules of `config` and `limits`; `config.jwt_secret` is the key
    /// from which every other one is made.
    pub fn new(config: config::Auth, limits: &config::Limits, parts: AuthParts) -> Self {
        let secret: &SecretString = &config.jwt_secret;
        Self(Arc::new(Inner {
            tokens: AccessTokens::new(secret, parts.clock.clone()),
            code_key: derived_key(secret, "one-time codes"),
            counter_key: derived_key(secret, "counters"),
            limits: Limits {
                codes_per_number: limits.codes_per_number,
                codes_per_address: limits.codes_per_address,
                sign_ins_per_address: limits.sign_ins_per_address,
            },
            config,
            parts,
        }))
    }

    fn now(&self) -> Micros {
        self.0.parts.clock.now()
    }

    /// Takes one from an allowance. The key of the counter is hashed: whoever reads the
    /// counters learns no number and no address.
    async fn limit(&self, what: &str, who: &str, limit: u32, window: Duration) -> Result<(), RateLimited> {
        let who = keyed_hash(&self.0.counter_key, &[who.as_bytes()]);
        let key = format!("{what}/{}", hex::encode(who));
        self.0.parts.counters.take(&key, limit, window).await
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
