//! The page behind an invite link, for whoever opens it, signed in or not.
//!
//! It says what, when, who invites and how to join, and nothing else of the event. A link
//! that cannot be used and one that never was give the same page.
//!
//! - here: the page.
//! - `when`: an event's time in words.
//! - `assets`: style, script and pictures.

mod assets;
#[cfg(test)]
mod tests;
mod when;

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::Data,
};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use self::when::{When, moment};
use super::{
    edge::OwnBody,
    error::ApiError,
    extract::{address_of, language_of},
};
use crate::{
    error::{Coded, ErrorCode},
    i18n::{Arg, Language, error_text, text},
    ports::RateLimited,
    service::{
        auth::Auth,
        invites::{Invitation, Invites},
    },
};

pub(super) use self::assets::asset;

/// Everything comes from this server, nothing stands in the page itself, nobody frames it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.set_undefined_behavior(UndefinedBehavior::Strict);
    pages.set_auto_escape_callback(|_| AutoEscape::Html);
    // Embedded: a test refuses one that is damaged.
    let page = include_str!("../../../web/invite/page.html");
    if let Err(error) = pages.add_template("page", page) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the invite page is damaged"
        );
    }
    pages
});

/// The page could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the invite page could not be made")]
struct NotMade(#[from] minijinja::Error);

impl Coded for NotMade {
    fn code(&self) -> ErrorCode {
        ErrorCode::InternalError
    }
}

/// The page of a link, in the language of `?lang=`, else of `Accept-Language`.
pub(super) async fn show(
    request: HttpRequest,
    invites: Data<Invites>,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let language = asked_language(&request);
    let base = invites.public_url();
    // Before the link is looked up: nobody shall find one by trying.
    if let Err(limited) = auth.count_invite_lookup(address_of(&request)).await {
        return busy(language, base, limited);
    }
    // As it stands in the path, not decoded: none of our codes needs that.
    let code = request.match_info().get("code").unwrap_or_default();
    match invites.invitation(code).await? {
        Some(invitation) => open(language, base, &invitation),
        None => closed(language, base),
    }
}

fn asked_language(request: &HttpRequest) -> Language {
    url::form_urlencoded::parse(request.query_string().as_bytes())
        .find(|(name, _)| name == "lang")
        .and_then(|(_, tag)| Language::from_tag(&tag))
        .unwrap_or_else(|| language_of(request.headers()))
}

fn open(language: Language, base: &str, invitation: &Invitation) -> Result<HttpResponse, ApiError> {
    let Invitation {
        link,
        code,
        title,
        start_time,
        end_time,
        timezone,
        host,
        expires_at,
    } = invitation;
    let host = host
        .as_ref()
        .map(|name| text(language, "person", &[("name", Arg::Text(name))]));
    let heading = text(
        language,
        "invite-heading",
        &[
            ("has_host", Arg::Text(if host.is_some() { "yes" } else { "no" })),
            ("host", Arg::Text(host.as_deref().unwrap_or_default())),
        ],
    );
    let when = When::new(language, *start_time, *end_time, timezone);
    // Nobody joins an event that is over, however long its link is meant to live.
    let until = expires_at.map_or(*end_time, |expires_at| expires_at.min(*end_time));
    let until = moment(language, until, timezone);
    let line = when.in_one_line(language);
    let preview = [("heading", Arg::Text(&heading)), ("when", Arg::Text(&line))];
    let preview = text(language, "invite-preview", &preview);
    let invitation = context! {
        link => url_value(link),
        code,
        heading,
        when,
        until => text(language, "invite-until", &[("until", Arg::Text(&until))]),
        command => url_value(&format!("timingle chat --server {base} --invite {code}")),
    };
    let page = render(language, base, title, &preview, &invitation)?;
    Ok(answer(StatusCode::OK, language, page))
}

fn closed(language: Language, base: &str) -> Result<HttpResponse, ApiError> {
    let title = text(language, "invite-closed", &[]);
    let preview = text(language, "invite-closed-text", &[]);
    let page = render(language, base, &title, &preview, &Value::from(()))?;
    Ok(answer(StatusCode::NOT_FOUND, language, page))
}

fn busy(language: Language, base: &str, limited: RateLimited) -> Result<HttpResponse, ApiError> {
    let title = text(language, "invite-busy", &[]);
    let preview = error_text(language, &limited);
    let page = render(language, base, &title, &preview, &Value::from(()))?;
    let mut response = answer(StatusCode::TOO_MANY_REQUESTS, language, page);
    let seconds = limited.retry_after.as_millis().div_ceil(1_000).max(1);
    if let Ok(seconds) = header::HeaderValue::from_str(&seconds.to_string()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    Ok(response)
}

fn render(
    language: Language,
    base: &str,
    title: &str,
    preview: &str,
    invitation: &Value,
) -> Result<String, NotMade> {
    let say = |key| text(language, key, &[]);
    let (locale, other) = match language {
        Language::Ko => ("ko_KR", Language::En),
        Language::En => ("en_US", Language::Ko),
    };
    let page = context! {
        language => language.as_str(),
        locale,
        title,
        preview,
        invitation,
        other => context! { language => other.as_str(), name => text(other, "language-name", &[]) },
        card => url_value(&format!("{base}{}", assets::card())),
        assets => context! {
            style => url_value(assets::style()),
            script => url_value(assets::script()),
            mark => url_value(assets::mark()),
        },
        words => context! {
            when => say("invite-when"),
            yours => say("invite-yours"),
            how => say("invite-how"),
            step_open => say("invite-step-open"),
            step_code => say("invite-step-code"),
            step_answer => say("invite-step-answer"),
            code => say("invite-code"),
            copy => say("invite-copy"),
            copied => say("invite-copied"),
            without => say("invite-without"),
            without_text => say("invite-without-text"),
            terminal => say("invite-terminal"),
            about => say("invite-about"),
        },
    };
    Ok(PAGES.get_template("page")?.render(page)?)
}

/// An address as it is, where nothing in it means anything to HTML: escaping its slashes too
/// would be right, but not every messenger's robot undoes that.
fn url_value(url: &str) -> Value {
    if url.contains(['"', '\'', '<', '>', '&']) {
        Value::from(url)
    } else {
        Value::from_safe_string(url.to_owned())
    }
}

fn answer(status: StatusCode, language: Language, page: String) -> HttpResponse {
    let mut response = HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::CONTENT_LANGUAGE, language.as_str()))
        .insert_header(("x-robots-tag", "noindex, nofollow"))
        .body(page);
    response.extensions_mut().insert(OwnBody);
    response
}
