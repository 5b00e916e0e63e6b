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
    roster::{Roster, Seat},
    session::{self, Opened, Shared},
};
use crate::{
    domain::id::{EventId, MAX_SAFE_INTEGER},
    error::{Coded, ErrorCode},
    i18n::Language,
    ports::{Identity, SignIns},
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

/// Renders an error for a client that asked with these headers, and whose user has set this
/// language if it is known who that is: its content type and its body.
pub type RenderError = dyn Fn(&dyn Coded, &HeaderMap, Option<Language>) -> (String, String) + Send + Sync;

/// Why there is no socket, and the language of whoever asked, if that is known.
type Refusal = (Box<dyn Coded>, Option<Language>);

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
    #[error("the sign-in was revoked meanwhile")]
    Revoked,
}

impl Coded for Refused {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Path => ErrorCode::NotFound,
            Self::Handshake(_) | Self::Subprotocol | Self::EventId => ErrorCode::BadRequest,
            Self::Origin => ErrorCode::Forbidden,
            Self::Draining => ErrorCode::Unavailable,
            Self::Scheme | Self::Credential => ErrorCode::AuthTokenMissing,
            Self::Revoked => ErrorCode::AuthTokenInvalid,
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
            Self::Path | Self::Origin | Self::Draining | Self::Scheme | Self::Credential | Self::Revoked => {
                None
            }
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
            Err((refusal, language)) => {
                let answer = self.refusal(&*refusal, request.headers(), language);
                let _ = timeout(ANSWER_TIMEOUT, socket.write_all(answer.as_bytes())).await;
                let _ = timeout(ANSWER_TIMEOUT, socket.shutdown()).await;
            }
        }
        None
    }

    /// Gives the socket its place and, in version 1, has the room attach it.
    async fn admit(&self, request: &Request) -> Result<(Opened, Option<&'static str>), Refusal> {
        let checked = self.check(request).await;
        let (offer, identity) = checked.map_err(|error| (error, None))?;
        let own = identity.as_ref().map(|identity| identity.language);
        let admitted = self.place(request, offer, identity).await;
        admitted.map_err(|error| (error, own))
    }

    async fn place(
        &self,
        request: &Request,
        offer: Offer,
        identity: Option<Identity>,
    ) -> Result<(Opened, Option<&'static str>), Box<dyn Coded>> {
        let named = named_language(request.headers());
        let outbox = Outbox::new(self.shared.limits.outbox_bytes);
        let wire = match offer {
            Offer::V1 { .. } => Wire::V1,
            Offer::V2 => Wire::V2,
        };
        let (sign_ins, roster) = (&*self.shared.sign_ins, &self.shared.roster);
        let seat = take_seat(sign_ins, roster, outbox.clone(), wire, identity.as_ref()).await?;
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

    fn refusal(&self, error: &dyn Coded, headers: &HeaderMap, language: Option<Language>) -> String {
        let (content_type, body) = (self.render)(error, headers, language);
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

/// Gives a socket its place in the roster, as that of whoever `identity` says.
async fn take_seat(
    sign_ins: &dyn SignIns,
    roster: &Roster,
    outbox: Outbox,
    wire: Wire,
    identity: Option<&Identity>,
) -> Result<Seat, Box<dyn Coded>> {
    let seat = roster.enter(outbox, wire);
    let Some(identity) = identity else {
        return Ok(seat);
    };
    if let Err(error) = seat.authenticate(identity.user, identity.sign_in) {
        crate::metrics::session_closed(CloseCode::TooManySockets.reason());
        return Err(Box::new(error));
    }
    if !session::stands(sign_ins, identity.sign_in).await {
        crate::metrics::session_closed(CloseCode::Revoked.reason());
        return Err(Box::new(Refused::Revoked));
    }
    Ok(seat)
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use uuid::Uuid;

    use super::take_seat;
    use crate::{
        domain::{id::UserId, time::Micros},
        error::{Coded, ErrorCode},
        i18n::Language,
        ports::{Identity, SignIns},
        realtime::{
            Roster,
            outbox::Outbox,
            protocol::{CloseCode, Wire},
            session,
        },
    };

    const SIGN_IN: Uuid = Uuid::from_u128(7);

    /// The sign-in is revoked in the moment before it is looked up once more.
    struct Revoking {
        roster: Roster,
        is_in_time: bool,
    }

    #[async_trait]
    impl SignIns for Revoking {
        async fn identify(&self, _: &str) -> Result<Identity, Box<dyn Coded>> {
            unreachable!("the token was looked at before")
        }

        async fn revoked(&self, sign_ins: &[Uuid]) -> Result<Vec<Uuid>, Box<dyn Coded>> {
            assert_eq!(sign_ins, [SIGN_IN]);
            assert_eq!(
                self.roster.sign_ins(),
                [SIGN_IN],
                "whoever revokes it later finds the socket"
            );
            Ok(if self.is_in_time {
                vec![SIGN_IN]
            } else {
                Vec::new()
            })
        }
    }

    fn ada() -> Identity {
        Identity {
            user: UserId(1),
            name: "Ada".into(),
            language: Language::En,
            timezone: "Asia/Seoul".into(),
            sign_in: SIGN_IN,
            expires_at: Micros(1),
        }
    }

    #[tokio::test]
    async fn sign_in_that_is_revoked_between_its_token_and_its_seat_gets_no_socket() {
        let (roster, outbox) = (Roster::new(8, 8), Outbox::new(1_000));
        let mut sign_ins = Revoking {
            roster: roster.clone(),
            is_in_time: false,
        };
        let seat = take_seat(&sign_ins, &roster, outbox.clone(), Wire::V1, Some(&ada())).await;
        assert!(seat.is_ok() && outbox.closed().is_none());
        drop(seat);
        assert_eq!(
            outbox.closed(),
            Some(CloseCode::Normal),
            "a room that has attached it must be able to let go of it"
        );
        sign_ins.is_in_time = true;
        let refused = take_seat(&sign_ins, &roster, Outbox::new(1_000), Wire::V2, Some(&ada())).await;
        assert_eq!(
            refused.err().map(|error| error.code()),
            Some(ErrorCode::AuthTokenInvalid)
        );
        assert!(roster.is_empty());
    }

    #[tokio::test]
    async fn socket_that_authenticates_later_is_looked_at_once_more_as_well() {
        let roster = Roster::new(8, 8);
        let sign_ins = Revoking {
            roster: roster.clone(),
            is_in_time: true,
        };
        let seat = roster.enter(Outbox::new(1_000), Wire::V2);
        seat.authenticate(UserId(1), SIGN_IN).unwrap();
        assert!(!session::stands(&sign_ins, SIGN_IN).await);
    }
}
