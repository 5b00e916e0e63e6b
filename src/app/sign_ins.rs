//! Lets sockets ask the sign-in service without knowing it.

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    error::Coded,
    i18n::Language,
    ports::{Identity, SignIns},
    service::auth::Auth,
};

pub(super) struct AuthSignIns(pub(super) Auth);

#[async_trait]
impl SignIns for AuthSignIns {
    async fn identify(&self, access_token: &str) -> Result<Identity, Box<dyn Coded>> {
        let known = self.0.authenticate_socket(access_token).await;
        let known = known.map_err(|error| Box::new(error) as Box<dyn Coded>)?;
        Ok(Identity {
            user: known.user.id,
            name: known.user.name,
            language: Language::from_tag(&known.user.language).unwrap_or_default(),
            timezone: known.user.timezone,
            sign_in: known.session,
            expires_at: known.token_expires_at,
        })
    }

    async fn revoked(&self, sign_ins: &[Uuid]) -> Result<Vec<Uuid>, Box<dyn Coded>> {
        self.0
            .revoked(sign_ins)
            .await
            .map_err(|error| Box::new(error) as Box<dyn Coded>)
    }
}
