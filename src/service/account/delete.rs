//! An account goes.

use std::time::Duration;

use super::{AccountError, Accounts};
use crate::{
    adapters::sql::{SqlError, idempotency, invites, participants, sessions, users},
    domain::{
        event::{Denied, Role},
        id::{EventId, UserId},
    },
    service::events::EventsError,
};

/// Accounts looked at in one go.
const PAGE: i64 = 100;
/// For so long after its end an account is looked at again and again: a request that was
/// under way meanwhile may have brought it into one more event.
const AFTERMATH: Duration = Duration::from_secs(120);

/// An event that somebody whose account is gone has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Which.
    pub event: EventId,
    /// Who.
    pub user: UserId,
    /// Up to which fact its room's log has to go.
    pub fact_no: u64,
}

impl Accounts {
    /// Deletes the account of `user`: its number is free at once, its name is gone, and so
    /// are its sign-ins with their sockets, its links and its kept answers.
    ///
    /// Its part in events that go on ends by [`Accounts::clear_departed`].
    ///
    /// # Errors
    /// [`AccountError::Unknown`]: it was gone before; or the store failed and all is as it was.
    #[tracing::instrument(name = "delete_account", skip_all, fields(user.id = user.0))]
    pub async fn delete(&self, user: UserId) -> Result<(), AccountError> {
        self.sql
            .write(async |conn| {
                let now = self.clock.now();
                if !users::erase(conn, user, now).await? {
                    return Err(AccountError::Unknown);
                }
                sessions::end_all(conn, user, now).await?;
                idempotency::forget_of(conn, user).await?;
                invites::deactivate_of(conn, user).await?;
                participants::forget_reasons(conn, user).await?;
                Ok(())
            })
            .await?;
        tracing::info!(target: "audit", action = "USER_DELETED", user.id = user.0, "user {user} deleted the account");
        (self.on_barred)(user);
        Ok(())
    }

    /// Ends the part that deleted accounts have in events that go on: those that they host
    /// are called off, others are left. One pass over all of them, to be repeated; what
    /// fails is tried again by the next.
    ///
    /// # Errors
    /// The store failed; what was done so far stands, and is not repeated.
    pub async fn clear_departed(&self) -> Result<Vec<Departure>, SqlError> {
        let (mut departures, mut after) = (Vec::new(), UserId(0));
        loop {
            let gone = users::leaving(&mut *self.sql.get().await?, after, PAGE).await?;
            let Some((last, _)) = gone.last() else {
                return Ok(departures);
            };
            after = *last;
            for (user, since) in gone {
                let is_clear = self.clear(user, &mut departures).await?;
                if is_clear && self.clock.now() >= since.plus(AFTERMATH) {
                    self.forget(user).await?;
                }
            }
        }
    }

    /// Ends the watch on `user`, and once more what a late request may have left behind.
    async fn forget(&self, user: UserId) -> Result<(), SqlError> {
        self.sql
            .write(async |conn| {
                idempotency::forget_of(conn, user).await?;
                invites::deactivate_of(conn, user).await?;
                users::has_left(conn, user).await
            })
            .await
    }

    /// Whether nothing is left to do for `user`.
    async fn clear(&self, user: UserId, departures: &mut Vec<Departure>) -> Result<bool, SqlError> {
        let open = participants::open_of(&mut *self.sql.get().await?, user).await?;
        let is_clear = open.is_empty();
        for (event, role) in open {
            let changed = match role {
                Role::Host => self.events.orphan(event).await,
                Role::Guest => self.events.depart(event, user).await,
            };
            match changed {
                Ok(changed) => departures.push(Departure {
                    event,
                    user,
                    fact_no: changed.fact_no,
                }),
                // It ended, or another node did it, meanwhile.
                Err(EventsError::Denied(Denied::State(_) | Denied::Unknown | Denied::NotParticipant)) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        event.id = event.0,
                        user.id = user.0,
                        error,
                        "a deleted user cannot leave event {event} yet"
                    );
                }
            }
        }
        Ok(is_clear)
    }
}
