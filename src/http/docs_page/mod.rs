//! A page for browsing the API's description, which works on a network without any other.
//!
//! It is Swagger UI, kept in `web/docs` as it was published (`web/docs/README.md` says which).

#[cfg(test)]
mod tests;

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, Path},
};

use super::error::{ApiError, RequestError};

/// As strict as the viewer allows: it shows pictures that stand in its own style sheet, and
/// calls this server when somebody tries an operation.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("../../../web/docs/page.html");

/// What the page is made of: name, content type, content.
const ASSETS: [(&str, &str, &[u8]); 4] = [
    (
        "page.css",
        "text/css; charset=utf-8",
        include_bytes!("../../../web/docs/page.css"),
    ),
    (
        "page.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../web/docs/page.js"),
    ),
    (
        "swagger-ui.css",
        "text/css; charset=utf-8",
        include_bytes!("../../../web/docs/swagger-ui.css"),
    ),
    (
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../web/docs/swagger-ui-bundle.js"),
    ),
];

/// `GET /api/docs`
pub(super) async fn show() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(PAGE)
}

/// One of the files that the page is made of.
pub(super) async fn asset(name: Path<String>) -> Result<HttpResponse, ApiError> {
    let (_, content_type, content) = ASSETS
        .iter()
        .find(|(known, ..)| *known == name.as_str())
        .ok_or(RequestError::NotFound)?;
    Ok(HttpResponse::Ok()
        .content_type(*content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=3600"))
        .body(Bytes::from_static(content)))
}
