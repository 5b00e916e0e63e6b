//! What a client that comes back is told: what it missed, once, and nothing it had.

use std::{collections::BTreeMap, time::Duration};

use timingle::app::Overrides;
use tokio::time::Instant;

use super::client::{Chat, Dio, Opening, texts};
use crate::harness::{TestApp, User, until};

/// The texts that come up to `last`, without notes.
async fn words_to(chat: &mut Chat, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|text| text != last) {
        heard.push(chat.words().await.message);
    }
    heard
}

async fn pair(app: &TestApp) -> (User, User, i64) {
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let event = ada.create_event("Lesson").await;
    ada.bring(&min, event).await;
    (ada, min, event)
}

#[tokio::test]
async fn socket_begins_right_behind_the_last_page_of_history() {
    let app = TestApp::spawn().await;
    let (ada, min, event) = pair(&app).await;
    let mut at_ada = Chat::open(&ada, event).await;
    at_ada.say("in the page").await;
    at_ada.words().await;
    let page = Dio::of(&min).messages(event, "?limit=50").await;
    assert_eq!(page[0].message, "in the page");
    at_ada.say("between page and socket").await;
    at_ada.words().await;
    let mut at_min = Chat::open(&min, event).await;
    at_ada.say("live").await;
    assert_eq!(
        words_to(&mut at_min, "live").await,
        ["between page and socket", "live"]
    );
}

#[tokio::test]
async fn socket_begins_right_behind_the_last_socket_of_the_same_sign_in() {
    let app = TestApp::spawn().await;
    let (ada, min, event) = pair(&app).await;
    let on_tablet = User::sign_in(app.address, "민지", &min.phone).await;
    let mut at_ada = Chat::open(&ada, event).await;
    at_ada.say("before anything is known").await;
    at_ada.words().await;

    let mut at_min = Chat::open(&min, event).await;
    at_ada.say("heard").await;
    words_to(&mut at_ada, "heard").await;
    assert_eq!(
        words_to(&mut at_min, "heard").await,
        ["heard"],
        "nothing is known, nothing repeated"
    );
    at_min.close().await;
    for n in 0..3 {
        at_ada.say(&format!("missed {n}")).await;
        at_ada.words().await;
    }
    let (mut again, mut tablet) = (Chat::open(&min, event).await, Chat::open(&on_tablet, event).await);
    at_ada.say("live").await;
    assert_eq!(
        words_to(&mut again, "live").await,
        ["missed 0", "missed 1", "missed 2", "live"]
    );
    words_to(&mut at_ada, "live").await;
    assert_eq!(
        words_to(&mut tablet, "live").await,
        ["live"],
        "another sign-in has its own place"
    );

    // A page shows it all; the next socket repeats none of it, however often one comes.
    again.close().await;
    at_ada.say("read in a page").await;
    at_ada.words().await;
    let page = Dio::of(&min).messages(event, "?limit=1").await;
    assert_eq!(texts(&page), ["read in a page"]);
    // An older page, read later, takes nothing back.
    Dio::of(&min).messages(event, "?limit=2&before=4").await;
    for n in 0..3 {
        let mut again = Chat::open(&min, event).await;
        at_ada.say(&format!("round {n}")).await;
        words_to(&mut at_ada, &format!("round {n}")).await;
        assert_eq!(
            words_to(&mut again, &format!("round {n}")).await,
            [format!("round {n}")]
        );
        again.close().await;
    }
}

#[tokio::test]
async fn at_most_two_hundred_of_what_was_missed_are_repeated() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, min, event) = pair(&app).await;
    Dio::of(&min).messages(event, "").await;
    let mut at_ada = Chat::open(&ada, event).await;
    for n in 1..=230 {
        at_ada.say(&n.to_string()).await;
    }
    words_to(&mut at_ada, "230").await;
    let mut at_min = Chat::open(&min, event).await;
    let expected: Vec<String> = (31..=230).map(|n| n.to_string()).collect();
    assert_eq!(words_to(&mut at_min, "230").await, expected);
}

#[tokio::test]
async fn history_reversed_and_the_live_frames_are_the_conversation_without_a_gap_or_a_double() {
    let app = TestApp::with(|config| {
        config.limits.publishes_per_s = 10_000;
        config.limits.publish_burst = 10_000;
    })
    .await;
    let (ada, min, event) = pair(&app).await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let mut at_ada = Chat::open(&ada, event).await;
    let talk = tokio::spawn(async move {
        let mut n = 0;
        while stopped.try_recv().is_err() {
            n += 1;
            at_ada.say(&n.to_string()).await;
            at_ada.words().await;
        }
        at_ada.say("end").await;
        at_ada.words().await;
        n
    });
    // As the app enters a chat and comes back to it, in the middle of the talk.
    let mut shown = Vec::new();
    let mut last = None;
    for entering in 0..4 {
        if entering == 0 {
            until("some talk", || async {
                let page = Dio::of(&min).messages(event, "?limit=100").await;
                (page.len() > 5).then_some(())
            })
            .await;
            let mut page = Dio::of(&min).messages(event, "?limit=100").await;
            page.reverse();
            shown.extend(page);
        }
        let mut chat = Chat::open(&min, event).await;
        for _ in 0..10 {
            shown.push(chat.next().await.unwrap());
        }
        if entering < 3 {
            chat.close().await;
        } else {
            last = Some(chat);
        }
    }
    stop.send(()).unwrap();
    let said = talk.await.unwrap();
    let mut chat = last.unwrap();
    while shown.last().is_none_or(|message| message.message != "end") {
        shown.push(chat.next().await.unwrap());
    }
    let words: Vec<&str> = shown
        .iter()
        .filter(|message| message.message_type == "text")
        .map(|message| message.message.as_str())
        .collect();
    // What a socket was given but its client never read before it closed is not told again:
    // nobody can know that. Up to that, each once and in order.
    let mut seen = BTreeMap::new();
    for word in &words {
        *seen.entry(*word).or_insert(0) += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "doubles: {seen:?}");
    let numbers: Vec<u32> = words.iter().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert!(
        numbers.last() == Some(&said) && numbers.first() == Some(&1),
        "{numbers:?}"
    );
}

#[tokio::test]
async fn restarted_server_takes_its_clients_back_within_the_apps_patience() {
    let app = TestApp::spawn().await;
    let (ada, _, event) = pair(&app).await;
    let mut chat = Chat::open(&ada, event).await;
    chat.say("before").await;
    let before = chat.words().await;
    let began = Instant::now();
    let address = app.address;
    let dir = app.stop().await;
    // Told nothing but the close: version 1 knows no other frame.
    let (told, _) = chat.rest().await;
    assert!(told.is_empty(), "{told:?}");
    let app = TestApp::start(
        dir,
        |config| config.server.port = address.port(),
        Overrides::default(),
    )
    .await;
    // The app tries every 3 s, five times.
    let path = format!("/api/v1/ws?event_id={event}");
    let headers = vec![("sec-websocket-protocol", format!("chat, bearer.{}", ada.token))];
    let (mut chat, _) = Chat::ask(app.address, Opening { path: &path, headers })
        .await
        .unwrap();
    chat.say("after").await;
    assert_eq!(chat.words().await.message, "after");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let page = Dio::of(&ada).messages(event, "").await;
    assert_eq!(texts(&page)[..2], ["after", "before"]);
    assert_eq!(page[1], before, "the very message, id and time, from before");
}
