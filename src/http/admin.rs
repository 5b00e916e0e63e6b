//! What those may do who look after the service.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{auth::AuthUser, error::ApiError, extract::Body};
use crate::{
    domain::{id::UserId, time::Micros, user::User},
    service::account::Accounts,
};

/// An account as administrators see one. No phone number: nothing that they do needs it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountView {
    id: UserId,
    name: String,
    role: &'static str,
    status: &'static str,
    created_at: Micros,
    updated_at: Micros,
}

impl From<User> for AccountView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name,
            role: user.role.as_str(),
            status: user.status.as_str(),
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// `PATCH /admin/users/{user}/status`
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct SetStatus {
    status: String,
}

/// Suspends an account or lets it back.
pub(super) async fn set_status(
    user: Path<UserId>,
    AuthUser(identity): AuthUser,
    Body(request): Body<SetStatus>,
    accounts: Data<Accounts>,
) -> Result<HttpResponse, ApiError> {
    let changed = accounts
        .set_status(&identity.user, *user, &request.status)
        .await?;
    Ok(HttpResponse::Ok().json(json!({ "user": AccountView::from(changed) })))
}
