//! What goes over HTTP: signing in, making events, invite links.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode, Url, header, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use uuid::Uuid;

use super::wire::Person;
use crate::{
    domain::{
        event::{Answer, EventStatus, Role},
        id::{EventId, UserId},
        time::Micros,
    },
    i18n::Language,
};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are taken.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The server refused it, with a text for the person.
    #[error("the server answered {code}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// One of the error codes of the protocol.
        code: String,
        /// What to show.
        text: String,
    },
    /// No answer.
    #[error("the server cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is not this API's.
    #[error("the answer cannot be read")]
    Unreadable,
    /// Not an address of a server.
    #[error("not an http or https address")]
    BadServer,
}

impl ApiError {
    /// Whether the server knows the credential no more.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED || *status == StatusCode::FORBIDDEN)
    }

    /// Whether it was refused with this code.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// What every way to sign in answers.
#[derive(Debug, Deserialize)]
pub(super) struct SignedIn {
    pub(super) access_token: SecretString,
    pub(super) refresh_token: SecretString,
    #[serde(deserialize_with = "seconds")]
    pub(super) expires_in: Duration,
    pub(super) user: Person,
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.min(86_400 * 365)))
}

/// An event as this client shows it.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: EventId,
    pub(super) title: String,
    pub(super) status: EventStatus,
    pub(super) start_time: Micros,
    pub(super) creator: Person,
    #[serde(default)]
    pub(super) participants: Vec<Participant>,
}

/// A participant other than the host.
#[derive(Debug, Deserialize)]
pub(super) struct Participant {
    #[serde(flatten)]
    pub(super) person: Person,
    pub(super) role: Role,
    pub(super) answer: Answer,
}

/// One server's HTTP interface, in one language.
#[derive(Debug, Clone)]
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    language: Language,
}

impl Api {
    /// The server at `server`: `http` or `https`, a host, perhaps a port and a path.
    pub(super) fn new(server: &str, language: Language) -> Result<Self, ApiError> {
        let mut base = Url::parse(server.trim()).map_err(|_| ApiError::BadServer)?;
        let is_plain = base.query().is_none() && base.fragment().is_none() && base.username().is_empty();
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() || !is_plain {
            return Err(ApiError::BadServer);
        }
        // A base without the final slash would lose its last part in `join`.
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("timingle-chat/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT / 2)
            // A redirect would carry the token to wherever it points.
            .redirect(redirect::Policy::none());
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(ApiError::Unreachable)?;
        Ok(Self { http, base, language })
    }

    /// The language of the server's texts.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Whether tokens would cross a network in the clear.
    pub(super) fn is_insecure(&self) -> bool {
        self.base.scheme() == "http" && !is_loopback(&self.base)
    }

    /// Where the socket is.
    pub(super) fn socket_url(&self) -> String {
        let url = format!("{}api/v1/ws", self.base);
        url.replacen("http", "ws", 1)
    }

    /// Has a one-time code sent; gives what to present it with.
    pub(super) async fn send_code(&self, phone: &str) -> Result<Uuid, ApiError> {
        #[derive(Deserialize)]
        struct Sent {
            verification_id: Uuid,
        }
        let sent: Sent = self
            .call(
                self.post("auth/phone/send", None)
                    .json(&json!({ "phone": phone })),
            )
            .await?;
        Ok(sent.verification_id)
    }

    /// Signs in with a one-time code; `name` is for a new number.
    pub(super) async fn verify(
        &self,
        id: Uuid,
        code: &str,
        name: Option<&str>,
    ) -> Result<SignedIn, ApiError> {
        let body = json!({ "verification_id": id, "code": code, "name": name });
        self.call(self.post("auth/phone/verify", None).json(&body)).await
    }

    /// Signs in without a code, where the server allows that.
    pub(super) async fn register(&self, phone: &str, name: Option<&str>) -> Result<SignedIn, ApiError> {
        let body = json!({ "phone": phone, "name": name });
        self.call(self.post("auth/register", None).json(&body)).await
    }

    /// A new access token.
    pub(super) async fn refresh(&self, refresh_token: &SecretString) -> Result<SignedIn, ApiError> {
        let body = json!({ "refresh_token": refresh_token.expose_secret() });
        self.call(self.post("auth/refresh", None).json(&body)).await
    }

    /// The events of the user.
    pub(super) async fn events(&self, token: &SecretString) -> Result<Vec<Event>, ApiError> {
        self.call(self.request(Method::GET, "events", Some(token))).await
    }

    /// One event.
    pub(super) async fn event(&self, token: &SecretString, event: EventId) -> Result<Event, ApiError> {
        self.call(self.request(Method::GET, &format!("events/{event}"), Some(token)))
            .await
    }

    /// Makes an event.
    pub(super) async fn create_event(
        &self,
        token: &SecretString,
        title: &str,
        start_time: Micros,
        end_time: Micros,
    ) -> Result<Event, ApiError> {
        let body = json!({ "title": title, "start_time": start_time, "end_time": end_time });
        self.call(self.post("events", Some(token)).json(&body)).await
    }

    /// Makes a link by which anyone may join the event.
    pub(super) async fn invite_link(&self, token: &SecretString, event: EventId) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        struct Link {
            link: String,
        }
        let path = format!("events/{event}/invite-link");
        let link: Link = self.call(self.post(&path, Some(token)).json(&json!({}))).await?;
        Ok(link.link)
    }

    /// Takes part in the event that the code leads to.
    pub(super) async fn join(&self, token: &SecretString, code: &str) -> Result<EventId, ApiError> {
        #[derive(Deserialize)]
        struct Joined {
            event_id: EventId,
        }
        let path = format!("invite/{code}/join");
        let joined: Joined = self.call(self.post(&path, Some(token)).json(&json!({}))).await?;
        Ok(joined.event_id)
    }

    /// Takes part no longer.
    pub(super) async fn leave(
        &self,
        token: &SecretString,
        event: EventId,
        user: UserId,
    ) -> Result<(), ApiError> {
        let path = format!("events/{event}/participants/{user}");
        self.call::<Value>(self.request(Method::DELETE, &path, Some(token)))
            .await?;
        Ok(())
    }

    /// Does to the event what `action` names: `accept`, `decline`, `confirm` or `cancel`.
    pub(super) async fn act(
        &self,
        token: &SecretString,
        event: EventId,
        action: &str,
        reason: Option<&str>,
    ) -> Result<(), ApiError> {
        let path = format!("events/{event}/{action}");
        self.call::<Value>(self.post(&path, Some(token)).json(&json!({ "reason": reason })))
            .await?;
        Ok(())
    }

    fn post(&self, path: &str, token: Option<&SecretString>) -> RequestBuilder {
        self.request(Method::POST, path, token)
    }

    fn request(&self, method: Method, path: &str, token: Option<&SecretString>) -> RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}api/v1/{path}", self.base))
            .header(header::ACCEPT_LANGUAGE, self.language.as_str());
        match token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
            code: String,
        }
        let mut response = request.send().await.map_err(ApiError::Unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(ApiError::Unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(ApiError::Unreadable);
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| ApiError::Unreadable);
        }
        let Refusal { error: text, code } =
            serde_json::from_slice(&body).map_err(|_| ApiError::Unreadable)?;
        Err(ApiError::Refused { status, code, text })
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::Api;
    use crate::i18n::Language;

    #[test]
    fn socket_is_beside_the_api() {
        for (server, socket) in [
            ("http://localhost:8080", "ws://localhost:8080/api/v1/ws"),
            ("https://timingle.example/", "wss://timingle.example/api/v1/ws"),
            ("https://example.com/app", "wss://example.com/app/api/v1/ws"),
        ] {
            assert_eq!(Api::new(server, Language::Ko).unwrap().socket_url(), socket);
        }
    }

    #[test]
    fn only_addresses_of_servers_are_taken() {
        for bad in [
            "",
            "localhost:8080",
            "ftp://a",
            "http://",
            "http://a:b@c",
            "http://a?x",
            "file:///etc",
        ] {
            assert!(Api::new(bad, Language::Ko).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_in_the_clear_are_noticed() {
        for (server, insecure) in [
            ("http://localhost:8080", false),
            ("http://127.0.0.1", false),
            ("http://[::1]:8080", false),
            ("https://example.com", false),
            ("http://example.com", true),
            ("http://10.0.0.1", true),
        ] {
            assert_eq!(
                Api::new(server, Language::Ko).unwrap().is_insecure(),
                insecure,
                "{server}"
            );
        }
    }
}
