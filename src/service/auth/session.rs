//! What a token is worth after it was given.

use std::{collections::HashSet, time::Duration};

use uuid::Uuid;

use super::{Auth, AuthenticateError, EndSignInError, Identity, SignInRow};
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

/// When a session must have been revoked so that at `now` it has no grace left.
pub(super) fn before_grace(now: Micros) -> Micros {
    let grace = i64::try_from(LOGOUT_GRACE.as_micros()).unwrap_or(i64::MAX);
    Micros(now.0.saturating_sub(grace))
}

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

    /// The sessions in which `identity`'s user is signed in, the last used first; at most 100.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sign_ins(&self, identity: &Identity) -> Result<Vec<SignInRow>, SqlError> {
        let mut conn = self.0.parts.sql.get().await?;
        sessions::of_user(&mut conn, identity.user.id).await
    }

    /// Ends one of the sessions of `identity`'s user, from afar: its refresh tokens and its
    /// sockets at once, its access tokens after 60 s.
    ///
    /// # Errors
    /// [`EndSignInError::Unknown`]: the user has no such session, or not any more.
    #[tracing::instrument(name = "end_sign_in", skip_all, fields(session.id = %session))]
    pub async fn end_sign_in(&self, identity: &Identity, session: Uuid) -> Result<(), EndSignInError> {
        let mut conn = self.0.parts.sql.get().await?;
        let user = identity.user.id;
        let now = self.now();
        // Another device is ended because it is not in one's hands: no last requests for it.
        let at = if session == identity.session {
            now
        } else {
            before_grace(now)
        };
        let ended = sessions::revoke_own(&mut conn, user, session, at).await?;
        drop(conn);
        if !ended {
            return Err(EndSignInError::Unknown);
        }
        tracing::info!(user.id = user.0, "user {user} ended a session");
        (self.0.parts.on_revoked)(session);
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
