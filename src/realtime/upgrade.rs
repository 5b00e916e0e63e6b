//! Takes a socket out of HTTP and gives it to a session.
//!
//! Every upgrade request of the server arrives here, before routing and
//! middleware: path, origin and credential are checked here and nowhere else.

use std::{sync::Arc, time::Duration};

use actix_codec::{Framed, FramedParts};
use actix_http::{
    HttpMessage as _, Request,
    header::{self, HeaderMap},
    ws::{hash_key, verify_handshake},
};
use bytes::BytesMut;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

use super::{
    outbox::Outbox,
    protocol::CloseCode,
    roster::Seat,
    session::{self, Shared},
};
use crate::{
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::Identity,
};

/// Where sockets are opened; the second is an old name of the first.
const PATHS: [&str; 2] = ["/api/v1/ws", "/ws"];

/// The subprotocol of version 2.
pub const SUBPROTOCOL: &str = "timingle.v2";

/// How long a client may take to receive the answer to its upgrade.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Renders an error for a client that asked with these headers: its content type and its body.
pub type RenderError = dyn Fn(&dyn Coded, &HeaderMap) -> (String, String) + Send + Sync;

/// What upgrades are checked against, and what becomes of those that pass.
pub struct Upgrades {
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// Origins, beside the server's own host, whose pages may open a socket.
    pub allowed_origins: Vec<String>,
    /// The body of a refusal, the same as over HTTP.
    pub render: Box<RenderError>,
}

/// Why an upgrade is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no socket at this path")]
    Path,
    #[error("not a WebSocket handshake")]
    Handshake(#[source] actix_http::ws::HandshakeError),
    #[error("the origin is not allowed")]
    Origin,
    #[error("no subprotocol that this server speaks")]
    Subprotocol,
    #[error("the server is stopping")]
    Draining,
    #[error("the authorization header is not a bearer token")]
    Scheme,
}

impl Coded for Refused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Path => ErrorCode::NotFound,
            Self::Handshake(_) | Self::Subprotocol => ErrorCode::BadRequest,
            Self::Origin => ErrorCode::Forbidden,
            Self::Draining => ErrorCode::Unavailable,
            Self::Scheme => ErrorCode::AuthTokenMissing,
        }
    }

    fn text_key(&self) -> &'static str {
        match self {
            Self::Subprotocol => "subprotocol-unknown",
            Self::Origin => "origin-not-allowed",
            other => other.code().as_str(),
        }
    }

    fn details(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut details = serde_json::Map::new();
        match self {
            Self::Handshake(error) => details.insert("problem".into(), error.to_string().into()),
            Self::Subprotocol => details.insert("supported".into(), serde_json::json!([SUBPROTOCOL])),
            Self::Path | Self::Origin | Self::Draining | Self::Scheme => None,
        };
        details
    }
}

impl Upgrades {
    /// Answers one upgrade request and, if it passes, runs its session to the end.
    pub async fn accept<C>(self: Arc<Self>, request: Request, framed: Framed<TcpStream, C>) {
        // The session lives long: of HTTP only the socket and what was read too far go with it.
        let FramedParts { io, read_buf, .. } = framed.into_parts();
        let (mut socket, read) = (io, BytesMut::from(&read_buf[..]));
        drop(read_buf);
        // Without it a second small frame waits for the acknowledgement of the first.
        let _ = socket.set_nodelay(true);
        let language = accepted_language(request.headers());
        let opened = self.open(&request, &mut socket).await;
        drop(request);
        if let Some((identity, outbox, seat)) = opened {
            session::run(
                Arc::clone(&self.shared),
                socket,
                read,
                identity,
                language,
                outbox,
                seat,
            )
            .await;
        }
    }

    /// Answers the request; `None` when there is no session to run.
    async fn open(
        &self,
        request: &Request,
        socket: &mut TcpStream,
    ) -> Option<(Option<Identity>, Outbox, Seat)> {
        let refusal = match self.check(request).await {
            Err(error) => error,
            Ok(identity) => {
                let outbox = Outbox::new(self.shared.limits.outbox_bytes);
                let seat = self.shared.roster.enter(outbox.clone());
                let held = identity.as_ref().map_or(Ok(()), |identity| {
                    seat.authenticate(identity.user, identity.sign_in)
                });
                match held {
                    Ok(()) => {
                        let answer = switching(request);
                        if matches!(
                            timeout(ANSWER_TIMEOUT, socket.write_all(answer.as_bytes())).await,
                            Ok(Ok(()))
                        ) {
                            return Some((identity, outbox, seat));
                        }
                        crate::metrics::session_closed(CloseCode::Normal.reason());
                        return None;
                    }
                    Err(error) => {
                        crate::metrics::session_closed(CloseCode::TooManySockets.reason());
                        Box::new(error)
                    }
                }
            }
        };
        let answer = self.refusal(&*refusal, request.headers());
        let _ = timeout(ANSWER_TIMEOUT, socket.write_all(answer.as_bytes())).await;
        let _ = timeout(ANSWER_TIMEOUT, socket.shutdown()).await;
        None
    }

    async fn check(&self, request: &Request) -> Result<Option<Identity>, Box<dyn Coded>> {
        let headers = request.headers();
        if !PATHS.contains(&request.path()) {
            return Err(Box::new(Refused::Path));
        }
        verify_handshake(request.head())
            .map_err(|error| Box::new(Refused::Handshake(error)) as Box<dyn Coded>)?;
        if !self.is_allowed_origin(headers) {
            return Err(Box::new(Refused::Origin));
        }
        let offers = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .filter_map(|value| value.to_str().ok());
        if !offers
            .flat_map(|offers| offers.split(','))
            .any(|offer| offer.trim() == SUBPROTOCOL)
        {
            return Err(Box::new(Refused::Subprotocol));
        }
        if self.shared.roster.is_draining() {
            return Err(Box::new(Refused::Draining));
        }
        let Some(authorization) = headers.get(header::AUTHORIZATION) else {
            return Ok(None);
        };
        let token = authorization
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| Box::new(Refused::Scheme) as Box<dyn Coded>)?;
        self.shared.sign_ins.identify(token).await.map(Some)
    }

    /// A page's origin must be the server's own host or on the list; without one it is not a page.
    fn is_allowed_origin(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else { return false };
        if self
            .allowed_origins
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
        {
            return true;
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let origin_host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        matches!((host, origin_host), (Some(host), Some(origin)) if host.eq_ignore_ascii_case(origin))
    }

    fn refusal(&self, error: &dyn Coded, headers: &HeaderMap) -> String {
        let (content_type, body) = (self.render)(error, headers);
        let status = error.code().status();
        let reason = actix_http::StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason());
        let retry = match error.retry_after_ms() {
            Some(ms) => format!("Retry-After: {}\r\n", ms.div_ceil(1_000)),
            None if status == 503 => "Retry-After: 1\r\n".to_owned(),
            None => String::new(),
        };
        format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{retry}\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            reason.unwrap_or("Error"),
            body.len(),
        )
    }
}

/// The answer that turns the connection into a WebSocket (RFC 6455 section 4.2.2).
fn switching(request: &Request) -> String {
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .map(header::HeaderValue::as_bytes);
    let accept = hash_key(key.unwrap_or_default());
    let accept = String::from_utf8_lossy(&accept);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
}

fn accepted_language(headers: &HeaderMap) -> Language {
    let accepted = headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok());
    accepted.map_or_else(Language::default, Language::from_accept_language)
}
