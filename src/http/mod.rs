//! Extract, call, render. This file is the whole route table.
//!
//! - [`edge()`]: what every request passes: id, span, origin, headers, the one error body.
//! - `error`: every failure as one JSON body.
//! - `extract`: what handlers take from a request.
//! - `auth`, `events`, `invites`, [`ops`]: the handlers, a file for each thing.

mod auth;
mod edge;
mod error;
mod events;
mod extract;
mod invites;
pub mod ops;
mod record;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use actix_web::{
    HttpRequest, HttpResponse, Route,
    web::{self, Data, PathConfig, PayloadConfig, QueryConfig, ServiceConfig},
};

use self::error::{ApiError, RequestError};
use crate::{
    config,
    realtime::Registry,
    service::{auth::Auth, events::Events, invites::Invites},
};

pub use self::{edge::edge, error::render_error, ops::Readiness};

/// What of the configuration HTTP needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Origins beside the server's own whose pages may call.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Settings {
    /// What `config` says.
    pub fn new(config: &config::Config) -> Self {
        Self {
            request_bytes: config.limits.request_bytes,
            allowed_origins: config.server.allowed_origins.clone(),
            trusted_proxies: config
                .server
                .trusted_proxies
                .iter()
                .map(IpAddr::to_canonical)
                .collect(),
        }
    }
}

/// Everything the handlers call.
#[derive(Clone)]
pub struct Parts {
    /// Settings.
    pub settings: Settings,
    /// Sign-in.
    pub auth: Auth,
    /// Events.
    pub events: Events,
    /// Invite links.
    pub invites: Invites,
    /// Live rooms.
    pub registry: Registry,
    /// What `/readyz` asks.
    pub readiness: Readiness,
}

/// Adds every route; the application is wrapped in [`edge()`] as well.
pub fn configure(config: &mut ServiceConfig, parts: Parts) {
    let Parts {
        settings,
        auth,
        events,
        invites,
        registry,
        readiness,
    } = parts;
    config
        .app_data(PayloadConfig::new(settings.request_bytes))
        .app_data(
            PathConfig::default()
                .error_handler(|error, _| ApiError::from(RequestError::of_path(&error)).into()),
        )
        .app_data(
            QueryConfig::default()
                .error_handler(|error, _| ApiError::from(RequestError::of_query(&error)).into()),
        )
        .app_data(Data::new(settings))
        .app_data(Data::new(auth))
        .app_data(Data::new(events))
        .app_data(Data::new(invites))
        .app_data(Data::new(registry))
        .app_data(Data::new(readiness))
        .service(
            web::resource("/health")
                .get(ops::health)
                .default_service(only("GET")),
        )
        .service(
            web::resource("/livez")
                .get(ops::live)
                .default_service(only("GET")),
        )
        .service(
            web::resource("/readyz")
                .get(ops::ready)
                .default_service(only("GET")),
        )
        .service(web::scope("/api/v1").configure(api))
        .default_service(web::to(not_found));
}

#[rustfmt::skip]
fn api(config: &mut ServiceConfig) {
    use self::{auth, events, invites};

    let mut at = |path: &str, allow: &'static str, fill: fn(actix_web::Resource) -> actix_web::Resource| {
        config.service(fill(web::resource(path)).default_service(only(allow)));
    };

    at("/auth/phone/send", "POST", |r| r.post(auth::send_code));
    at("/auth/phone/verify", "POST", |r| r.post(auth::verify_code));
    at("/auth/register", "POST", |r| r.post(auth::register));
    at("/auth/login", "POST", |r| r.post(auth::login));
    at("/auth/refresh", "POST", |r| r.post(auth::refresh));
    at("/auth/logout", "POST", |r| r.post(auth::logout));
    at("/auth/me", "GET", |r| r.get(auth::me));
    at("/users/me", "GET", |r| r.get(auth::me));

    at("/events", "GET, POST", |r| r.get(events::list).post(events::create));
    at("/events/{event}", "GET, DELETE", |r| r.get(events::read).delete(events::cancel));
    at("/events/{event}/cancel", "POST", |r| r.post(events::cancel));
    at("/events/{event}/participants/{user}", "DELETE", |r| r.delete(events::remove_participant));
    at("/events/{event}/invite-link", "POST", |r| r.post(invites::create));

    at("/invite/{code}", "GET", |r| r.get(invites::info));
    at("/invite/{code}/join", "POST", |r| r.post(invites::join));
}

/// Answers methods that a known path does not take.
fn only(allow: &'static str) -> Route {
    web::to(move || async move { Err::<HttpResponse, _>(ApiError::from(RequestError::Method { allow })) })
}

async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(RequestError::NotFound.into())
}
