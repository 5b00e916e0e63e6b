//! Who looks after the service, and what they may do to accounts.

use super::{AccountError, Accounts, StatusError};
use crate::{
    adapters::sql::users,
    domain::{
        id::UserId,
        phone::Phone,
        user::{User, UserRole, UserStatus},
    },
    service::problems::Problems,
};

impl Accounts {
    /// Suspends an account or lets it back; a suspended one's sockets on this node close at
    /// once, its next request fails.
    ///
    /// # Errors
    /// [`StatusError::NotAdmin`] before anything is told of `user`; an `ADMIN` may not touch
    /// administrators, nobody themselves, and nothing brings a deleted account back.
    #[tracing::instrument(name = "set_status", skip_all, fields(user.id = user.0))]
    pub async fn set_status(&self, actor: &User, user: UserId, status: &str) -> Result<User, StatusError> {
        if !actor.role.is_admin() {
            return Err(StatusError::NotAdmin);
        }
        let mut problems = Problems::default();
        let status = status
            .parse::<UserStatus>()
            .ok()
            .filter(|status| *status != UserStatus::Deleted);
        if status.is_none() {
            problems.note("/status", "ACTIVE or SUSPENDED");
        }
        let status = problems.or(status)?.unwrap_or(UserStatus::Active);
        let (before, after) = self
            .sql
            .write(async |conn| {
                let before = users::by_id(conn, user).await?;
                let before = before
                    .filter(|user| user.status != UserStatus::Deleted)
                    .ok_or(StatusError::Unknown)?;
                let may = match actor.role {
                    UserRole::SuperAdmin => true,
                    UserRole::Admin => !before.role.is_admin(),
                    UserRole::User | UserRole::Business => false,
                };
                if !may || actor.id == user {
                    return Err(StatusError::Untouchable);
                }
                users::set_status(conn, user, status, self.clock.now()).await?;
                let after = users::by_id(conn, user).await?.ok_or(StatusError::Unknown)?;
                Ok::<_, StatusError>((before, after))
            })
            .await?;
        tracing::info!(
            target: "audit",
            action = if after.is_active() { "USER_ACTIVATED" } else { "USER_SUSPENDED" },
            actor.id = actor.id.0,
            user.id = user.0,
            old = before.status.as_str(),
            new = after.status.as_str(),
            "user {} changed the status of user {user}",
            actor.id
        );
        if !after.is_active() {
            (self.on_barred)(user);
        }
        Ok(after)
    }

    /// Makes the user of `phone` something else to the service. For who has the machine.
    ///
    /// # Errors
    /// [`AccountError::Unknown`]: nobody has this number; or the store failed.
    pub async fn grant(&self, phone: &Phone, role: UserRole) -> Result<UserId, AccountError> {
        let user = self
            .sql
            .write(async |conn| {
                let user = users::by_phone(conn, phone).await?.ok_or(AccountError::Unknown)?;
                users::set_role(conn, user.id, role, self.clock.now()).await?;
                Ok::<_, AccountError>(user)
            })
            .await?;
        tracing::info!(
            target: "audit",
            action = "USER_ROLE_CHANGED",
            user.id = user.id.0,
            old = user.role.as_str(),
            new = role.as_str(),
            "user {} was made {}",
            user.id,
            role.as_str()
        );
        Ok(user.id)
    }
}
