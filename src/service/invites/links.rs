//! A host's links: make one, see them, end one.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::{Invites, InvitesError, check};
use crate::{
    adapters::sql::{self, Conn, invites, invites::Invite, participants},
    domain::{
        event::{Action, Denied, Role, may},
        id::{EventId, UserId},
        time::Micros,
    },
    service::{
        idempotency::{self, Answer, IdempotencyKey},
        problems::Problems,
    },
};

/// Random bytes of a code: too many to be guessed even by who is not slowed down.
const CODE_BYTES: usize = 12;
const DEFAULT_HOURS: i64 = 168;
/// A year.
const MAX_HOURS: i64 = 8_760;
const MAX_USES: i64 = 1_000_000;
/// Links of one event that count at the same time.
const MAX_OPEN_LINKS: i64 = 100;
/// Links that count no more and are still listed, the newest ones.
const LISTED_DEAD_LINKS: i64 = 100;

/// A request for a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct CreateLink {
    /// Hours until it expires, at most 8,760; 0 or absent means 168.
    pub expires_in_hours: Option<i64>,
    /// How often it may be used, at most 1,000,000; 0 or absent means without limit.
    pub max_uses: Option<i64>,
}

/// A request whose values keep the rules.
#[derive(Debug, Clone, Copy)]
struct ValidLink {
    life: Duration,
    max_uses: i64,
}

impl CreateLink {
    fn validate(self) -> Result<ValidLink, Problems> {
        let hours = self
            .expires_in_hours
            .filter(|hours| *hours != 0)
            .unwrap_or(DEFAULT_HOURS);
        let max_uses = self.max_uses.unwrap_or(0);
        let mut problems = Problems::default();
        if !(1..=MAX_HOURS).contains(&hours) {
            problems.note("/expires_in_hours", format!("a number from 0 to {MAX_HOURS}"));
        }
        if !(0..=MAX_USES).contains(&max_uses) {
            problems.note("/max_uses", format!("a number from 0 to {MAX_USES}"));
        }
        problems.or(ValidLink {
            life: Duration::from_secs(hours.unsigned_abs().saturating_mul(3_600)),
            max_uses,
        })
    }
}

/// A link as its maker reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = InviteLink)]
pub struct Link {
    /// What the link carries.
    pub code: String,
    /// The whole link.
    pub link: String,
    /// From when on it no longer counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Micros>,
    /// How often it may be used; 0 means without limit.
    pub max_uses: i64,
}

/// A link with what has become of it, as its event's host reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = InviteLinkInUse)]
pub struct LinkView {
    /// The link.
    #[serde(flatten)]
    pub link: Link,
    /// How often it was used.
    pub use_count: i64,
    /// Whether the host still wants it; it may have expired or be used up all the same.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Micros,
}

impl Invites {
    /// Makes a link into `event`.
    ///
    /// # Errors
    /// Not the host, an event in a final state, values out of range,
    /// [`InvitesError::TooManyLinks`], or the store failed.
    pub async fn create_link(
        &self,
        actor: UserId,
        event: EventId,
        request: CreateLink,
    ) -> Result<Link, InvitesError> {
        let valid = request.validate()?;
        self.sql
            .change(event, async |conn| {
                self.create_link_in(conn, actor, event, valid).await
            })
            .await
    }

    /// As [`Invites::create_link`]; with a key that an earlier request like this one has
    /// used, no link is made and that one's answer, a [`Link`], is given.
    ///
    /// # Errors
    /// As [`Invites::create_link`], or [`InvitesError::KeyReused`].
    pub async fn create_link_once(
        &self,
        actor: UserId,
        event: EventId,
        request: CreateLink,
        key: Option<&IdempotencyKey>,
    ) -> Result<Answer, InvitesError> {
        let valid = request.validate()?;
        self.sql
            .change(event, async |conn| {
                let now = self.clock.now();
                if let Some(answer) = idempotency::begin::<InvitesError>(conn, actor, key, now).await? {
                    return Ok(answer);
                }
                let link = self.create_link_in(conn, actor, event, valid).await?;
                Ok(idempotency::finish(conn, actor, key, &link).await?)
            })
            .await
    }

    async fn create_link_in(
        &self,
        conn: &mut Conn,
        actor: UserId,
        event: EventId,
        ValidLink { life, max_uses }: ValidLink,
    ) -> Result<Link, InvitesError> {
        let now = self.clock.now();
        let found = sql::events::lock(conn, event).await?.ok_or(Denied::Unknown)?;
        let role = participants::role_of(conn, event, actor).await?;
        may(role, found.status, Action::Invite)?;
        if invites::count_open(conn, event, now).await? >= MAX_OPEN_LINKS {
            return Err(InvitesError::TooManyLinks {
                limit: MAX_OPEN_LINKS,
            });
        }
        let invite = Invite {
            code: URL_SAFE_NO_PAD.encode(rand::random::<[u8; CODE_BYTES]>()),
            event,
            created_by: actor,
            fact_no: found.fact_no,
            expires_at: Some(now.plus(life)),
            max_uses,
            use_count: 0,
            is_active: true,
            created_at: now,
        };
        invites::insert(conn, &invite).await?;
        Ok(self.view(invite).link)
    }

    /// The links into `event`, the newest first: every one that counts, and of the others
    /// the newest 100.
    ///
    /// # Errors
    /// Not the host, an event in a final state, or the store failed.
    pub async fn links(&self, actor: UserId, event: EventId) -> Result<Vec<LinkView>, InvitesError> {
        self.sql
            .read(async |conn| {
                let now = self.clock.now();
                let found = sql::events::find(conn, event).await?.ok_or(Denied::Unknown)?;
                let role = participants::role_of(conn, event, actor).await?;
                may(role, found.status, Action::Invite)?;
                let mut links = invites::open_of(conn, event, now, MAX_OPEN_LINKS).await?;
                links.extend(invites::dead_of(conn, event, now, LISTED_DEAD_LINKS).await?);
                links.sort_by(|one, other| {
                    let age = |link: &Invite| std::cmp::Reverse(link.created_at);
                    age(one).cmp(&age(other)).then_with(|| one.code.cmp(&other.code))
                });
                Ok(links.into_iter().map(|link| self.view(link)).collect())
            })
            .await
    }

    /// Ends the link with this code; one that ended already stays so.
    ///
    /// # Errors
    /// [`InvitesError::NotTheirs`] unless `actor` is the host of its event, or the store failed.
    pub async fn deactivate(&self, actor: UserId, code: &str) -> Result<(), InvitesError> {
        check(code).map_err(|_| InvitesError::NotTheirs)?;
        self.sql
            .write(async |conn| {
                let invite = invites::find(conn, code).await?.ok_or(InvitesError::NotTheirs)?;
                let role = participants::role_of(conn, invite.event, actor).await?;
                if role != Some(Role::Host) {
                    return Err(InvitesError::NotTheirs);
                }
                Ok(invites::deactivate(conn, code).await?)
            })
            .await
    }

    fn view(&self, invite: Invite) -> LinkView {
        LinkView {
            link: Link {
                link: self.link(&invite.code),
                code: invite.code,
                expires_at: invite.expires_at,
                max_uses: invite.max_uses,
            },
            use_count: invite.use_count,
            is_active: invite.is_active,
            created_at: invite.created_at,
        }
    }
}
