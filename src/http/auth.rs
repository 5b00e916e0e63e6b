//! Signing in and out, and who one is.

use std::rc::Rc;

use actix_web::{
    FromRequest, HttpMessage as _, HttpRequest, HttpResponse, dev::Payload, http::header, rt, web::Data,
};
use futures_util::future::{FutureExt as _, LocalBoxFuture, Ready, TryFutureExt as _, ready};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    error::ApiError,
    extract::{Body, Speaks, UserLanguage, address_of, named_language},
};
use crate::{
    domain::{id::UserId, time::Micros, user::User},
    error::{Coded, ErrorCode},
    i18n::{Language, text},
    service::auth::{Auth, Caller, Identity, SignedIn, Tokens},
};

/// The signed-in user of a request. Whoever takes this as an argument is for them only.
#[derive(Debug)]
pub(super) struct AuthUser(pub(super) Identity);

impl AuthUser {
    /// Who.
    pub(super) fn id(&self) -> UserId {
        self.0.user.id
    }
}

/// There is no access token in the request.
#[derive(Debug, thiserror::Error)]
#[error("the request has no bearer token")]
struct TokenMissing;

impl Coded for TokenMissing {
    fn code(&self) -> ErrorCode {
        ErrorCode::AuthTokenMissing
    }
}

/// The check of a token panicked.
#[derive(Debug, thiserror::Error)]
#[error("the check of an access token panicked")]
struct AuthenticationFell;

impl Coded for AuthenticationFell {
    fn code(&self) -> ErrorCode {
        ErrorCode::InternalError
    }
}

/// Who makes a request, found out at most once however many extractors ask.
#[derive(Default)]
struct Known(OnceCell<Identity>);

impl FromRequest for AuthUser {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        identify(request.clone()).map_ok(Self).boxed_local()
    }
}

/// Who makes `request`. Leaves the user's language and what is left of their requests for
/// [`super::edge()`], which renders what comes of it.
pub(super) async fn identify(request: HttpRequest) -> Result<Identity, ApiError> {
    let known = {
        let mut extensions = request.extensions_mut();
        if !extensions.contains::<Rc<Known>>() {
            extensions.insert(Rc::new(Known::default()));
        }
        extensions.get::<Rc<Known>>().cloned().unwrap_or_default()
    };
    let identity = known.0.get_or_try_init(async || {
        let token = bearer(&request).map(str::to_owned);
        let auth = request.app_data::<Data<Auth>>().cloned();
        let (Some(token), Some(auth)) = (token, auth) else {
            return Err(ApiError::from(TokenMissing));
        };
        let asking = auth.clone();
        // A task of its own: another extractor's failure must not stop a query half way.
        let known = rt::spawn(async move { asking.authenticate(&token).await });
        let identity = known.await.map_err(|_| AuthenticationFell)??;
        if let Some(language) = Language::from_tag(&identity.user.language) {
            request.extensions_mut().insert(UserLanguage(language));
        }
        let counted = auth.count_request(identity.user.id).await;
        let left = counted.as_ref().map_or_else(|used_up| used_up.left, |left| *left);
        request.extensions_mut().insert(left);
        counted?;
        Ok(identity)
    });
    identity.await.cloned()
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request
        .headers()
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Who asks to be signed in, and from where.
#[derive(Debug)]
pub(super) struct Asking(Caller);

impl FromRequest for Asking {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(Caller {
            addr: address_of(request),
            language: named_language(request.headers()),
            client: request
                .headers()
                .get(header::USER_AGENT)
                .and_then(|agent| agent.to_str().ok())
                .map(str::to_owned),
        })))
    }
}

/// A user as they see themselves. Version 1's app wants every one of these.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[schema(as = User)]
pub(super) struct UserView {
    id: UserId,
    phone: String,
    name: String,
    role: &'static str,
    is_active: bool,
    timezone: String,
    language: String,
    created_at: Micros,
    updated_at: Micros,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            phone: user
                .phone
                .as_ref()
                .map(|phone| phone.as_str().to_owned())
                .unwrap_or_default(),
            role: user.role.as_str(),
            is_active: user.is_active(),
            name: user.name,
            timezone: user.timezone,
            language: user.language,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// The answer to every kind of sign-in: version 1's app reads the user's fields beside
/// the tokens, its Postman collection under `user`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SignedIn)]
pub(super) struct SignedInView {
    #[serde(flatten)]
    fields: UserView,
    user: UserView,
    access_token: String,
    refresh_token: String,
    /// Seconds.
    expires_in: u64,
    token_type: &'static str,
    is_new_user: bool,
}

fn signed_in(signed_in: SignedIn) -> HttpResponse {
    let SignedIn {
        user, is_new, tokens, ..
    } = signed_in;
    let Tokens {
        access,
        refresh,
        expires_in,
        ..
    } = tokens;
    let user = UserView::from(user);
    let mut response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    response.json(SignedInView {
        fields: user.clone(),
        user,
        access_token: access,
        refresh_token: refresh,
        expires_in: expires_in.as_secs(),
        token_type: "Bearer",
        is_new_user: is_new,
    })
}

/// `POST /auth/phone/send`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct SendCode {
    phone: String,
}

/// Sends a one-time code.
pub(super) async fn send_code(
    Body(request): Body<SendCode>,
    Asking(caller): Asking,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let sent = auth.send_code(&request.phone, &caller).await?;
    Ok(HttpResponse::Ok().json(json!({
        "verification_id": sent.verification_id,
        "expires_at": sent.expires_at,
    })))
}

/// `POST /auth/phone/verify`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct VerifyCode {
    verification_id: Uuid,
    code: String,
    #[serde(default)]
    name: Option<String>,
}

/// Signs in whoever has the code, and makes an account for a new number.
pub(super) async fn verify_code(
    Body(request): Body<VerifyCode>,
    Asking(caller): Asking,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let VerifyCode {
        verification_id,
        code,
        name,
    } = request;
    Ok(signed_in(
        auth.verify_code(verification_id, &code, name.as_deref(), &caller)
            .await?,
    ))
}

/// `POST /auth/register`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct Register {
    phone: String,
    #[serde(default)]
    name: Option<String>,
}

/// Signs in without proof, and makes an account for a new number.
pub(super) async fn register(
    Body(request): Body<Register>,
    Asking(caller): Asking,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let Register { phone, name } = request;
    Ok(signed_in(auth.register(&phone, name.as_deref(), &caller).await?))
}

/// `POST /auth/login`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct Login {
    phone: String,
}

/// Signs in a known number without proof.
pub(super) async fn login(
    Body(request): Body<Login>,
    Asking(caller): Asking,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    Ok(signed_in(auth.login(&request.phone, &caller).await?))
}

/// `POST /auth/refresh`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct Refresh {
    refresh_token: String,
    /// Whether another refresh token is to take the place of this one; null is no.
    #[serde(default)]
    rotate: Option<bool>,
}

/// Gives a new access token. The refresh token stays the same unless its client asks for
/// another: version 1's clients keep the first.
pub(super) async fn refresh(
    Body(request): Body<Refresh>,
    Asking(caller): Asking,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    Ok(signed_in(
        auth.refresh(
            &request.refresh_token,
            request.rotate.unwrap_or(false),
            caller.addr,
        )
        .await?,
    ))
}

/// Ends the session of the access token. A body is not looked at.
pub(super) async fn logout(
    AuthUser(identity): AuthUser,
    Speaks(language): Speaks,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    auth.logout(&identity).await?;
    Ok(HttpResponse::Ok().json(json!({ "message": text(language, "did-sign-out", &[]) })))
}
