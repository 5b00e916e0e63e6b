//! What handlers take from a request: body, caller, language, address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap, HeaderValue},
    web::{Bytes, Data},
};
use futures_util::future::{FutureExt as _, LocalBoxFuture, ready};
use serde::de::DeserializeOwned;

use super::{
    Settings,
    auth::identify,
    error::{ApiError, RequestError},
};
use crate::i18n::Language;

/// How long a client may take to send a body of the permitted size.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_FORWARDED: usize = 32;

/// A JSON body, whatever its content type says: version 1 never looked at it.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be missing: then the default stands for it.
#[derive(Debug)]
pub(super) struct OptionalBody<T>(pub(super) T);

/// A JSON body that may be missing or broken: then the default stands for it.
#[derive(Debug)]
pub(super) struct LenientBody<T>(pub(super) T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read(request, payload);
        async { Ok(Self(parse(&bytes.await?)?)) }.boxed_local()
    }
}

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read(request, payload);
        async {
            let bytes = bytes.await?;
            if bytes.trim_ascii().is_empty() {
                return Ok(Self(T::default()));
            }
            Ok(Self(parse(&bytes)?))
        }
        .boxed_local()
    }
}

impl<T: DeserializeOwned + Default + 'static> FromRequest for LenientBody<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = read(request, payload);
        async { Ok(Self(parse(&bytes.await?).unwrap_or_default())) }.boxed_local()
    }
}

/// The body's bytes, bounded in number and time.
pub(super) fn read(
    request: &HttpRequest,
    payload: &mut Payload,
) -> impl Future<Output = Result<Bytes, RequestError>> + 'static {
    let bytes = Bytes::from_request(request, payload);
    async {
        match tokio::time::timeout(BODY_TIMEOUT, bytes).await {
            Ok(bytes) => bytes.map_err(|error| RequestError::of_payload(&error)),
            Err(_) => Err(RequestError::TooSlow),
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RequestError> {
    // Every body is an object; the parser would take a list of the members' values as well.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(RequestError::Body("not a JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| RequestError::Body(error.to_string()))
}

/// The language of texts for this request: what `Accept-Language` names, else what the
/// signed-in user has set, else Korean.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaks(pub(super) Language);

/// The language that the signed-in user of a request has set; found in its extensions once
/// it is known who that is.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserLanguage(pub(super) Language);

impl FromRequest for Speaks {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        if let Some(named) = named_language(request.headers()) {
            return ready(Ok(Self(named))).boxed_local();
        }
        let request = request.clone();
        async move {
            // Who may not come in is told so by the extractor that wants to know who it is.
            let _ = identify(request.clone()).await;
            let set = request.extensions().get::<UserLanguage>().copied();
            Ok(Self(set.map_or_else(Language::default, |UserLanguage(set)| set)))
        }
        .boxed_local()
    }
}

/// What `Accept-Language` asks for; Korean when it names nothing we speak.
pub(super) fn language_of(headers: &HeaderMap) -> Language {
    named_language(headers).unwrap_or_default()
}

/// What `Accept-Language` names, of the languages we speak.
pub(super) fn named_language(headers: &HeaderMap) -> Option<Language> {
    headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(Language::accepted)
}

/// The address `request` came from, for limits. Never into a log.
pub(super) fn address_of(request: &HttpRequest) -> IpAddr {
    let peer = request
        .peer_addr()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
    let trusted = request
        .app_data::<Data<Settings>>()
        .map_or(&[][..], |settings| &settings.trusted_proxies);
    behind_proxies(peer, trusted, request.headers())
}

/// Follows `X-Forwarded-For` backwards for as long as the speaker is a trusted proxy:
/// what stands further left, anybody could have written.
fn behind_proxies(peer: IpAddr, trusted: &[IpAddr], headers: &HeaderMap) -> IpAddr {
    if !trusted.contains(&peer) {
        return peer;
    }
    let lines: Vec<&[u8]> = headers
        .get_all("x-forwarded-for")
        .map(HeaderValue::as_bytes)
        .collect();
    let mut client = peer;
    // A line that cannot be read as a whole must not be left out: what stands in the line
    // before it, the client may have written.
    let hops = lines
        .iter()
        .rev()
        .flat_map(|line| line.rsplit(|byte| *byte == b','));
    for hop in hops.take(MAX_FORWARDED) {
        let Some(address) = address_in(hop) else { break };
        client = address.to_canonical();
        if !trusted.contains(&client) {
            break;
        }
    }
    client
}

/// The address that a hop names, also where its port stands beside it.
fn address_in(hop: &[u8]) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim();
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::behind_proxies;

    fn client(peer: &str, trusted: &[&str], lines: &[&str]) -> String {
        let ip = |text: &&str| text.parse::<IpAddr>().unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_str(line).unwrap(),
            );
        }
        let trusted: Vec<_> = trusted.iter().map(ip).collect();
        behind_proxies(ip(&peer), &trusted, &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_its_own_word() {
        let proxy = "10.0.0.1";
        assert_eq!(client("9.9.9.9", &[proxy], &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(client(proxy, &[], &["1.1.1.1"]), proxy);
        assert_eq!(client(proxy, &[proxy], &["1.1.1.1, 2.2.2.2"]), "2.2.2.2");
        assert_eq!(
            client(proxy, &[proxy, "10.0.0.2"], &["1.1.1.1, 2.2.2.2, 10.0.0.2"]),
            "2.2.2.2"
        );
        assert_eq!(client(proxy, &[proxy], &["1.1.1.1", "2.2.2.2"]), "2.2.2.2");
        assert_eq!(client(proxy, &[proxy], &["nonsense"]), proxy);
        assert_eq!(client(proxy, &[proxy], &["::ffff:3.3.3.3"]), "3.3.3.3");
        assert_eq!(client(proxy, &[proxy], &["2.2.2.2:40000"]), "2.2.2.2");
        assert_eq!(client(proxy, &[proxy], &["[2001:db8::1]:40000"]), "2001:db8::1");
    }

    #[test]
    fn nobody_hides_the_proxys_word_behind_bytes_that_are_no_text() {
        let proxy = "10.0.0.1";
        let chosen = ["6.6.6.6", "\u{ff}, 2.2.2.2"];
        assert_eq!(client(proxy, &[proxy], &chosen), "2.2.2.2");
        assert_eq!(client(proxy, &[proxy], &["6.6.6.6", "2.2.2.2, \u{ff}"]), proxy);
    }
}
