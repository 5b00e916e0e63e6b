//! A whole installation moves to other engines: equal at the end, or said not to be.

mod installation;
mod production;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use timingle::{
    app::copy::{Copied, CopyError, Difference, Place, Progress, copy},
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        id::{EventId, RoomId},
    },
    ports::{AppendError, Appended, ReadError, RoomLog},
};

use self::installation::{Lived, contents, open, place};
use crate::harness::{TestApp, User};

/// Nobody watches.
fn quiet(_: Progress) {}

async fn copied(from: &tempfile::TempDir, to: &tempfile::TempDir) -> Result<Copied, CopyError> {
    with(from, to, quiet).await
}

/// Copies between two data directories; `tell` may meddle.
async fn with(
    from: &tempfile::TempDir,
    to: &tempfile::TempDir,
    tell: impl Fn(Progress) + Sync,
) -> Result<Copied, CopyError> {
    let (from, to) = (place(from.path()).await, place(to.path()).await);
    let done = copy(&from, &to, &tell).await;
    from.log.close().await;
    to.log.close().await;
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_over_and_goes_on() {
    let lived = Lived::embedded().await;
    lived.talk(3_000).await;
    let erased = lived.erase();
    let target = Arc::new(tempfile::tempdir().unwrap());
    let done = copied(&lived.dir, &target).await.unwrap();
    let before = contents(&lived.dir);
    let entries = before.iter().filter(|line| line.starts_with("entries:")).count();
    assert_eq!(
        (done.rooms, done.entries, done.new_entries, done.erased),
        (3, entries as u64, entries as u64, erased as u64)
    );
    assert!(done.rows > 20 && done.new_rows == done.rows, "{done:?}");
    assert_eq!(contents(&target), before);

    // Again: nothing to do.
    let again = copied(&lived.dir, &target).await.unwrap();
    assert_eq!((again.new_rows, again.new_entries), (0, 0));
    assert_eq!((again.rows, again.entries), (done.rows, done.entries));

    // And life goes on there, under numbers that nobody ever had.
    let last = lived.events.iter().max().unwrap();
    let app = TestApp::start(target, |_| {}, timingle::app::Overrides::default()).await;
    let ada = User::sign_in(app.address, &lived.ada.name, &lived.ada.phone).await;
    assert_eq!(ada.id, lived.ada.id);
    let mut socket = ada.connect().await;
    socket.join(lived.lesson).await;
    socket.whole_record(lived.lesson).await.assert_whole();
    assert_eq!(ada.create_event("Next").await, last + 4);
    assert!(app.user("New").await.id > lived.min.id + 3);
}

/// A log that takes `left` appends and then no more.
struct Ends {
    log: Arc<dyn RoomLog>,
    left: AtomicUsize,
}

#[async_trait]
impl RoomLog for Ends {
    async fn append(
        &self,
        room: RoomId,
        expected: Head,
        entries: Arc<[Entry]>,
    ) -> Result<Appended, AppendError> {
        let left = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            return Err(AppendError::Conflict { head: expected });
        }
        // Half of it, as at the end of a bucket.
        let half = entries.len().div_ceil(2);
        self.log.append(room, expected, entries[..half].into()).await
    }

    async fn read(&self, room: RoomId, from: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.log.read(room, from, limit.div_ceil(3)).await
    }

    async fn read_back(&self, room: RoomId, before: u64, limit: usize) -> Result<Vec<Entry>, ReadError> {
        self.log.read_back(room, before, limit).await
    }

    async fn tip(&self, room: RoomId) -> Result<Tip, ReadError> {
        self.log.tip(room).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_copy_goes_on_where_it_was() {
    let lived = Lived::embedded().await;
    lived.talk(2_000).await;
    let target = tempfile::tempdir().unwrap();
    let from = place(lived.dir.path()).await;
    let to = place(target.path()).await;
    let mut appended = 0;
    for appends in [1, 5, 2] {
        let log: Arc<dyn RoomLog> = Arc::new(Ends {
            log: Arc::clone(&to.log),
            left: AtomicUsize::new(appends),
        });
        let weak = Place { log, ..to.clone() };
        let error = copy(&from, &weak, &quiet).await.unwrap_err();
        assert!(matches!(error, CopyError::Append { .. }), "{error:?}");
        appended += appends;
    }
    // The tables were not done either.
    open(&target, "app.db")
        .execute_batch(
            "DELETE FROM idempotency_keys; DELETE FROM invites; UPDATE sqlite_sequence SET seq = 1;",
        )
        .unwrap();
    let log: Arc<dyn RoomLog> = Arc::new(Ends {
        log: Arc::clone(&to.log),
        left: AtomicUsize::new(usize::MAX),
    });
    let done = copy(&from, &Place { log, ..to.clone() }, &quiet).await.unwrap();
    assert!(appended > 0 && done.new_entries < done.entries, "{done:?}");
    assert!(0 < done.new_rows && done.new_rows < done.rows, "{done:?}");
    from.log.close().await;
    to.log.close().await;
    assert_eq!(contents(&target), contents(&lived.dir));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_with_something_else_is_left_as_it_is() {
    let lived = Lived::embedded().await;
    let other = Lived::embedded().await;
    let before = contents(&other.dir);
    let error = copied(&lived.dir, &other.dir).await.unwrap_err();
    assert!(
        matches!(
            error,
            CopyError::Foreign(Difference::Row {
                table: "users",
                row: 1
            })
        ),
        "{error:?}"
    );
    assert_eq!(contents(&other.dir), before);

    // A copy that was served meanwhile has gone its own way: in the tables ...
    let target = Arc::new(tempfile::tempdir().unwrap());
    copied(&lived.dir, &target).await.unwrap();
    let app = TestApp::start(target, |_| {}, timingle::app::Overrides::default()).await;
    app.user("New").await;
    let target = app.stop().await;
    let before = contents(&target);
    let error = copied(&lived.dir, &target).await.unwrap_err();
    assert!(
        matches!(
            error,
            CopyError::Foreign(Difference::Extra { table: "users", .. })
        ),
        "{error:?}"
    );
    assert_eq!(contents(&target), before);

    // ... or in a record.
    let target = tempfile::tempdir().unwrap();
    copied(&lived.dir, &target).await.unwrap();
    let to = place(target.path()).await;
    let room: [u8; 16] = open(&lived.dir, "app.db")
        .query_row("SELECT room FROM events WHERE id = ?1", [lived.lesson], |row| {
            row.get(0)
        })
        .unwrap();
    let room = RoomId(uuid::Uuid::from_bytes(room));
    installation::say(&*to.log, room, timingle::domain::id::UserId(1), 1).await;
    to.log.close().await;
    open(&target, "app.db")
        .execute("DELETE FROM invites", [])
        .unwrap();
    let before = contents(&target);
    let error = copied(&lived.dir, &target).await.unwrap_err();
    assert_eq!(contents(&target), before, "nor is it told the rows that it lacks");
    let lesson = EventId(lived.lesson);
    assert!(
        matches!(error, CopyError::Foreign(Difference::Entry { event, .. }) if event == lesson),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn comparison_at_the_end_finds_whatever_is_not_the_same() {
    let lived = Lived::embedded().await;
    // Who meddles with the target between the copying and the comparison, and what is found.
    let cases: &[(&str, &str, &str)] = &[
        (
            "app.db",
            "UPDATE users SET name = 'Eve' WHERE id = 2",
            "row 2 of table users",
        ),
        ("app.db", "DELETE FROM invites", "lacks row 1 of table invites"),
        (
            "app.db",
            "INSERT INTO users (created_at, updated_at) VALUES (1, 1)",
            "a row in table users that the source lacks",
        ),
        (
            "app.db",
            "UPDATE event_history SET payload = '{}' WHERE event_id = 1 AND fact_no = 2",
            "row 2 of table event_history",
        ),
        (
            "app.db",
            "UPDATE sqlite_sequence SET seq = seq - 1 WHERE name = 'events'",
            "table events would number",
        ),
        (
            "chat.db",
            "UPDATE entries SET salt = NULL, body = NULL WHERE seq = 2 AND kind = 2",
            "differ from seq 2",
        ),
        (
            "chat.db",
            "DELETE FROM entries WHERE (room, seq) IN (SELECT room, max(seq) FROM entries GROUP BY room LIMIT 1)",
            "differ from seq",
        ),
    ];
    for (file, sql, found) in cases {
        let target = tempfile::tempdir().unwrap();
        let error = with(&lived.dir, &target, |progress| {
            if progress == Progress::Comparing {
                let changed = open(&target, file).execute(sql, []).unwrap();
                assert!(changed > 0, "{sql}");
            }
        })
        .await
        .expect_err(sql);
        let CopyError::Differs(difference) = error else {
            panic!("{sql}: {error:?}")
        };
        assert!(difference.to_string().contains(found), "{sql}: {difference}");
    }
    // The source that moves is noticed as well.
    let error = with(&lived.dir, &tempfile::tempdir().unwrap(), |progress| {
        if progress == Progress::Comparing {
            open(&lived.dir, "app.db")
                .execute("UPDATE sessions SET last_used_at = last_used_at + 1", [])
                .unwrap();
        }
    })
    .await
    .unwrap_err();
    assert!(
        matches!(
            error,
            CopyError::Differs(Difference::Row {
                table: "sessions",
                row: 1
            })
        ),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_record_is_not_copied_as_if_it_were_sound() {
    let lived = Lived::embedded().await;
    lived.talk(300).await;
    open(&lived.dir, "chat.db")
        .execute("UPDATE entries SET at = at + 1 WHERE seq = 20", [])
        .unwrap();
    let error = copied(&lived.dir, &tempfile::tempdir().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, CopyError::Log(_, ReadError::Corrupt { seq: 20, .. })),
        "{error:?}"
    );
}
