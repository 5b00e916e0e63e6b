//! What the page is made of beside its text. Each file's name carries a hash of its content,
//! so that browsers may keep it for good.

use std::sync::LazyLock;

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, Path},
};
use sha2::{Digest as _, Sha256};

use crate::http::error::{ApiError, RequestError};

/// Bytes of the hash that stand in a name.
const HASH_BYTES: usize = 8;

/// A file as it is served.
struct Asset {
    path: String,
    content_type: &'static str,
    content: &'static [u8],
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, content: &'static [u8]) -> Self {
        let hash = hex::encode(&Sha256::digest(content)[..HASH_BYTES]);
        Self {
            path: format!("/invite-assets/{stem}.{hash}.{extension}"),
            content_type,
            content,
        }
    }
}

/// Every file.
struct Assets {
    style: Asset,
    script: Asset,
    mark: Asset,
    card: Asset,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "invite",
        "css",
        "text/css; charset=utf-8",
        include_bytes!("../../../web/invite/invite.css"),
    ),
    script: Asset::new(
        "invite",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../web/invite/invite.js"),
    ),
    mark: Asset::new(
        "mark",
        "svg",
        "image/svg+xml",
        include_bytes!("../../../web/invite/mark.svg"),
    ),
    card: Asset::new(
        "card",
        "png",
        "image/png",
        include_bytes!("../../../web/invite/card.png"),
    ),
});

/// Path of the style sheet.
pub(super) fn style() -> &'static str {
    &ASSETS.style.path
}

/// Path of the script.
pub(super) fn script() -> &'static str {
    &ASSETS.script.path
}

/// Path of the logo.
pub(super) fn mark() -> &'static str {
    &ASSETS.mark.path
}

/// Path of the picture that messengers show beside the link.
pub(super) fn card() -> &'static str {
    &ASSETS.card.path
}

/// One of the files; a name with another hash is none.
pub(in crate::http) async fn asset(name: Path<String>) -> Result<HttpResponse, ApiError> {
    let Assets {
        style,
        script,
        mark,
        card,
    } = &*ASSETS;
    let named = |asset: &&&Asset| asset.path.strip_prefix("/invite-assets/") == Some(name.as_str());
    let asset = [style, script, mark, card]
        .iter()
        .find(named)
        .copied()
        .ok_or(RequestError::NotFound)?;
    Ok(HttpResponse::Ok()
        .content_type(asset.content_type)
        .insert_header((header::CACHE_CONTROL, "public, max-age=31536000, immutable"))
        .body(Bytes::from_static(asset.content)))
}
