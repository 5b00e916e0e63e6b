//! Two people make an appointment and talk in its room.

use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn two_people_talk_and_both_hear_it_in_one_order() {
    let app = TestApp::spawn().await;
    let (ada, min) = (app.user("Ada").await, app.user("민지").await);
    let room = ada.create_event("Lesson").await;
    ada.bring(&min, room).await;

    let (mut at_ada, mut at_min) = (ada.connect().await, min.connect().await);
    let hello = at_ada.push("hello").await;
    assert_eq!(
        (hello["user"]["id"].as_i64(), hello["version"].as_i64()),
        (Some(ada.id), Some(2))
    );
    let joined = at_ada.join(room).await;
    assert_eq!(joined["participants"].as_array().unwrap().len(), 2);
    assert_eq!(joined["event"]["title"], "Lesson");
    assert!(joined["complete"].as_bool().unwrap());
    at_min.join(room).await;
    assert_eq!(at_min.copy(room).facts(), ["event_created", "participant_joined"]);

    let said = at_ada.publish(room, "몇 시에 볼까요?").await;
    assert_eq!(said["publish"]["seq"], 3);
    at_min.read_to(room, 3).await;
    let answered = at_min.publish(room, "Ten?").await;
    assert_eq!(answered["publish"]["seq"], 4);
    at_ada.read_to(room, 4).await;
    assert_eq!(at_ada.copy(room), at_min.copy(room));
    assert_eq!(at_ada.copy(room).texts(), ["몇 시에 볼까요?", "Ten?"]);

    // The same again after the server stopped and started.
    let (copy, dir) = (at_ada.copy(room).clone(), app.stop().await);
    let app = TestApp::start(dir, |_| {}, timingle::app::Overrides::default()).await;
    let again = crate::harness::User::sign_in(app.address, "Ada", &ada.phone).await;
    assert_eq!(again.id, ada.id);
    let mut at_ada = again.connect().await;
    at_ada.copies.insert(room, copy.clone());
    let joined = at_ada.join(room).await;
    assert_eq!(
        (
            joined["entries"].as_array().unwrap().len(),
            joined["complete"].as_bool()
        ),
        (0, Some(true))
    );
    assert_eq!(at_ada.whole_record(room).await.entries, copy.entries);
}

#[tokio::test]
async fn the_same_key_is_the_same_message_and_other_words_are_refused() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = ada.connect().await;
    socket.join(room).await;
    let key = uuid::Uuid::new_v4().to_string();
    let first = socket.publish_as(room, &key, 1, "once").await;
    let second = socket.publish_as(room, &key, 1, "once").await;
    assert_eq!(first["publish"]["seq"], second["publish"]["seq"]);
    assert_eq!(second["publish"]["duplicate"], json!(true));
    let other = socket.publish_as(room, &key, 1, "twice").await;
    assert_eq!(other["error"]["code"], "KEY_CONFLICT");
    assert_eq!(socket.copy(room).texts(), ["once"]);
}
