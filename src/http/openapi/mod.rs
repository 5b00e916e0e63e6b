//! The API's description (`OpenAPI` 3.1), made from the types that the handlers read and write.
//!
//! - [`document`]: the whole of it, which `docs/openapi.json` keeps.
//! - `op`: the words in which an operation is described.
//! - `accounts`, `events`, `service`: the operations; a test holds them against the route table.
//! - `parts`: answers that several handlers put together.

mod accounts;
mod events;
mod op;
mod parts;
mod service;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, Paths, ServerBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use self::op::BEARER;

const ABOUT: &str = "\
The calls of timingle, a messenger in which the appointment is the conversation. The socket, on which rooms are \
live, is `GET /api/v1/ws`; its frames are described by `/api/v1/asyncapi.yaml`.\n\n\
Every refusal has one body, `Problem`. Its `code` is for programs and never renamed, its `error` may be shown as \
it is. A path that is not here answers 404, another method 405 with `Allow`. Members may be added to any answer: \
ignore those that you do not know. Times are RFC 3339 in UTC; what is sent may have any offset.";

const TAGS: [(&str, &str); 7] = [
    ("sign-in", "Getting a token."),
    ("account", "Who one is, and where one is signed in."),
    ("events", "Appointments, their life, and who takes part."),
    ("invitations", "How people come in."),
    ("records", "What was said and done."),
    ("administration", "For those who look after the service."),
    ("google", "What version 1's clients ask about Google."),
];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // Our own structs have string keys and no failing parts.
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
});

/// The description of every route.
pub fn document() -> OpenApi {
    let mut paths = Paths::new();
    let mut schemas = Vec::new();
    let operations = [
        accounts::operations(),
        events::operations(),
        service::operations(),
    ];
    for op in operations.into_iter().flatten() {
        let described = op.finish();
        schemas.extend(described.schemas);
        let item = PathItem::new(described.method, described.operation);
        match paths.paths.get_mut(described.path) {
            Some(known) => known.merge_operations(item),
            None => {
                paths.paths.insert(described.path.to_owned(), item);
            }
        }
    }
    schemas.sort_by(|one, other| one.0.cmp(&other.0));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The access token of a sign-in."))
        .build();
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme(BEARER, SecurityScheme::Http(bearer))
        .build();
    let license = LicenseBuilder::new()
        .name("MIT OR Apache-2.0")
        .identifier(Some("MIT OR Apache-2.0"))
        .build();
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("timingle")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(ABOUT))
                .license(Some(license))
                .build(),
        )
        .servers(Some([ServerBuilder::new().url("/").build()]))
        .paths(paths)
        .components(Some(components))
        .tags(Some(TAGS.map(|(name, about)| {
            TagBuilder::new().name(name).description(Some(about)).build()
        })))
        .build()
}

/// [`document`] as the text that is served and kept, with a line break at its end.
pub fn text() -> &'static str {
    &DOCUMENT
}

/// `GET /api/v1/openapi.json`
pub(super) async fn serve() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(text())
}

/// `GET /api/v1/asyncapi.yaml`
pub(super) async fn serve_socket() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/yaml")
        .body(include_str!("../../../docs/asyncapi.yaml"))
}
