//! The conversation over HTTP.

use reqwest::Method;
use serde_json::Value;

use super::client::{Chat, Dio, texts};
use crate::harness::TestApp;

fn numbers(range: impl Iterator<Item = u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn page_is_the_newest_and_every_older_one_can_be_reached() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
        // So that older pages come from the log.
        config.room.tail_entries = 20;
    })
    .await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let mut chat = Chat::open(&ada, event).await;
    for n in 1..=120 {
        chat.say(&n.to_string()).await;
    }
    for _ in 1..=120 {
        chat.words().await;
    }
    let dio = Dio::of(&ada);
    let newest = dio.messages(event, "").await;
    assert_eq!(
        texts(&newest),
        numbers((71..=120).rev()),
        "message 51 and later are seen"
    );
    assert_eq!(dio.messages(event, "?limit=50").await, newest);
    assert_eq!(dio.messages(event, "?limit=500").await.len(), 100);
    assert_eq!(texts(&dio.messages(event, "?limit=1").await), ["120"]);

    // Back from page to page by the last id: everything, each once.
    let mut all = newest.clone();
    while let Some(last) = all.last().map(|message| message.message_id.clone()) {
        let page = dio.messages(event, &format!("?limit=50&before={last}")).await;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let (note, words) = all.split_last().unwrap();
    assert_eq!(texts(words), numbers((1..=120).rev()));
    assert_eq!((note.message_type.as_str(), note.sender_id), ("system", ada.id));
    // And forwards from a seq.
    let forwards = dio.messages(event, "?order=asc&after=1&limit=100").await;
    assert_eq!(texts(&forwards), numbers(1..=100));
    let by_seq = dio.messages(event, "?before=3").await;
    assert_eq!(
        texts(&by_seq)[0],
        "1",
        "seq 1 is the fact, seq 2 the first message"
    );

    for (query, status) in [
        ("?limit=0", 422),
        ("?limit=-1", 422),
        ("?limit=ten", 400),
        ("?order=sideways", 422),
        ("?before=yesterday", 422),
    ] {
        let path = format!("/api/v1/events/{event}/messages{query}");
        let answer = dio.ask(Method::GET, &path, None).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn page_counts_as_read() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    let mut chat = Chat::open(&ada, event).await;
    for text in ["one", "two"] {
        chat.say(text).await;
        chat.words().await;
    }
    let dio = Dio::of(&min);
    let unread = async || {
        let list = dio
            .done(Method::GET, "/api/v1/events?page=1&limit=20", None, 200)
            .await;
        list[0]["unread_messages"].as_i64()
    };
    assert_eq!(unread().await, Some(2));
    dio.messages(event, "?limit=50").await;
    crate::harness::until("the mark", || async { (unread().await == Some(0)).then_some(()) }).await;
}

#[tokio::test]
async fn page_is_bare_and_empty_where_there_is_nothing() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let event = ada.create_event("Lesson").await;
    let path = format!("/api/v1/events/{event}/messages?after=99");
    let page = Dio::of(&ada).done(Method::GET, &path, None, 200).await;
    assert_eq!(page, Value::Array(Vec::new()));
}
