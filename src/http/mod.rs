//! Extract, call, render. This file is the whole route table.
//!
//! - [`edge()`]: what every request passes: id, span, origin, headers, the one error body.
//! - `error`: every failure as one JSON body.
//! - `extract`: what handlers take from a request.
//! - `auth`, `events`, `invites`, [`ops`]: the handlers, a file for each thing.
//! - [`openapi`]: the API's description; `docs_page`: a page for browsing it.
//! - `invite_page`: what a browser shows behind an invite link.

mod admin;
mod auth;
mod docs_page;
mod edge;
mod error;
mod etag;
mod events;
mod export;
mod extract;
mod google;
mod history;
mod idempotency;
mod invite_page;
mod invites;
mod messages;
pub mod openapi;
pub mod ops;
mod participants;
mod record;
mod routes;
#[cfg(test)]
mod tests;
mod users;

use std::{net::IpAddr, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, PathConfig, PayloadConfig, QueryConfig, ServiceConfig},
};

use self::{
    error::{ApiError, RequestError},
    routes::Line,
};
use crate::{
    config,
    realtime::Registry,
    service::{account::Accounts, auth::Auth, events::Events, export::Exports, invites::Invites},
};

pub use self::{
    edge::edge,
    error::render_error,
    ops::{Answer, Check, Readiness},
};

/// What of the configuration HTTP needs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of a request's body.
    pub request_bytes: usize,
    /// Origins beside the server's own whose pages may call.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long the answer to a creation with a key is kept.
    pub idempotency_life: Duration,
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
            idempotency_life: config.events.idempotency_life,
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
    /// Accounts.
    pub accounts: Accounts,
    /// Events.
    pub events: Events,
    /// Invite links.
    pub invites: Invites,
    /// Records to take home.
    pub exports: Exports,
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
        accounts,
        events,
        invites,
        exports,
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
        .app_data(Data::new(accounts))
        .app_data(Data::new(events))
        .app_data(Data::new(invites))
        .app_data(Data::new(exports))
        .app_data(Data::new(registry))
        .app_data(Data::new(readiness))
        .default_service(web::to(not_found));
    routes::install(config, table());
}

/// Every route: method, path, handler.
#[rustfmt::skip]
fn table() -> Vec<Line> {
    use self::routes::{delete, get, head, patch, post, put};

    vec![
        get("/health", ops::health),
        get("/livez", ops::live),
        get("/readyz", ops::ready),
        get("/invite/{code}", invite_page::show),
        head("/invite/{code}", invite_page::show),
        get("/invite-assets/{name}", invite_page::asset),
        head("/invite-assets/{name}", invite_page::asset),

        get("/api/docs", docs_page::show),
        get("/api/docs/{name}", docs_page::asset),
        get("/api/v1/openapi.json", openapi::serve),
        get("/api/v1/asyncapi.yaml", openapi::serve_socket),

        post("/api/v1/auth/phone/send", auth::send_code),
        post("/api/v1/auth/phone/verify", auth::verify_code),
        post("/api/v1/auth/register", auth::register),
        post("/api/v1/auth/login", auth::login),
        post("/api/v1/auth/refresh", auth::refresh),
        post("/api/v1/auth/logout", auth::logout),
        post("/api/v1/auth/google", google::sign_in),
        post("/api/v1/auth/google/calendar", google::sign_in),

        get("/api/v1/auth/sessions", users::sign_ins),
        delete("/api/v1/auth/sessions/{session}", users::end_sign_in),
        get("/api/v1/auth/me", users::me),
        get("/api/v1/users/me", users::me),
        put("/api/v1/users/me", users::change),
        patch("/api/v1/users/me", users::change),
        delete("/api/v1/users/me", users::delete),

        patch("/api/v1/admin/users/{user}/status", admin::set_status),

        get("/api/v1/calendar/status", google::status),
        get("/api/v1/calendar/events", google::events),
        post("/api/v1/calendar/sync/{event}", google::sync),

        get("/api/v1/events", events::list),
        post("/api/v1/events", events::create),
        get("/api/v1/events/{event}", events::read),
        put("/api/v1/events/{event}", events::update),
        patch("/api/v1/events/{event}", events::update),
        delete("/api/v1/events/{event}", events::cancel),
        post("/api/v1/events/{event}/accept", events::accept),
        post("/api/v1/events/{event}/decline", events::decline),
        post("/api/v1/events/{event}/confirm", events::confirm),
        post("/api/v1/events/{event}/confirm-participation", events::confirm_participation),
        post("/api/v1/events/{event}/done", events::finish),
        post("/api/v1/events/{event}/cancel", events::cancel),

        get("/api/v1/events/{event}/export", export::download),
        get("/api/v1/events/{event}/history", history::read),
        get("/api/v1/events/{event}/messages", messages::list),

        get("/api/v1/events/{event}/participants", participants::list),
        post("/api/v1/events/{event}/participants", invites::add),
        delete("/api/v1/events/{event}/participants/{user}", events::remove_participant),
        post("/api/v1/events/{event}/invite-link", invites::create),
        get("/api/v1/events/{event}/invite-links", invites::list),

        get("/api/v1/invite/{code}", invites::info),
        delete("/api/v1/invite/{code}", invites::deactivate),
        post("/api/v1/invite/{code}/join", invites::join),
    ]
}

/// The method and the path of every route, whose gaps are in braces, as the table has them.
pub fn routes() -> Vec<(String, &'static str)> {
    table().iter().map(Line::name).collect()
}

async fn not_found(_: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(RequestError::NotFound.into())
}
