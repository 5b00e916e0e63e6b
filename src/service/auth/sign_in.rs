//! A number becomes a session with its two tokens.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Auth, Caller, SignInError, SignedIn, Tokens};
use crate::{
    adapters::sql::{Conn, sessions, users},
    config::Proof,
    domain::{
        phone::Phone,
        time::Micros,
        user::{User, UserName},
    },
};

/// What is kept of a client's own name, in characters.
const CLIENT_CHARS: usize = 200;
/// How long an expired refresh token is kept, so that its bearer is told "expired"
/// and not "unknown".
const EXPIRED_KEPT: i64 = 30 * 24 * 3_600 * 1_000_000;

impl Auth {
    /// Signs in whoever names a number, without proof; a number that is new becomes a
    /// user. A known one keeps its name. Only with `auth.proof = "none"`.
    ///
    /// # Errors
    /// See [`SignInError`].
    #[tracing::instrument(name = "register", skip_all)]
    pub async fn register(
        &self,
        phone: &str,
        name: Option<&str>,
        caller: &Caller,
    ) -> Result<SignedIn, SignInError> {
        let phone = self.unproven(phone, caller).await?;
        let name = name.map(UserName::parse).transpose()?;
        let life = Some(self.0.config.v1_access_expiry);
        self.sign_up_or_in(&phone, name, caller, life).await
    }

    /// Signs in whoever names a number that a user has, without proof. Only with
    /// `auth.proof = "none"`.
    ///
    /// # Errors
    /// See [`SignInError`].
    #[tracing::instrument(name = "login", skip_all)]
    pub async fn login(&self, phone: &str, caller: &Caller) -> Result<SignedIn, SignInError> {
        let phone = self.unproven(phone, caller).await?;
        let life = Some(self.0.config.v1_access_expiry);
        let signed_in = self
            .0
            .parts
            .sql
            .write(async |conn| {
                let user = users::by_phone(conn, &phone)
                    .await?
                    .ok_or(SignInError::UnknownNumber)?;
                self.begin_session(conn, user, false, caller, life).await
            })
            .await?;
        Ok(welcomed(signed_in))
    }

    async fn unproven(&self, phone: &str, caller: &Caller) -> Result<Phone, SignInError> {
        match self.0.config.proof {
            Proof::Code => return Err(SignInError::ProofRequired),
            Proof::None => {}
        }
        self.limit_sign_ins(caller.addr).await?;
        Ok(Phone::parse(phone, &self.0.config.default_region)?)
    }

    /// The user of `phone`, made if there is none, in a new session whose access tokens
    /// live for `life`, by default for as long as the configuration says.
    pub(super) async fn sign_up_or_in(
        &self,
        phone: &Phone,
        name: Option<UserName>,
        caller: &Caller,
        life: Option<Duration>,
    ) -> Result<SignedIn, SignInError> {
        let name = name.unwrap_or_else(|| UserName::from_phone(phone));
        let new = users::NewUser {
            phone,
            name: &name,
            language: caller.language.unwrap_or_default().as_str(),
            at: self.now(),
        };
        let signed_in = self
            .0
            .parts
            .sql
            .write(async |conn| {
                if let Some(user) = users::by_phone(conn, phone).await? {
                    return self.begin_session(conn, user, false, caller, life).await;
                }
                if let Some(user) = users::insert(conn, new).await? {
                    return self.begin_session(conn, user, true, caller, life).await;
                }
                // Somebody else signed up with this number between the two statements.
                let user = users::by_phone(conn, phone)
                    .await?
                    .ok_or(SignInError::UnknownNumber)?;
                self.begin_session(conn, user, false, caller, life).await
            })
            .await?;
        Ok(welcomed(signed_in))
    }

    async fn begin_session(
        &self,
        conn: &mut Conn,
        user: User,
        is_new: bool,
        caller: &Caller,
        life: Option<Duration>,
    ) -> Result<SignedIn, SignInError> {
        // A code that never changes and that others know must open nothing but a plain account.
        let is_unsafe = user.role.is_admin() && self.0.review.is_some() && self.0.review == user.phone;
        if !user.is_active() || is_unsafe {
            return Err(SignInError::NotActive);
        }
        let now = self.now();
        let session = Uuid::new_v4();
        let refresh = new_refresh_token();
        let client: Option<String> = caller.client.as_deref().map(|client| {
            client
                .chars()
                .filter(|c| !c.is_control())
                .take(CLIENT_CHARS)
                .collect()
        });
        let new = sessions::NewSession {
            id: session,
            user: user.id,
            client: client.as_deref(),
            token_hash: &refresh_token_hash(&refresh),
            token_expires_at: now.plus(self.0.config.refresh_expiry),
            access_life: life,
            at: now,
        };
        sessions::insert(conn, new).await?;
        sessions::forget_expired(conn, user.id, long_expired(now)).await?;
        let life = life.unwrap_or(self.0.config.access_expiry);
        let access = self.0.tokens.mint(user.id, session, life)?;
        Ok(SignedIn {
            user,
            session,
            is_new,
            tokens: Tokens::new(access, refresh, life),
        })
    }
}

/// Said once it is so: what begins a session may run more than once.
fn welcomed(signed_in: SignedIn) -> SignedIn {
    let SignedIn {
        user: User { id, .. },
        session,
        is_new,
        ..
    } = &signed_in;
    tracing::info!(user.id = id.0, session.id = %session, is_new, "user {id} signed in");
    signed_in
}

/// Before when a refresh token must have expired to be forgotten at `now`.
pub(super) fn long_expired(now: Micros) -> Micros {
    Micros(now.0.saturating_sub(EXPIRED_KEPT))
}

/// 256 random bits.
fn new_refresh_token() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is kept of a refresh token.
pub(super) fn refresh_token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}
