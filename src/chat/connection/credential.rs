//! The sign-in of a connection, renewed before it ends.

use std::{future::pending, sync::Arc, time::Duration};

use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{task::JoinHandle, time::Instant};

use super::{Ended, Lost};
use crate::chat::api::{Api, ApiError, SignedIn};

/// How long before its end an access token is renewed, at most; short ones at three quarters.
const MARGIN: Duration = Duration::from_secs(60);
/// How long to wait after a renewal that did not succeed.
const RETRY: Duration = Duration::from_secs(5);

/// Why there is no newer access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RenewalError {
    /// The server knows this sign-in no more.
    SignedOut,
    /// It may succeed later.
    Temporary,
}

/// The access token of the moment, for requests beside the socket.
#[derive(Clone)]
pub(in crate::chat) struct AccessToken(Arc<Mutex<SecretString>>);

impl AccessToken {
    /// The token as it stands now.
    pub(in crate::chat) fn get(&self) -> SecretString {
        self.0.lock().clone()
    }
}

/// An access token, and the refresh token that renews it.
pub(in crate::chat) struct Credential {
    access: AccessToken,
    refresh: SecretString,
    renew_at: Instant,
    renewal: Option<JoinHandle<Result<SignedIn, ApiError>>>,
    /// Whether a socket has taken this access token.
    is_proven: bool,
    /// Whether this access token is known to count no more.
    is_over: bool,
}

impl Credential {
    /// The credential of a fresh sign-in.
    pub(in crate::chat) fn new(signed_in: SignedIn) -> Self {
        Self {
            access: AccessToken(Arc::new(Mutex::new(signed_in.access_token))),
            refresh: signed_in.refresh_token,
            renew_at: renew_at(signed_in.expires_in),
            renewal: None,
            is_proven: false,
            is_over: false,
        }
    }

    /// A view of the access token that follows its renewals.
    pub(in crate::chat) fn access(&self) -> AccessToken {
        self.access.clone()
    }

    pub(super) fn access_token(&self) -> String {
        self.access.get().expose_secret().to_owned()
    }

    /// When the next renewal is due; while one is under way it is not.
    pub(super) fn renew_at(&self) -> Instant {
        if self.renewal.is_some() {
            Instant::now() + RETRY
        } else {
            self.renew_at
        }
    }

    /// Starts a renewal if it is time, beside everything else.
    pub(super) fn renew_if_due(&mut self, api: &Api) {
        if self.renewal.is_none() && Instant::now() >= self.renew_at {
            let (api, refresh) = (api.clone(), self.refresh.clone());
            self.renewal = Some(tokio::spawn(async move { api.refresh(&refresh).await }));
        }
    }

    /// Waits for the renewal under way; for ever if there is none.
    pub(super) async fn renewed(&mut self) -> Result<(), RenewalError> {
        let Some(renewal) = &mut self.renewal else {
            return pending().await;
        };
        let outcome = renewal.await;
        self.renewal = None;
        self.renew_at = Instant::now() + RETRY;
        match outcome {
            Ok(Ok(signed_in)) => {
                *self.access.0.lock() = signed_in.access_token;
                self.refresh = signed_in.refresh_token;
                self.renew_at = renew_at(signed_in.expires_in);
                (self.is_proven, self.is_over) = (false, false);
                Ok(())
            }
            Ok(Err(error)) if error.is_final() => Err(RenewalError::SignedOut),
            Ok(Err(_)) | Err(_) => Err(RenewalError::Temporary),
        }
    }

    /// Renews before a socket is opened, if it is time or the token is over.
    pub(super) async fn ensure_fresh(&mut self, api: &Api) -> Result<(), RenewalError> {
        if self.is_over {
            self.renew_at = Instant::now();
        }
        self.renew_if_due(api);
        if self.renewal.is_none() {
            return Ok(());
        }
        match self.renewed().await {
            // The old one may still do.
            Err(RenewalError::Temporary) if !self.is_over => Ok(()),
            outcome => outcome,
        }
    }

    /// A socket took the access token.
    pub(super) fn accepted(&mut self) {
        self.is_proven = true;
    }

    /// The server closed a socket because the access token ended.
    pub(super) fn expired(&mut self) {
        self.is_over = true;
    }

    /// The server refused the access token: one that was good once has to be renewed;
    /// one that is new will not be taken the next time either.
    pub(super) fn refused(&mut self) -> Lost {
        if self.is_proven {
            self.is_over = true;
            Lost::ComeBack(None)
        } else {
            Lost::ForGood(Ended::SignedOut)
        }
    }
}

fn renew_at(expires_in: Duration) -> Instant {
    Instant::now() + expires_in.saturating_sub(MARGIN.min(expires_in / 4))
}
