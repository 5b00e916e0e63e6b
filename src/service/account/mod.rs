//! Accounts: what people change of their own, deleting one, suspending one.
//!
//! - `delete`: an account goes in one transaction, its part in events in as many as it takes.
//! - `status`: who looks after the service suspends accounts, and who may do that.
//!
//! A deleted account keeps its row and its id, for records name people by id; names are
//! joined when something is shown, so whoever has none is called "someone" everywhere.

mod delete;
mod error;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    adapters::sql::{Sql, SqlError, participants, users},
    domain::{
        id::{EventId, UserId},
        time::Clock,
        user::{User, UserName},
    },
    i18n::Language,
    service::{events::Events, problems::Problems},
};

pub use self::{
    delete::Departure,
    error::{AccountError, StatusError},
};

/// Is told of a user who may not use the service any more, so that the live sockets of
/// this node close at once. Must neither block nor panic.
pub type OnBarred = Arc<dyn Fn(UserId) + Send + Sync>;

/// Accounts. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    sql: Sql,
    events: Events,
    clock: Clock,
    on_barred: OnBarred,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accounts({:?})", self.sql)
    }
}

/// What a user changes of their own account; what is missing or null stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
pub struct ChangeProfile {
    /// Display name, 1-100 characters on one line.
    #[serde(default)]
    pub name: Option<String>,
    /// The language of texts: `ko` or `en`.
    #[serde(default)]
    pub language: Option<String>,
    /// IANA name of a zone.
    #[serde(default)]
    pub timezone: Option<String>,
}

impl Accounts {
    /// Accounts in `sql`, dated by `clock`; who goes leaves `events`.
    pub fn new(sql: Sql, events: Events, clock: Clock, on_barred: OnBarred) -> Self {
        Self {
            sql,
            events,
            clock,
            on_barred,
        }
    }

    /// Changes what a user says of themselves.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] with all problems, [`AccountError::Unknown`], or the store failed.
    #[tracing::instrument(name = "change_profile", skip_all, fields(user.id = user.0))]
    pub async fn change_profile(&self, user: UserId, change: ChangeProfile) -> Result<User, AccountError> {
        let mut problems = Problems::default();
        let name = change.name.map(|name| UserName::parse(&name)).transpose();
        if let Err(error) = &name {
            problems.note("/name", error.to_string());
        }
        let language = change.language.map(|tag| Language::from_tag(&tag));
        if language == Some(None) {
            problems.note("/language", "ko or en");
        }
        let zone = change.timezone.map(|zone| zone.parse::<chrono_tz::Tz>());
        if let Some(Err(_)) = &zone {
            problems.note("/timezone", "a name of a zone such as Asia/Seoul");
        }
        let (name, zone) = problems.or((name, zone))?;
        let name = name.ok().flatten();
        let profile = users::Profile {
            name: name.as_ref().map(UserName::as_str),
            language: language.flatten().map(Language::as_str),
            timezone: zone.and_then(Result::ok).map(chrono_tz::Tz::name),
        };
        let mut conn = self.sql.get().await?;
        users::set_profile(&mut conn, user, profile, self.clock.now())
            .await?
            .ok_or(AccountError::Unknown)
    }

    /// The events in which `user` takes part or ever did: whose rooms may show the name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn events_of(&self, user: UserId) -> Result<Vec<EventId>, SqlError> {
        participants::events_of(&mut *self.sql.get().await?, user).await
    }
}
