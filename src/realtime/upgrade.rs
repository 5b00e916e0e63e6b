//! Takes a socket out of HTTP and gives it to a session.
//!
//! Every upgrade request of the server arrives here, before routing and
//! middleware: path, origin and credential are checked here and nowhere else.
//!
//! Who offers [`SUBPROTOCOL`] speaks version 2. Anybody else speaks version 1:
//! its socket has one room, named by `event_id` in the URL, and that room has
//! attached it before the upgrade is answered.

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
    protocol::{CloseCode, Wire},
    room::{Join, OutboxRef},
    session::{self, Opened, Shared},
};
use crate::{
    domain::id::{EventId, MAX_SAFE_INTEGER},
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::Identity,
};

/// Where sockets are opened; the second is an old name of the first.
const PATHS: [&str; 2] = ["/api/v1/ws", "/ws"];

/// The subprotocol of version 2.
pub const SUBPROTOCOL: &str = "timingle.v2";

/// The subprotocol that version 1 may offer; then it is the answer as well.
pub const CHAT: &str = "chat";

/// Before an access token among version 1's subprotocols: some of its clients cannot set a header.
const BEARER: &str = "bearer.";

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
    #[error("neither a subprotocol that this server speaks nor an event")]
    Subprotocol,
    #[error("event_id is not the number of an event")]
    EventId,
    #[error("there is no credential")]
    Credential,
    #[error("the server is stopping")]
    Draining,
    #[error("the authorization header is not a bearer token")]
    Scheme,
}

impl Coded for Refused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Path => ErrorCode::NotFound,
            Self::Handshake(_) | Self::Subprotocol | Self::EventId => ErrorCode::BadRequest,
            Self::Origin => ErrorCode::Forbidden,
            Self::Draining => ErrorCode::Unavailable,
            Self::Scheme | Self::Credential => ErrorCode::AuthTokenMissing,
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
            Self::EventId => details.insert("problem".into(), "event_id".into()),
            Self::Path | Self::Origin | Self::Draining | Self::Scheme | Self::Credential => None,
        };
        details
    }
}

/// What a client offers to speak.
enum Offer {
    V1 {
        event: EventId,
        /// Whether it offers [`CHAT`].
        chat: bool,
    },
    V2,
}

impl Offer {
    /// The subprotocol to answer with, if any.
    const fn subprotocol(&self) -> Option<&'static str> {
        match self {
            Self::V1 { chat: true, .. } => Some(CHAT),
            Self::V1 { chat: false, .. } => None,
            Self::V2 => Some(SUBPROTOCOL),
        }
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
        let opened = self.open(&request, &mut socket).await;
        drop(request);
        if let Some(opened) = opened {
            session::run(Arc::clone(&self.shared), socket, read, opened).await;
        }
    }

    /// Answers the request; `None` when there is no session to run.
    async fn open(&self, request: &Request, socket: &mut TcpStream) -> Option<Opened> {
        match self.admit(request).await {
            Ok((opened, subprotocol)) => {
                let answer = switching(request, subprotocol);
                let written = timeout(ANSWER_TIMEOUT, socket.write_all(answer.as_bytes())).await;
                if matches!(written, Ok(Ok(()))) {
                    return Some(opened);
                }
                crate::metrics::session_closed(CloseCode::Normal.reason());
                opened.outbox.close(CloseCode::Normal);
                if let Some((event, _)) = &opened.bound {
                    self.shared.registry.leave(*event, opened.seat.id());
                }
            }
            Err(refusal) => {
                let answer = self.refusal(&*refusal, request.headers());
                let _ = timeout(ANSWER_TIMEOUT, socket.write_all(answer.as_bytes())).await;
                let _ = timeout(ANSWER_TIMEOUT, socket.shutdown()).await;
            }
        }
        None
    }

    /// Gives the socket its place and, in version 1, has the room attach it.
    async fn admit(&self, request: &Request) -> Result<(Opened, Option<&'static str>), Box<dyn Coded>> {
        let (offer, identity) = self.check(request).await?;
        let named = named_language(request.headers());
        let outbox = Outbox::new(self.shared.limits.outbox_bytes);
        let wire = match offer {
            Offer::V1 { .. } => Wire::V1,
            Offer::V2 => Wire::V2,
        };
        let seat = self.shared.roster.enter(outbox.clone(), wire);
        if let Some(identity) = &identity
            && let Err(error) = seat.authenticate(identity.user, identity.sign_in)
        {
            crate::metrics::session_closed(CloseCode::TooManySockets.reason());
            return Err(Box::new(error));
        }
        let mut opened = Opened {
            // Version 1 has no other place to learn the user's own.
            language: named
                .or(identity.as_ref().map(|identity| identity.language))
                .unwrap_or_default(),
            identity,
            outbox,
            seat,
            bound: None,
        };
        if let Offer::V1 { event, .. } = offer
            && let Err(error) = self.bind(&mut opened, event).await
        {
            crate::metrics::session_closed(CloseCode::Normal.reason());
            return Err(error);
        }
        Ok((opened, offer.subprotocol()))
    }

    /// Has the room of `event` attach the socket: whatever it tells waits in the outbox.
    async fn bind(&self, opened: &mut Opened, event: EventId) -> Result<(), Box<dyn Coded>> {
        let Some(identity) = &opened.identity else {
            return Err(Box::new(Refused::Credential));
        };
        let registry = &self.shared.registry;
        let known = registry.told().known(identity.sign_in, event);
        let join = Join {
            session: opened.seat.id(),
            user: identity.user,
            outbox: OutboxRef(opened.outbox.clone()),
            language: opened.language,
            since: None,
            limit: None,
            id: 0,
            told: Some(known.clone()),
        };
        session::join_room(registry, event, join).await?;
        let told = registry.told().of(identity.sign_in, event);
        told.reach(known.seq());
        opened.outbox.report_to(told.clone());
        opened.bound = Some((event, told));
        Ok(())
    }

    async fn check(&self, request: &Request) -> Result<(Offer, Option<Identity>), Box<dyn Coded>> {
        let headers = request.headers();
        if !PATHS.contains(&request.path()) {
            return Err(Box::new(Refused::Path));
        }
        verify_handshake(request.head())
            .map_err(|error| Box::new(Refused::Handshake(error)) as Box<dyn Coded>)?;
        if !self.is_allowed_origin(headers) {
            return Err(Box::new(Refused::Origin));
        }
        let offers: Vec<&str> = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|offers| offers.split(','))
            .map(str::trim)
            .collect();
        let offer = if offers.contains(&SUBPROTOCOL) {
            Offer::V2
        } else {
            Offer::V1 {
                event: event_of(request).map_err(|error| Box::new(error) as Box<dyn Coded>)?,
                chat: offers.contains(&CHAT),
            }
        };
        if self.shared.roster.is_draining() {
            return Err(Box::new(Refused::Draining));
        }
        let token = match (headers.get(header::AUTHORIZATION), &offer) {
            (Some(authorization), _) => {
                let value = authorization.to_str().ok();
                let token = value.and_then(|value| value.strip_prefix("Bearer "));
                token.ok_or_else(|| Box::new(Refused::Scheme) as Box<dyn Coded>)?
            }
            (None, Offer::V2) => return Ok((offer, None)),
            (None, Offer::V1 { .. }) => offers
                .iter()
                .find_map(|offer| offer.strip_prefix(BEARER))
                .ok_or_else(|| Box::new(Refused::Credential) as Box<dyn Coded>)?,
        };
        let identity = self.shared.sign_ins.identify(token).await?;
        Ok((offer, Some(identity)))
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

/// The event that a version 1 client names in its URL.
fn event_of(request: &Request) -> Result<EventId, Refused> {
    let query = request.uri().query().unwrap_or_default();
    let mut members = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, event)) = members.find(|(name, _)| name == "event_id") else {
        return Err(Refused::Subprotocol);
    };
    match event.parse() {
        Ok(event @ 1..=MAX_SAFE_INTEGER) => Ok(EventId(event)),
        Ok(_) | Err(_) => Err(Refused::EventId),
    }
}

/// The answer that turns the connection into a WebSocket (RFC 6455 section 4.2.2).
fn switching(request: &Request, subprotocol: Option<&str>) -> String {
    let key = request
        .headers()
        .get(header::SEC_WEBSOCKET_KEY)
        .map(header::HeaderValue::as_bytes);
    let accept = hash_key(key.unwrap_or_default());
    let accept = String::from_utf8_lossy(&accept);
    let subprotocol = subprotocol
        .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
        .unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
    )
}

fn named_language(headers: &HeaderMap) -> Option<Language> {
    headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(Language::accepted)
}
