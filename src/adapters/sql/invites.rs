//! Rows of `invites`: links by which one may join an event.

use chrono::{DateTime, Utc};
use diesel::{dsl::not, prelude::*, sql_types::Bool};
use diesel_async::RunQueryDsl;

use super::{Common, Conn, SqlError, schema::invites, words};
use crate::domain::{
    id::{EventId, UserId},
    time::Micros,
};

/// An invite link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// What the link carries. Whoever knows it may join: never into a log line.
    pub code: String,
    /// Into which event it leads.
    pub event: EventId,
    /// Who made it.
    pub created_by: UserId,
    /// How many facts the event had when it was made.
    pub fact_no: u64,
    /// From when on it no longer counts.
    pub expires_at: Option<Micros>,
    /// How often it may be used; 0 means without limit.
    pub max_uses: i64,
    /// How often it was used.
    pub use_count: i64,
    /// Whether its maker still wants it.
    pub is_active: bool,
    /// When it was made.
    pub created_at: Micros,
}

impl Invite {
    /// Whether it could be used at `now`. Only [`use_once`] decides.
    pub fn is_open(&self, now: Micros) -> bool {
        self.is_active
            && self.expires_at.is_none_or(|expires_at| now < expires_at)
            && (self.max_uses == 0 || self.use_count < self.max_uses)
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = invites, check_for_backend(Common), treat_none_as_default_value = false)]
struct InviteRow {
    code: String,
    event_id: i64,
    created_by: i64,
    fact_no: i64,
    expires_at: Option<DateTime<Utc>>,
    max_uses: i64,
    use_count: i64,
    is_active: bool,
    created_at: DateTime<Utc>,
}

impl TryFrom<InviteRow> for Invite {
    type Error = SqlError;

    fn try_from(row: InviteRow) -> Result<Self, SqlError> {
        Ok(Self {
            code: row.code,
            event: EventId(row.event_id),
            created_by: UserId(row.created_by),
            fact_no: words::unsigned(row.fact_no)?,
            expires_at: row.expires_at.map(Micros::from),
            max_uses: row.max_uses,
            use_count: row.use_count,
            is_active: row.is_active,
            created_at: row.created_at.into(),
        })
    }
}

/// Keeps a link.
///
/// # Errors
/// The store failed, or the code exists.
pub async fn insert(conn: &mut Conn, invite: &Invite) -> Result<(), SqlError> {
    diesel::insert_into(invites::table)
        .values(InviteRow {
            code: invite.code.clone(),
            event_id: invite.event.0,
            created_by: invite.created_by.0,
            fact_no: words::signed(invite.fact_no),
            expires_at: invite.expires_at.map(Micros::to_datetime),
            max_uses: invite.max_uses,
            use_count: invite.use_count,
            is_active: invite.is_active,
            created_at: invite.created_at.to_datetime(),
        })
        .execute(conn)
        .await?;
    Ok(())
}

/// The link with this code, whether or not it still counts.
///
/// # Errors
/// The store failed.
pub async fn find(conn: &mut Conn, code: &str) -> Result<Option<Invite>, SqlError> {
    invites::table
        .find(code)
        .select(InviteRow::as_select())
        .first::<InviteRow>(conn)
        .await
        .optional()?
        .map(Invite::try_from)
        .transpose()
}

/// What a row satisfies by which one could join at `now`.
fn is_open(now: Micros) -> Box<dyn BoxableExpression<invites::table, Common, SqlType = Bool>> {
    Box::new(
        invites::is_active
            .eq(true)
            .and(
                invites::expires_at
                    .is_null()
                    .or(invites::expires_at.assume_not_null().gt(now.to_datetime())),
            )
            .and(
                invites::max_uses
                    .eq(0)
                    .or(invites::use_count.lt(invites::max_uses)),
            ),
    )
}

/// How many links into `event` count at `now`.
///
/// # Errors
/// The store failed.
pub async fn count_open(conn: &mut Conn, event: EventId, now: Micros) -> Result<i64, SqlError> {
    Ok(invites::table
        .filter(invites::event_id.eq(event.0))
        .filter(is_open(now))
        .count()
        .get_result(conn)
        .await?)
}

/// The newest `limit` links into `event` that count at `now`.
///
/// # Errors
/// The store failed.
pub async fn open_of(
    conn: &mut Conn,
    event: EventId,
    now: Micros,
    limit: i64,
) -> Result<Vec<Invite>, SqlError> {
    newest(conn, event, is_open(now), limit).await
}

/// The newest `limit` links into `event` that do not count at `now`.
///
/// # Errors
/// The store failed.
pub async fn dead_of(
    conn: &mut Conn,
    event: EventId,
    now: Micros,
    limit: i64,
) -> Result<Vec<Invite>, SqlError> {
    newest(conn, event, Box::new(not(is_open(now))), limit).await
}

async fn newest(
    conn: &mut Conn,
    event: EventId,
    which: Box<dyn BoxableExpression<invites::table, Common, SqlType = Bool>>,
    limit: i64,
) -> Result<Vec<Invite>, SqlError> {
    invites::table
        .filter(invites::event_id.eq(event.0))
        .filter(which)
        .order((invites::created_at.desc(), invites::code))
        .limit(limit)
        .select(InviteRow::as_select())
        .load::<InviteRow>(conn)
        .await?
        .into_iter()
        .map(Invite::try_from)
        .collect()
}

/// Ends the link with this code.
///
/// # Errors
/// The store failed.
pub async fn deactivate(conn: &mut Conn, code: &str) -> Result<(), SqlError> {
    diesel::update(invites::table.find(code))
        .set(invites::is_active.eq(false))
        .execute(conn)
        .await?;
    Ok(())
}

/// Uses the link once, if at `now` it still counts: check and count are one statement,
/// so that no race uses it too often. Whether it counted.
///
/// # Errors
/// The store failed.
pub async fn use_once(conn: &mut Conn, code: &str, now: Micros) -> Result<bool, SqlError> {
    let used = diesel::update(invites::table.find(code))
        .filter(invites::is_active.eq(true))
        .filter(
            invites::expires_at
                .is_null()
                .or(invites::expires_at.assume_not_null().gt(now.to_datetime())),
        )
        .filter(
            invites::max_uses
                .eq(0)
                .or(invites::use_count.lt(invites::max_uses)),
        )
        .set(invites::use_count.eq(invites::use_count + 1))
        .execute(conn)
        .await?;
    Ok(used > 0)
}

/// Ends every link that `user` has made.
///
/// # Errors
/// The store failed.
pub async fn deactivate_of(conn: &mut Conn, user: UserId) -> Result<(), SqlError> {
    diesel::update(invites::table.filter(invites::created_by.eq(user.0)))
        .set(invites::is_active.eq(false))
        .execute(conn)
        .await?;
    Ok(())
}
