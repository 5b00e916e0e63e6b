//! What every node would do is done once.

use std::{collections::BTreeMap, time::Duration};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use timingle::{app::Overrides, domain::time::Micros};

use crate::harness::{
    TestApp, User,
    cluster::Stage,
    log::now,
    proxy::{Proxy, Way},
    until,
};

/// Events that come due in the same moment.
const EVENTS: usize = 20;

fn after(seconds: i64) -> Value {
    json!(Micros(now().0 + seconds * 1_000_000))
}

async fn create(host: &User, event: Value) -> i64 {
    let (status, answer) = host.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(status, 201, "{answer}");
    answer["id"].as_i64().unwrap()
}

/// How often each fact stands in the history of `event`, and whether all are known to be in its log.
async fn history(sql: &tokio_postgres::Client, event: i64) -> (BTreeMap<String, usize>, bool) {
    let query = "SELECT kind, seq FROM event_history WHERE event_id = $1";
    let (mut kinds, mut marked) = (BTreeMap::new(), true);
    for row in sql.query(query, &[&event]).await.unwrap() {
        *kinds.entry(row.get(0)).or_insert(0) += 1;
        marked &= row.get::<_, Option<i64>>(1).is_some();
    }
    (kinds, marked)
}

/// The record of `event` as every one of `nodes` tells it, which is the same.
async fn facts(host: &User, nodes: &[TestApp], event: i64) -> Vec<String> {
    let mut records = Vec::new();
    for node in nodes {
        let mut socket = host.at(node.address).connect().await;
        records.push(socket.whole_record(event).await);
    }
    for record in &records[1..] {
        record.assert_holds(&records[0].entries, "another node");
    }
    records[0].assert_whole();
    records[0].facts()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadline_strikes_once_although_every_node_keeps_time() {
    let stage = Stage::new().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let haste = |config: &mut timingle::config::Config| {
            config.events.due_poll = Duration::from_millis(20);
            config.room.sweep = Duration::from_millis(50);
        };
        nodes.push(stage.node_with(haste, Overrides::default()).await);
    }
    let host = nodes[0].user("host").await;
    let guest = nodes[0].user("guest").await;
    let mut events = Vec::new();
    for number in 0..EVENTS {
        let event = json!({
            "title": format!("Due {number}"),
            "start_time": after(1_000),
            "end_time": after(2_000),
            // Its own: making all of them may take longer than that.
            "confirm_by": after(6),
            "on_deadline": "cancel",
        });
        // Made and watched on whichever node.
        let host = host.at(nodes[number % 3].address);
        let event = create(&host, event).await;
        host.bring(&guest.at(nodes[(number + 1) % 3].address), event)
            .await;
        events.push(event);
    }
    let sql = stage.database.connect().await;
    for event in &events {
        let kinds = until("the deadline, in the log", || async {
            let (kinds, marked) = history(&sql, *event).await;
            (marked && kinds.contains_key("canceled")).then_some(kinds)
        })
        .await;
        assert!(kinds.values().all(|count| *count == 1), "{kinds:?}");
        let told = facts(&host, &nodes, *event).await;
        assert_eq!(
            told,
            [
                "event_created",
                "participant_joined",
                "deadline_passed",
                "canceled"
            ],
            "event {event}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fact_that_its_node_could_not_record_is_swept_up_once_by_the_others() {
    let mut stage = Stage::new().await;
    let haste = |config: &mut timingle::config::Config| {
        config.room.sweep = Duration::from_millis(50);
        config.room.publish_timeout = Duration::from_secs(1);
    };
    let others = [
        stage.node_with(haste, Overrides::default()).await,
        stage.node_with(haste, Overrides::default()).await,
    ];
    let log = Proxy::to(stage.places.cassandra[0]).await;
    stage.places.cassandra = vec![log.address()];
    let lonely = stage.node_with(haste, Overrides::default()).await;
    let host = lonely.user("host").await;
    let event = host.create_event("A log that is away").await;
    log.stall_one_way(Way::Requests);
    for number in 0..5 {
        let title = json!({ "title": format!("Changed {number}") });
        let (status, body) = host
            .call(Method::PUT, &format!("/events/{event}"), Some(title))
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        assert_eq!(body["record_pending"], true, "{body}");
    }
    let sql = stage.database.connect().await;
    until("the sweep of the others", || async {
        history(&sql, event).await.1.then_some(())
    })
    .await;
    log.heal();
    let all = [&others[..], &[lonely]];
    for nodes in all {
        let told = facts(&host, nodes, event).await;
        assert_eq!(told[0], "event_created");
        assert_eq!(told[1..], ["event_updated"; 5]);
    }
}
