//! What PostgreSQL holds of the events.

use std::collections::{BTreeMap, BTreeSet};

use timingle::domain::id::RoomId;
use tokio_postgres::Client;

use crate::ledger::events::{Event, Row};

/// Every event.
pub(super) async fn events(sql: &Client) -> Vec<Event> {
    let mut events: BTreeMap<i64, Event> = BTreeMap::new();
    let query = "SELECT id, room::text, fact_no, status FROM events";
    for row in sql.query(query, &[]).await.unwrap() {
        let (id, room): (i64, String) = (row.get(0), row.get(1));
        let event = Event {
            id,
            room: RoomId(room.parse().unwrap()),
            fact_no: row.get::<_, i64>(2).try_into().unwrap(),
            status: row.get(3),
            history: Vec::new(),
            participants: BTreeSet::new(),
        };
        events.insert(id, event);
    }
    let query = "SELECT event_id, fact_no, id::text, actor, payload::text, seq FROM event_history \
                 ORDER BY event_id, fact_no";
    for row in sql.query(query, &[]).await.unwrap() {
        let (id, payload): (String, String) = (row.get(2), row.get(4));
        let history = &mut events.get_mut(&row.get(0)).unwrap().history;
        history.push(Row {
            no: row.get::<_, i64>(1).try_into().unwrap(),
            id: id.parse().unwrap(),
            actor: row.get(3),
            change: serde_json::from_str(&payload).unwrap(),
            seq: row.get::<_, Option<i64>>(5).map(|seq| seq.try_into().unwrap()),
        });
    }
    let query = "SELECT event_id, user_id FROM participants";
    for row in sql.query(query, &[]).await.unwrap() {
        let participants = &mut events.get_mut(&row.get(0)).unwrap().participants;
        participants.insert(row.get(1));
    }
    events.into_values().collect()
}

/// How many facts are not known to be in a log.
pub(super) async fn unmarked(sql: &Client) -> i64 {
    let query = "SELECT count(*) FROM event_history WHERE seq IS NULL";
    sql.query_one(query, &[]).await.unwrap().get(0)
}

/// How many events have this title.
pub(super) async fn titled(sql: &Client, title: &str) -> i64 {
    let query = "SELECT count(*) FROM events WHERE title = $1";
    sql.query_one(query, &[&title]).await.unwrap().get(0)
}
