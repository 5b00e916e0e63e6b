//! What handlers take from a request: body, caller, language, address.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{self, HeaderMap},
    web::{Bytes, Data},
};
use futures_util::future::{FutureExt as _, LocalBoxFuture, Ready, ready};
use serde::de::DeserializeOwned;

use super::{
    Settings,
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

fn read(
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
    serde_json::from_slice(bytes).map_err(|error| RequestError::Body(error.to_string()))
}

/// The language of texts for this request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaks(pub(super) Language);

impl FromRequest for Speaks {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(language_of(request.headers()))))
    }
}

/// What `Accept-Language` asks for; Korean when it says nothing we speak.
pub(super) fn language_of(headers: &HeaderMap) -> Language {
    headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .map_or_else(Language::default, Language::from_accept_language)
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
    let lines: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .filter_map(|line| line.to_str().ok())
        .collect();
    let mut client = peer;
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for hop in hops.take(MAX_FORWARDED) {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
        if !trusted.contains(&client) {
            break;
        }
    }
    client
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
    }
}
