//! What a token is worth after it was given.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use diesel_async::AsyncConnection;
use uuid::Uuid;

use super::{Auth, AuthenticateError, Identity, SignedIn, Tokens, sign_in::refresh_token_hash};
use crate::{
    adapters::sql::{
        SqlError,
        sessions::{self, SessionState},
    },
    domain::time::Micros,
    service::token::TokenError,
};

/// How long an access token goes on counting for requests after its session was
/// revoked. Existing clients of version 1 make a few more requests after they signed
/// out. Refresh tokens and sockets end at once.
const LOGOUT_GRACE: Duration = Duration::from_secs(60);
/// The longest refresh token that is looked at, in bytes; ours have 43.
const MAX_REFRESH_BYTES: usize = 128;

impl Auth {
    /// Who bears this access token of a request.
    ///
    /// Of a session that was revoked it is taken for another 60 s.
    ///
    /// # Errors
    /// [`AuthenticateError::Token`] if it proves nothing; else the store is away.
    pub async fn authenticate(&self, access_token: &str) -> Result<Identity, AuthenticateError> {
        let grace = |revoked_at: Micros, now| now < revoked_at.plus(LOGOUT_GRACE);
        self.identify(access_token, grace).await
    }

    /// Who bears this access token of a socket that opens or renews: as
    /// [`Auth::authenticate`], but a revoked session ends at once.
    ///
    /// # Errors
    /// As [`Auth::authenticate`].
    pub async fn authenticate_socket(&self, access_token: &str) -> Result<Identity, AuthenticateError> {
        self.identify(access_token, |_, _| false).await
    }

    async fn identify(
        &self,
        access_token: &str,
        still_counts: impl FnOnce(Micros, Micros) -> bool + Send,
    ) -> Result<Identity, AuthenticateError> {
        let claims = self.0.tokens.verify(access_token)?;
        let mut conn = self.0.parts.sql.get().await?;
        let SessionState { revoked_at, user } = sessions::by_id(&mut conn, claims.session)
            .await?
            .ok_or(TokenError::Invalid)?;
        let revoked = revoked_at.is_some_and(|revoked_at| !still_counts(revoked_at, self.now()));
        if revoked || user.id != claims.user || !user.is_active() {
            return Err(TokenError::Invalid.into());
        }
        Ok(Identity {
            user,
            session: claims.session,
            token_expires_at: claims.expires_at,
        })
    }

    /// Gives another access token for a refresh token, which stays as it is and counts
    /// for the whole of its life anew: existing clients keep only the first one.
    ///
    /// # Errors
    /// [`AuthenticateError::Token`]: unknown, expired, or its session was revoked.
    #[tracing::instrument(name = "refresh", skip_all)]
    pub async fn refresh(&self, refresh_token: &str, addr: IpAddr) -> Result<SignedIn, AuthenticateError> {
        self.limit_sign_ins(addr).await?;
        if refresh_token.len() > MAX_REFRESH_BYTES {
            return Err(TokenError::Invalid.into());
        }
        let hash = refresh_token_hash(refresh_token);
        let now = self.now();
        let mut conn = self.0.parts.sql.get().await?;
        let (user, session) = conn
            .transaction(async |conn| {
                let token = sessions::by_token(conn, &hash)
                    .await?
                    .ok_or(TokenError::Invalid)?;
                let SessionState { revoked_at, user } = token.state;
                if revoked_at.is_some() || !user.is_active() {
                    return Err(TokenError::Invalid.into());
                }
                if token.expires_at <= now {
                    return Err(TokenError::Expired.into());
                }
                let expires_at = now.plus(self.0.config.refresh_expiry);
                sessions::slide(conn, &hash, token.session, expires_at, now).await?;
                Ok::<_, AuthenticateError>((user, token.session))
            })
            .await?;
        let life = self.0.config.access_expiry;
        let access = self.0.tokens.mint(user.id, session, life)?;
        Ok(SignedIn {
            user,
            session,
            is_new: false,
            tokens: Tokens::new(access, refresh_token.to_owned(), life),
        })
    }

    /// Ends the session that `identity` stands in: its refresh tokens and its sockets at
    /// once, its access tokens after 60 s. Other sessions of the user go on. Repeating
    /// it changes nothing.
    ///
    /// # Errors
    /// The store does not answer: the session stands.
    #[tracing::instrument(name = "logout", skip_all, fields(session.id = %identity.session))]
    pub async fn logout(&self, identity: &Identity) -> Result<(), SqlError> {
        let mut conn = self.0.parts.sql.get().await?;
        let ended = sessions::revoke(&mut conn, identity.session, self.now()).await?;
        drop(conn);
        if ended {
            tracing::info!(
                user.id = identity.user.id.0,
                "user {} signed out",
                identity.user.id
            );
            (self.0.parts.on_revoked)(identity.session);
        }
        Ok(())
    }

    /// Of `sessions` those that stand no more: revoked, unknown, or of a user who may
    /// not use the service. Live sockets are held against this now and then, which
    /// covers revocations by another node and suspended users.
    ///
    /// # Errors
    /// The store does not answer: nothing is known, and nobody is to be closed.
    pub async fn revoked(&self, sessions: &[Uuid]) -> Result<Vec<Uuid>, SqlError> {
        if sessions.is_empty() {
            return Ok(Vec::new());
        }
        let mut conn = self.0.parts.sql.get().await?;
        let standing: HashSet<Uuid> = sessions::standing(&mut conn, sessions)
            .await?
            .into_iter()
            .collect();
        Ok(sessions
            .iter()
            .filter(|session| !standing.contains(session))
            .copied()
            .collect())
    }
}
