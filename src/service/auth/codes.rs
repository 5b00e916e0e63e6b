//! A one-time code proves a phone number.

use std::time::Duration;

use rand::Rng;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::{Auth, Caller, CodeSent, HOUR, RequestCodeError, SignInError, SignedIn, keyed_hash, network};
use crate::{
    adapters::sql::users,
    domain::{phone::Phone, user::UserName},
    i18n::Language,
    ports::{CodeCheck, PendingCode, SendCodeError},
};

/// How long handing a code over may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

impl Auth {
    /// Sends a one-time code to the number `phone`, which may be typed in any usual way.
    ///
    /// Says nothing about whether somebody has that number.
    ///
    /// # Errors
    /// See [`RequestCodeError`]; counted against the limits also if sending fails.
    #[tracing::instrument(name = "send_code", skip_all)]
    pub async fn send_code(&self, phone: &str, caller: &Caller) -> Result<CodeSent, RequestCodeError> {
        let limits = &self.0.limits;
        self.limit_sign_ins(caller.addr).await?;
        let phone = Phone::parse(phone, &self.0.config.default_region)?;
        // The address first: a flood from one place must not use up a stranger's allowance.
        let addr = network(caller.addr);
        self.limit("codes/address", &addr, limits.codes_per_address, HOUR)
            .await?;
        self.limit("codes/number", phone.as_str(), limits.codes_per_number, HOUR)
            .await?;

        let id = Uuid::new_v4();
        let fixed = self.0.review.as_ref() == Some(&phone);
        let code = if fixed {
            self.0.config.review_code.expose_secret().to_owned()
        } else {
            format!("{:06}", rand::rng().random_range(0..1_000_000_u32))
        };
        let expires_at = self.now().plus(self.0.config.code_expiry);
        let pending = PendingCode {
            phone: phone.clone(),
            hash: self.code_hash(id, &code),
            expires_at,
            tries_left: self.0.config.code_tries,
        };
        self.0.parts.codes.put(id, pending).await?;
        // Who reviews the app has no telephone of that number, but knows the code.
        if !fixed {
            let language = self.language_for(&phone, caller.language).await;
            let sending = self.0.parts.sender.send(&phone, &code, language);
            tokio::time::timeout(SEND_TIMEOUT, sending)
                .await
                .map_err(|late| SendCodeError(Box::new(late)))??;
        }
        Ok(CodeSent {
            verification_id: id,
            expires_at,
        })
    }

    /// Signs in whoever knows the code that was sent; a number that is new becomes a
    /// user named `name`, or by its last four digits without one.
    ///
    /// # Errors
    /// See [`SignInError`]. A bad name or a store that is away does not use up the code.
    #[tracing::instrument(name = "verify_code", skip_all)]
    pub async fn verify_code(
        &self,
        verification_id: Uuid,
        code: &str,
        name: Option<&str>,
        caller: &Caller,
    ) -> Result<SignedIn, SignInError> {
        self.limit_sign_ins(caller.addr).await?;
        let name = name.map(UserName::parse).transpose()?;
        self.0.parts.sql.check().await?;
        let hash = self.code_hash(verification_id, code.trim());
        match self
            .0
            .parts
            .codes
            .check(verification_id, hash, self.now())
            .await?
        {
            CodeCheck::Right(phone) => self.sign_up_or_in(&phone, name, caller, None).await,
            CodeCheck::Wrong { tries_left } => Err(SignInError::WrongCode { tries_left }),
            CodeCheck::Gone => Err(SignInError::CodeGone),
        }
    }

    /// The language of a message to `phone`: the one asked for, else the one that whoever has
    /// the number has set. A store that is away keeps no code from anybody.
    async fn language_for(&self, phone: &Phone, asked_for: Option<Language>) -> Language {
        if let Some(language) = asked_for {
            return language;
        }
        let user = async { users::by_phone(&mut *self.0.parts.sql.get().await?, phone).await };
        let user = user.await.ok().flatten();
        user.and_then(|user| Language::from_tag(&user.language))
            .unwrap_or_default()
    }

    /// Keyed, because a million codes are quickly hashed; bound to its id, so that it
    /// fits no other.
    pub(super) fn code_hash(&self, id: Uuid, code: &str) -> [u8; 32] {
        keyed_hash(&self.0.code_key, &[id.as_bytes(), code.as_bytes()])
    }
}
