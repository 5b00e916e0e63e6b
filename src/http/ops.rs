//! For those who run the server: is it alive, is it ready, how is it doing.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer, dev,
    http::header,
    middleware::from_fn,
    web::{self, Data},
};
use serde_json::{Map, Value, json};

use super::{edge::edge, error::ApiError, not_found};
use crate::{
    error::{Coded, ErrorCode},
    metrics,
};

/// How long all checks together may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The answer of one check: whether that dependency can be used now.
pub type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A named question to a dependency.
pub type Check = (&'static str, Box<dyn Fn() -> Answer + Send + Sync>);

/// What `/readyz` asks: named checks of what this server needs to serve, and of what merely
/// helps. Without a helper it serves less well, and so do all other nodes: were they all
/// unready, nobody would serve at all.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Arc<Vec<Check>>,
    helpers: Arc<Vec<Check>>,
}

impl Readiness {
    /// Asks every one of `checks`, at most 2 s long; one that does not answer is not ready.
    pub fn new(checks: Vec<Check>) -> Self {
        Self {
            checks: Arc::new(checks),
            helpers: Arc::default(),
        }
    }

    /// Names `helpers` too where they do not answer; they turn nobody away.
    #[must_use]
    pub fn with_helpers(self, helpers: Vec<Check>) -> Self {
        Self {
            helpers: Arc::new(helpers),
            ..self
        }
    }

    /// Whether traffic may come, and everything that does not answer.
    async fn failing(&self) -> (bool, Vec<&'static str>) {
        let (mut needed, helping) =
            futures_util::future::join(unanswered(&self.checks), unanswered(&self.helpers)).await;
        let ready = needed.is_empty();
        needed.extend(helping);
        (ready, needed)
    }
}

async fn unanswered(checks: &[Check]) -> Vec<&'static str> {
    let answers = checks.iter().map(|(name, check)| {
        let answer = tokio::time::timeout(CHECK_TIMEOUT, check());
        async move { (*name, answer.await.unwrap_or(false)) }
    });
    futures_util::future::join_all(answers)
        .await
        .into_iter()
        .filter_map(|(name, answers)| (!answers).then_some(name))
        .collect()
}

/// Something this server needs cannot be used now.
#[derive(Debug, thiserror::Error)]
#[error("not ready: {}", .0.join(", "))]
struct NotReady(Vec<&'static str>);

impl Coded for NotReady {
    fn code(&self) -> ErrorCode {
        ErrorCode::Unavailable
    }

    fn details(&self) -> Map<String, Value> {
        Map::from_iter([("failing".to_owned(), json!(self.0))])
    }
}

/// `GET /health`, as version 1's clients and probes read it: no checks behind it.
pub(super) async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "healthy", "service": "timingle-api" }))
}

/// `GET /livez`: this process answers.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// `GET /readyz`: traffic may come.
pub(super) async fn ready(readiness: Data<Readiness>) -> Result<HttpResponse, ApiError> {
    match readiness.failing().await {
        (true, failing) if failing.is_empty() => Ok(HttpResponse::Ok().json(json!({ "status": "ready" }))),
        (true, failing) => Ok(HttpResponse::Ok().json(json!({ "status": "ready", "failing": failing }))),
        (false, failing) => Err(NotReady(failing).into()),
    }
}

/// Serves `GET /metrics` at `address` until the server that is returned is stopped.
/// Call within a runtime, after [`metrics::install`].
///
/// # Errors
/// The address cannot be listened on.
pub fn serve_metrics(address: SocketAddr) -> io::Result<dev::Server> {
    let server = HttpServer::new(|| {
        App::new()
            .wrap(from_fn(edge))
            .route("/metrics", web::get().to(figures))
            .default_service(web::to(not_found))
    })
    .workers(1)
    .disable_signals()
    .bind(address)?;
    Ok(server.run())
}

async fn figures() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
        .body(metrics::render())
}
