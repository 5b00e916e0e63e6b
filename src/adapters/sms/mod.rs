//! Hands one-time codes over, by HTTP, to a service that sends them on.

#[cfg(test)]
mod tests;

use std::{error::Error, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect,
};
use secrecy::ExposeSecret as _;

use crate::{
    config::{Sms, SmsWords},
    domain::phone::Phone,
    i18n::{Language, text},
    ports::{CodeSender, SendCodeError},
};

/// How long handing over one code may take, a second try included.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long connecting may take: half of it, so that there is time for another try.
const CONNECT: Duration = Duration::from_secs(2);

/// Posts codes to `sms.url`, with a body made from `sms.body`.
///
/// A post that could not be connected is tried once more; one that was sent is not, because
/// the person could get two messages.
pub struct HttpSender {
    client: Client,
    config: Sms,
    authorization: Option<HeaderValue>,
}

/// Why codes cannot be handed over as configured.
#[derive(Debug, thiserror::Error)]
pub enum HttpSenderError {
    /// `sms.api_key` cannot stand in a header.
    #[error("sms.api_key (PHONE_VERIFY_API_KEY) has characters that a header must not have")]
    Key,
    /// There is no client for HTTP.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
}

/// The service did not take a code.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the service answered {0}")]
    Status(StatusCode),
    #[error("the service did not answer in {} s", DEADLINE.as_secs())]
    Late,
}

impl HttpSender {
    /// Sends as `config` says.
    ///
    /// # Errors
    /// The key cannot be sent, or there is no client for HTTP.
    pub fn new(config: &Sms) -> Result<Self, HttpSenderError> {
        let key = config.api_key.expose_secret();
        let authorization = if key.is_empty() {
            None
        } else {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| HttpSenderError::Key)?;
            value.set_sensitive(true);
            Some(value)
        };
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            // Neither the key nor a code goes anywhere but where the configuration says.
            .redirect(redirect::Policy::none())
            // Whoever sends drives the connection: the next one may come from another thread.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(HttpSenderError::Client)?;
        Ok(Self {
            client,
            config: config.clone(),
            authorization,
        })
    }

    fn post(&self, body: String) -> RequestBuilder {
        let post = self
            .client
            .post(&self.config.url)
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        match &self.authorization {
            Some(authorization) => post.header(AUTHORIZATION, authorization.clone()),
            None => post,
        }
    }

    async fn hand_over(&self, body: String) -> Result<(), SendCodeError> {
        let first = self.post(body.clone()).send().await;
        let answer = match first {
            Err(error) if error.is_connect() => self.post(body).send().await,
            first => first,
        };
        // An address may hold a key of its own.
        let status = answer.map_err(|error| failed(error.without_url()))?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(failed(Refused::Status(status)))
        }
    }
}

fn failed(error: impl Error + Send + Sync + 'static) -> SendCodeError {
    SendCodeError(Box::new(error))
}

#[async_trait]
impl CodeSender for HttpSender {
    async fn send(&self, phone: &Phone, code: &str, language: Language) -> Result<(), SendCodeError> {
        let text = message(language, code);
        let words = SmsWords {
            phone: phone.as_str(),
            code,
            text: &text,
            language: language.as_str(),
        };
        let body = self.config.body_for(words).map_err(failed)?;
        tokio::time::timeout(DEADLINE, self.hand_over(body))
            .await
            .unwrap_or_else(|_| Err(failed(Refused::Late)))
    }
}

/// What the person reads: the code first, where a notification shows it.
fn message(language: Language, code: &str) -> String {
    text(language, "sms-code", &[("code", code.into())])
}
