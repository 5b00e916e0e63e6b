//! No query reads a whole table: that would be slow, and under SERIALIZABLE it would collide
//! with every write to the table.

use std::collections::BTreeMap;

use timingle::{
    adapters::sql::{Sql, idempotency as keys, sessions, users},
    domain::{
        id::{EventId, UserId},
        phone::Phone,
        time::{Clock, Micros},
    },
    ports::FactSource as _,
    service::{
        events::{CreateEvent, Events, ListEvents},
        facts::SqlFacts,
        invites::{CreateLink, Invites},
    },
};
use tokio_postgres::Client;

use super::migrated;
use crate::harness::{database::Database, until};

/// 2030-01-01T00:00:00Z
const NOW: Micros = Micros(1_893_456_000_000_000);

/// More often than the planner looks at the values: also with the plan it then keeps.
const DAYS: i64 = 8;

/// 60,000 people, and 20,000 events with their facts, all of them long ago. With fewer people it
/// would be right to read all of them for a page of events.
const CROWD: &str = "
    insert into users (phone, name, language, timezone, role, status, created_at, updated_at)
        select '+8210' || n, 'name ' || n, 'ko', 'Asia/Seoul', 'USER', 'ACTIVE', now(), now()
        from generate_series(1, 60000) n;
    insert into events (room, title, start_time, end_time, timezone, status, creator_id, fact_no,
            created_at, updated_at, on_deadline, was_confirmed, changes_used, deadline_spent)
        select gen_random_uuid(), 'event', t, t, 'UTC', 'DONE', 1 + n % 5000, 6, t, t, 'stay', true, 0, true
        from (select n, timestamptz '2020-01-01' + n * interval '1 hour' as t from generate_series(1, 20000) n) x;
    insert into participants (event_id, user_id, role, answer, joined_at, read_seq, read_msg_no)
        select e.id, 1 + (e.creator_id - 1 + k + k / 2 * 17000) % 60000, case k when 0 then 'host' else 'guest' end,
            'accepted', e.start_time, 0, 0
        from events e, generate_series(0, 4) k;
    insert into event_history (event_id, fact_no, id, kind, actor, subject, at, payload, seq)
        select e.id, k, gen_random_uuid(), 'participant_joined', 1 + (e.creator_id + k) % 5000,
            1 + (e.creator_id + k) % 5000, e.start_time,
            jsonb_build_object('type', 'participant_joined', 'user', 1 + (e.creator_id + k) % 5000), k
        from events e, generate_series(1, 6) k;
    insert into invites (code, event_id, created_by, fact_no, expires_at, max_uses, use_count, is_active, created_at)
        select 'code-' || e.id, e.id, e.creator_id, 1, e.start_time, 10, 0, true, e.start_time from events e;
    insert into sessions (id, user_id, created_at, last_used_at)
        select gen_random_uuid(), u.id, now(), now() from users u where u.id <= 5000;
    insert into refresh_tokens (hash, session_id, created_at, expires_at)
        select sha256(s.id::text::bytea), s.id, now(), timestamptz '2031-01-01' from sessions s;
    insert into idempotency_keys (user_id, key, fingerprint, answer, created_at)
        select u.id, 'k', sha256('a'), '{}', timestamptz '2030-01-01' from users u where u.id <= 5000;
    analyze";

/// Of each table: how often it was read whole, and how many places of its indexes were read.
async fn reads(client: &Client) -> BTreeMap<String, (i64, i64)> {
    // What other sessions did is told when they end, and seen by a new look.
    let sql = "select t.relname::text, t.seq_scan, sum(i.idx_tup_read)::bigint
        from pg_stat_user_tables t join pg_stat_user_indexes i using (relid)
        where t.relname not like '\\_\\_%' group by 1, 2";
    client
        .execute("select pg_stat_clear_snapshot()", &[])
        .await
        .unwrap();
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect()
}

async fn until_alone(client: &Client) {
    let others = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'";
    until("all sessions to end", || async {
        let others: i64 = client.query_one(others, &[]).await.unwrap().get(0);
        (others == 0).then_some(())
    })
    .await;
}

/// All that happens often.
async fn ordinary_day(sql: &Sql) {
    let clock = Clock::from_fn(|| NOW);
    let events = Events::new(sql.clone(), clock.clone());
    let invites = Invites::new(sql.clone(), clock, 1_000, "http://localhost");
    let facts = SqlFacts::new(sql.clone());
    let (host, friend, guest) = (UserId(7), UserId(8), UserId(4_000));
    let request = CreateEvent {
        title: Some("Dinner".into()),
        start_time: Some("2030-05-01T10:00:00Z".into()),
        end_time: Some("2030-05-01T11:00:00Z".into()),
        participant_ids: Some(vec![friend]),
        ..CreateEvent::default()
    };
    let event = events.create(host, request).await.unwrap().event.id;
    let link = invites
        .create_link(host, event, CreateLink::default())
        .await
        .unwrap();
    invites.info(guest, &link.code).await.unwrap();
    invites.invitation(&link.code).await.unwrap();
    invites.join(guest, &link.code).await.unwrap();
    invites.links(host, event).await.unwrap();
    events.answer(guest, event, true, None).await.unwrap();
    events.read(host, event).await.unwrap();
    for user in [host, guest] {
        events.list(user, ListEvents::default()).await.unwrap();
        events.page(user, &ListEvents::default(), "").await.unwrap();
    }
    events.participants(host, event, "", None).await.unwrap();
    events.due(None, 100).await.unwrap();
    facts.load(event).await.unwrap();
    facts.facts(event, 0, 100).await.unwrap();
    assert!(facts.knows(event, guest).await.unwrap());
    assert!(!facts.knows(event, UserId(3_000)).await.unwrap());
    assert_eq!(facts.unmarked(100).await.unwrap(), [event]);
    facts.readings(host, &[event, EventId(1)]).await.unwrap();
    events.remove_participant(host, event, guest).await.unwrap();
    events.cancel(host, event, None).await.unwrap();

    let mut conn = sql.get().await.unwrap();
    let sign_in = sessions::of_user(&mut conn, host).await.unwrap()[0].id;
    assert!(sessions::by_id(&mut conn, sign_in).await.unwrap().is_some());
    assert!(sessions::by_token(&mut conn, &[0; 32]).await.unwrap().is_none());
    let standing = sessions::standing(&mut conn, &[sign_in, sign_in]).await;
    assert_eq!(standing.unwrap(), [sign_in]);
    sessions::touch(&mut conn, sign_in, NOW).await.unwrap();
    sessions::forget_expired(&mut conn, friend, NOW).await.unwrap();
    let phone = Phone::from_stored("+82107".to_owned());
    assert!(users::by_phone(&mut conn, &phone).await.unwrap().is_some());
    assert!(keys::find(&mut conn, host, "k").await.unwrap().is_some());
    keys::free_older(&mut conn, NOW, 500).await.unwrap();
    users::leaving(&mut conn, UserId(0), 100).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_happens_often_reads_a_whole_table() {
    let database = Database::shared().await;
    let sql = migrated(&database).await;
    let crowd = database.connect().await;
    crowd.batch_execute(CROWD).await.unwrap();
    drop(crowd);
    drop(sql);
    let client = database.connect().await;
    until_alone(&client).await;
    let before = reads(&client).await;
    let sql = migrated(&database).await;
    let marks = database.connect().await;
    for _ in 0..DAYS {
        ordinary_day(&sql).await;
        let mark = "update event_history set seq = fact_no where seq is null";
        marks.execute(mark, &[]).await.unwrap();
    }
    drop(marks);
    drop(sql);
    until_alone(&client).await;
    let after = reads(&client).await;
    assert_eq!(after.len(), 8);
    for (table, (whole, places)) in after {
        let (whole_before, places_before) = before[&table];
        assert_eq!(whole, whole_before, "{table} was read whole");
        let a_day = (places - places_before) / DAYS;
        eprintln!("{table}: {a_day} places of its indexes a day");
        assert!(a_day < 1_000, "{table}: {a_day} places of its indexes a day");
    }
}
