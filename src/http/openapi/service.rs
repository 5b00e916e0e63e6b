//! For those who run the server, and this description itself.

use utoipa::openapi::HttpMethod;

use super::{
    op::Op,
    parts::{Health, Ready, State},
};
use crate::error::ErrorCode::{NotFound, Unavailable};

fn get(path: &'static str, name: &str, summary: &str) -> Op {
    Op::new(HttpMethod::Get, path, name, summary).tag("service")
}

pub(super) fn operations() -> Vec<Op> {
    let html = "text/html; charset=utf-8";
    vec![
        get(
            "/health",
            "health",
            "Whether the server answers, as version 1 asks",
        )
        .answers::<Health>(200, "It does."),
        get("/livez", "live", "Whether the server answers").answers::<State>(200, "It does."),
        get("/readyz", "ready", "Whether traffic may come")
            .answers::<Ready>(200, "It may.")
            .refuses(&[Unavailable]),
        get("/api/v1/openapi.json", "readDescription", "This description")
            .answers_document("application/json", "OpenAPI 3.1."),
        get(
            "/api/v1/asyncapi.yaml",
            "readSocketDescription",
            "The description of the socket",
        )
        .answers_document("application/yaml", "AsyncAPI 3."),
        get("/api/docs", "browse", "This description as a page").answers_text(200, html, "The page."),
        get("/api/docs/{name}", "browseAsset", "What that page is made of")
            .answers_text(200, "text/javascript; charset=utf-8", "A script.")
            .also_text(200, "text/css; charset=utf-8")
            .refuses(&[NotFound]),
    ]
}
