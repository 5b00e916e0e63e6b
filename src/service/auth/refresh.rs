//! Another access token for a refresh token.
//!
//! Existing clients keep the refresh token they got first: for them it stays as it is. A
//! client that asks for rotation gets a successor with each use. Whoever shows a token that
//! was replaced some time ago shows that two have it, and nobody can tell who of them stole
//! it: the session ends for both (RFC 9700 section 4.14.2).
//!
//! A successor is made out of the token before it with a key of the server's, so that two
//! honest refreshes at the same moment get the same one although only hashes are stored.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use super::{
    Auth, AuthenticateError, SignedIn, Tokens,
    session::before_grace,
    sign_in::{long_expired, refresh_token_hash},
};
use crate::{
    adapters::sql::{
        Conn,
        sessions::{self, TokenState},
    },
    domain::{time::Micros, user::User},
    service::token::{TokenError, keyed_hash},
};

/// The longest refresh token that is looked at, in bytes; ours have 43.
const MAX_REFRESH_BYTES: usize = 128;

/// What became of a refresh token that was shown.
enum Shown {
    /// It counts; the one to show from now on.
    Counts(String),
    /// It was replaced before: somebody else has it too.
    Reused,
}

impl Auth {
    /// Gives another access token for a refresh token.
    ///
    /// The refresh token stays as it is and counts for the whole of its life anew. With
    /// `rotate` a successor takes its place, and it itself counts for `auth.rotation_grace`
    /// more, in which everyone who shows it gets that same successor.
    ///
    /// # Errors
    /// [`AuthenticateError::Token`]: unknown, expired, replaced, or its session was revoked.
    #[tracing::instrument(name = "refresh", skip_all)]
    pub async fn refresh(
        &self,
        refresh_token: &str,
        rotate: bool,
        addr: IpAddr,
    ) -> Result<SignedIn, AuthenticateError> {
        self.limit_refreshes(addr).await?;
        if refresh_token.len() > MAX_REFRESH_BYTES {
            return Err(TokenError::Invalid.into());
        }
        let hash = refresh_token_hash(refresh_token);
        let now = self.now();
        let (user, token, shown) = self
            .0
            .parts
            .sql
            .write(async |conn| {
                let token = sessions::by_token(conn, &hash)
                    .await?
                    .ok_or(TokenError::Invalid)?;
                let user: User = token.state.user.clone();
                if token.state.revoked_at.is_some() || !user.is_active() {
                    return Err(TokenError::Invalid.into());
                }
                let shown = self
                    .look_at(conn, refresh_token, &hash, &token, rotate, now)
                    .await?;
                if rotate {
                    sessions::forget_expired(conn, user.id, long_expired(now)).await?;
                }
                Ok::<_, AuthenticateError>((user, token, shown))
            })
            .await?;
        let Shown::Counts(refresh) = shown else {
            self.end_of_family(token.session);
            return Err(TokenError::Invalid.into());
        };
        let usual = self.0.config.access_expiry;
        let life = token.access_life.map_or(usual, |life| life.max(usual));
        let access = self.0.tokens.mint(user.id, token.session, life)?;
        Ok(SignedIn {
            user,
            session: token.session,
            is_new: false,
            tokens: Tokens::new(access, refresh, life),
        })
    }

    async fn look_at(
        &self,
        conn: &mut Conn,
        shown: &str,
        hash: &[u8; 32],
        token: &TokenState,
        rotate: bool,
        now: Micros,
    ) -> Result<Shown, AuthenticateError> {
        if let Some((successor_hash, replaced_at)) = &token.replaced {
            let successor = self
                .successors(shown)
                .find(|successor| refresh_token_hash(successor).as_slice() == successor_hash.as_slice());
            return match successor {
                Some(successor) if now < replaced_at.plus(self.0.config.rotation_grace) => {
                    sessions::touch(conn, token.session, now).await?;
                    Ok(Shown::Counts(successor))
                }
                _ => {
                    // Dated back: whoever stole it has no last requests to make.
                    sessions::revoke(conn, token.session, before_grace(now)).await?;
                    Ok(Shown::Reused)
                }
            };
        }
        if token.expires_at <= now {
            return Err(TokenError::Expired.into());
        }
        let expires_at = now.plus(self.0.config.refresh_expiry);
        if !rotate {
            sessions::slide(conn, hash, token.session, expires_at, now).await?;
            return Ok(Shown::Counts(shown.to_owned()));
        }
        let successor = self.successors(shown).next().ok_or(TokenError::Invalid)?;
        let successor_hash = refresh_token_hash(&successor);
        sessions::replace(conn, hash, &successor_hash, token.session, expires_at, now).await?;
        Ok(Shown::Counts(successor))
    }

    /// What follows on `token`, by each key; new ones are made with the first.
    fn successors<'a>(&'a self, token: &'a str) -> impl Iterator<Item = String> + 'a {
        self.0
            .successor_keys
            .iter()
            .map(|key| URL_SAFE_NO_PAD.encode(keyed_hash(key, &[token.as_bytes()])))
    }

    fn end_of_family(&self, session: Uuid) {
        tracing::warn!(session.id = %session, "a replaced refresh token was used again; its session is over");
        (self.0.parts.on_revoked)(session);
    }
}
