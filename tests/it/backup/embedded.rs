//! The two SQLite files, backed up one after the other while the server writes.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use tempfile::TempDir;
use timingle::app::{self, Overrides};

use super::{again, verified};
use crate::harness::{TestApp, app::config};

/// What `sqlite3 FILE "VACUUM INTO 'COPY'"` does: a copy of one moment, without stopping anybody.
fn back_up(app: &TestApp, name: &str, to: &Path) {
    let conn = Connection::open(app.file(name)).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    conn.execute("VACUUM INTO ?1", [to.join(name).to_str().unwrap()])
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_backed_up_while_the_server_writes() {
    for order in [["app.db", "chat.db"], ["chat.db", "app.db"]] {
        let app = TestApp::spawn().await;
        let (ada, min) = (app.user("Ada").await, app.user("Min").await);
        let lesson = ada.create_event("Lesson").await;
        let mut talk = ada.connect().await;
        talk.join(lesson).await;
        let backup = Arc::new(tempfile::tempdir().unwrap());
        talk.publish(lesson, "before the first").await;
        back_up(&app, order[0], backup.path());
        ada.bring(&min, lesson).await;
        let between = ada.create_event("Between").await;
        talk.publish(lesson, "between the two").await;
        back_up(&app, order[1], backup.path());
        talk.publish(lesson, "after the second").await;
        min.remove(&min, lesson).await;
        talk.close().await;
        app.stop().await;
        restored(order, &backup, [&ada, &min], lesson, between).await;
    }
}

/// What becomes of a data directory made of the two copies.
async fn restored(
    order: [&str; 2],
    backup: &Arc<TempDir>,
    [ada, min]: [&crate::harness::User; 2],
    lesson: i64,
    between: i64,
) {
    let settings = config(backup.path());
    let repaired = app::repair(&settings, |_| {}).await.unwrap();
    assert_eq!(repaired.failed, 0);
    let app = TestApp::start(Arc::clone(backup), |_| {}, Overrides::default()).await;
    let ada = again(app.address, ada).await;
    let mut socket = ada.connect().await;
    socket.join(lesson).await;
    let record = socket.whole_record(lesson).await;
    record.assert_whole();
    socket.publish(lesson, "goes on").await;
    socket.close().await;
    let (facts, texts) = verified(&settings, backup.path(), lesson).await;
    if order[0] == "app.db" {
        // The log is the younger one: what it has is adopted, and the store says how it stands.
        assert_eq!(repaired.healed.adopted, 1, "{repaired:?}");
        assert_eq!(facts, ["event_created", "participant_joined", "restored"]);
        assert_eq!(texts, ["before the first", "between the two", "goes on"]);
    } else {
        // The store is the younger one: its facts come back into the log, words do not.
        assert_eq!(repaired.healed.appended, 2, "{repaired:?}");
        assert_eq!(facts, ["event_created", "participant_joined"]);
        assert_eq!(texts, ["before the first", "goes on"]);
        let min = again(app.address, min).await;
        let mut socket = min.connect().await;
        socket.join(lesson).await;
        let (facts, _) = verified(&settings, backup.path(), between).await;
        assert_eq!(facts, ["event_created"]);
    }
    app.stop().await;
}
