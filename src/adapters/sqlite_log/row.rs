//! An entry as a row of the table `entries`, and back.

use bytes::Bytes;
use rusqlite::{Connection, Row, params, types::FromSql};
use uuid::Uuid;

use crate::domain::{
    entry::{Content, Entry, Hash, Kind},
    id::{RoomId, UserId},
    time::Micros,
};

/// What [`entry`] reads, in its order.
macro_rules! columns {
    () => {
        "seq, at, author, kind, key, msg_no, fact_no, reply_to, target, salt, body, digest, hash"
    };
}
pub(super) use columns;

const INSERT: &str = concat!(
    "INSERT INTO entries (room, ",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
);

/// Why a row did not become an entry.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite did not answer.
    Sqlite(rusqlite::Error),
    /// What it holds at this seq is not an entry of ours.
    Corrupt(u64),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether every number of `entry` fits SQLite's signed integers.
pub(super) fn is_storable(entry: &Entry) -> bool {
    [
        entry.seq,
        entry.msg_no,
        entry.fact_no,
        entry.reply_to.unwrap_or(0),
        entry.target.unwrap_or(0),
    ]
    .into_iter()
    .all(|number| i64::try_from(number).is_ok())
}

/// Writes `entry`, which [`is_storable`], into the log of `room`.
pub(super) fn insert(conn: &Connection, room: RoomId, entry: &Entry) -> rusqlite::Result<()> {
    let content = entry.content.as_ref();
    conn.prepare_cached(INSERT)?.execute(params![
        room.0.as_bytes(),
        whole(entry.seq),
        entry.at.0,
        entry.author.map(|user| user.0),
        entry.kind as u8,
        entry.key.as_bytes(),
        whole(entry.msg_no),
        whole(entry.fact_no),
        entry.reply_to.map(whole),
        entry.target.map(whole),
        content.map(|content| content.salt),
        content.map(|content| &content.body[..]),
        entry.digest,
        entry.hash.0,
    ])?;
    Ok(())
}

/// Reads a row of [`columns!`].
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, Fault> {
    let seq = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| Fault::Corrupt(0))?;
    parse(row, seq).ok_or(Fault::Corrupt(seq))
}

fn parse(row: &Row<'_>, seq: u64) -> Option<Entry> {
    fn get<T: FromSql>(row: &Row<'_>, index: usize) -> Option<T> {
        row.get(index).ok()
    }
    let content = match (get::<Option<[u8; 16]>>(row, 9)?, get::<Option<Vec<u8>>>(row, 10)?) {
        (Some(salt), Some(body)) => Some(Content {
            salt,
            body: Bytes::from(body),
        }),
        (None, None) => None,
        _ => return None,
    };
    Some(Entry {
        seq,
        at: Micros(get(row, 1)?),
        author: get::<Option<i64>>(row, 2)?.map(UserId),
        kind: Kind::from_u8(get(row, 3)?)?,
        key: Uuid::from_bytes(get(row, 4)?),
        msg_no: count(get(row, 5)?)?,
        fact_no: count(get(row, 6)?)?,
        reply_to: reference(get(row, 7)?)?,
        target: reference(get(row, 8)?)?,
        content,
        digest: get(row, 11)?,
        hash: Hash(get(row, 12)?),
    })
}

/// `number` for SQLite; beyond its range the largest, which no log reaches.
pub(super) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn count(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

#[expect(
    clippy::option_option,
    reason = "outer: may it stand there; inner: does one stand there"
)]
fn reference(number: Option<i64>) -> Option<Option<u64>> {
    number.map(u64::try_from).transpose().ok()
}
