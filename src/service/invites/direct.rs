//! Putting somebody in without a link: only whom the host knows from an event they shared.

use super::{Invites, InvitesError, Joined};
use crate::{
    adapters::sql::{self, Conn, participants, people},
    domain::{
        event::{Action, Denied, life::Ask, may},
        id::{EventId, UserId},
        time::Micros,
    },
    service::{
        events::{Changed, Creation, Expected, apply, changed, check_expected},
        idempotency::{self, IdempotencyKey},
    },
};

impl Invites {
    /// Lets `user` take part in `event`, without an answer. Who takes part already
    /// succeeds, and nothing changes.
    ///
    /// # Errors
    /// Not the host, an event in a final state or past its end,
    /// [`InvitesError::NotAcquainted`], [`InvitesError::Full`], or the store failed.
    pub async fn add(&self, actor: UserId, event: EventId, user: UserId) -> Result<Joined, InvitesError> {
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                self.add_in(conn, actor, event, user, &Expected::any(), now).await
            })
            .await
    }

    /// As [`Invites::add`], but only into an event that is as `expected`. With a key that an
    /// earlier request like this one has used, nobody is put in and that one's answer is
    /// given: the event as it was then.
    ///
    /// # Errors
    /// As [`Invites::add`], [`InvitesError::Stale`], or [`InvitesError::KeyReused`].
    pub async fn add_once(
        &self,
        actor: UserId,
        event: EventId,
        user: UserId,
        key: Option<&IdempotencyKey>,
        expected: &Expected,
    ) -> Result<Creation, InvitesError> {
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                if let Some(answer) = idempotency::begin::<InvitesError>(conn, actor, key, now).await? {
                    return Ok(Creation::again(conn, answer).await?);
                }
                let added = self.add_in(conn, actor, event, user, expected, now).await?;
                let Changed { event, .. } = added.changed;
                Ok(Creation::of(
                    idempotency::finish(conn, actor, key, &event).await?,
                )?)
            })
            .await
    }

    async fn add_in(
        &self,
        conn: &mut Conn,
        actor: UserId,
        event: EventId,
        user: UserId,
        expected: &Expected,
        now: Micros,
    ) -> Result<Joined, InvitesError> {
        let found = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
        let role = participants::role_of(conn, event, actor).await?;
        // Before anybody is looked for: who may not add learns nothing about accounts.
        may(role, found.status, Action::Add)?;
        check_expected::<InvitesError>(conn, event, actor, expected).await?;
        let is_repeat = participants::role_of(conn, event, user).await?.is_some();
        if !is_repeat && people::acquainted(conn, actor, &[user]).await?.is_empty() {
            return Err(InvitesError::NotAcquainted);
        }
        let outcome = apply::<InvitesError>(conn, event, Some(actor), Ask::Add(user), now).await?;
        if !is_repeat && participants::count(conn, event).await? > self.max_participants {
            return Err(InvitesError::Full);
        }
        Ok(Joined {
            changed: changed(conn, &outcome.event).await?,
            is_repeat,
        })
    }
}
