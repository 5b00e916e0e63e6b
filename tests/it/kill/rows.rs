//! What the relational store of a killed server holds.

use std::collections::BTreeSet;

use rusqlite::Connection;
use timingle::domain::id::RoomId;
use uuid::Uuid;

use crate::ledger::events::{Event, Row};

/// Every event.
pub(super) fn events(sql: &Connection) -> Vec<Event> {
    let mut statement = sql
        .prepare("SELECT id, room, fact_no, status FROM events ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| {
        let (id, room): (i64, [u8; 16]) = (row.get(0)?, row.get(1)?);
        Ok(Event {
            id,
            room: RoomId(Uuid::from_bytes(room)),
            fact_no: row.get::<_, u32>(2)?.into(),
            status: row.get(3)?,
            history: history(sql, id),
            participants: participants(sql, id),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn history(sql: &Connection, event: i64) -> Vec<Row> {
    let query =
        "SELECT fact_no, id, actor, payload, seq FROM event_history WHERE event_id = ?1 ORDER BY fact_no";
    let mut statement = sql.prepare_cached(query).unwrap();
    let rows = statement.query_map([event], |row| {
        let (id, payload): ([u8; 16], String) = (row.get(1)?, row.get(3)?);
        Ok(Row {
            no: row.get::<_, u32>(0)?.into(),
            id: Uuid::from_bytes(id),
            actor: row.get(2)?,
            change: serde_json::from_str(&payload).unwrap(),
            seq: row.get::<_, Option<u32>>(4)?.map(u64::from),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn participants(sql: &Connection, event: i64) -> BTreeSet<i64> {
    let query = "SELECT user_id FROM participants WHERE event_id = ?1";
    let mut statement = sql.prepare_cached(query).unwrap();
    let rows = statement.query_map([event], |row| row.get(0));
    rows.unwrap().map(Result::unwrap).collect()
}
