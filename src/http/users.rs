//! One's own account: what it says, where one is signed in, and its end.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::{
    auth::{AuthUser, UserView},
    error::ApiError,
    extract::{Body, Speaks},
};
use crate::{
    domain::{id::UserId, time::Micros},
    i18n::text,
    realtime::Registry,
    service::{
        account::{Accounts, ChangeProfile},
        auth::Auth,
    },
};

/// The signed-in user.
pub(super) async fn me(AuthUser(identity): AuthUser) -> HttpResponse {
    HttpResponse::Ok().json(UserView::from(identity.user))
}

/// `PATCH /users/me`, and `PUT` with the same meaning: changes what is named.
pub(super) async fn change(
    user: AuthUser,
    Body(request): Body<ChangeProfile>,
    accounts: Data<Accounts>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    let is_renamed = request.name.is_some();
    let changed = accounts.change_profile(user.id(), request).await?;
    if is_renamed {
        show_name(&accounts, &registry, user.id(), Some(&changed.name)).await;
    }
    Ok(HttpResponse::Ok().json(UserView::from(changed)))
}

/// Deletes the account. Not even the access token that asked for it counts afterwards.
pub(super) async fn delete(
    user: AuthUser,
    Speaks(language): Speaks,
    accounts: Data<Accounts>,
    registry: Data<Registry>,
) -> Result<HttpResponse, ApiError> {
    accounts.delete(user.id()).await?;
    show_name(&accounts, &registry, user.id(), None).await;
    Ok(HttpResponse::Ok().json(json!({ "message": text(language, "did-delete-account", &[]) })))
}

/// Has the live rooms show another name. The change itself is done, so a room that does not
/// hear of it is nothing that the caller could mend: it shows the old name until it rests.
async fn show_name(accounts: &Accounts, registry: &Registry, user: UserId, name: Option<&str>) {
    match accounts.events_of(user).await {
        Ok(events) => registry.rename(&events, user, name).await,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(user.id = user.0, error, "live rooms do not hear of a name yet");
        }
    }
}

/// A sign-in as its own user sees it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SignIn)]
pub(super) struct SignInView {
    id: Uuid,
    client: Option<String>,
    created_at: Micros,
    last_used_at: Micros,
    /// Whether the request was made in it.
    current: bool,
}

/// `GET /auth/sessions`: where the user is signed in, the last used first.
pub(super) async fn sign_ins(
    AuthUser(identity): AuthUser,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    let sign_ins = auth.sign_ins(&identity).await?.into_iter();
    let views: Vec<SignInView> = sign_ins
        .map(|sign_in| SignInView {
            id: sign_in.id,
            client: sign_in.client,
            created_at: sign_in.created_at,
            last_used_at: sign_in.last_used_at,
            current: sign_in.id == identity.session,
        })
        .collect();
    Ok(HttpResponse::Ok().json(views))
}

/// `DELETE /auth/sessions/{session}`: signs another device out, or this one.
pub(super) async fn end_sign_in(
    session: Path<Uuid>,
    AuthUser(identity): AuthUser,
    Speaks(language): Speaks,
    auth: Data<Auth>,
) -> Result<HttpResponse, ApiError> {
    auth.end_sign_in(&identity, *session).await?;
    Ok(HttpResponse::Ok().json(json!({ "message": text(language, "did-end-sign-in", &[]) })))
}
