//! What ScyllaDB says when it does not say that it wrote: in doubt, never success or conflict.

use std::{sync::Arc, time::Duration};

use timingle::{
    adapters::cql_log::CqlLog,
    domain::{
        chain::Tip,
        entry::{Entry, Head},
        id::RoomId,
    },
    ports::{AppendError, RoomLog as _},
};

use super::{
    failure::Failure,
    fixture::{answers, impatient, open, start},
    server::{Asked, Double, Effect},
    shape::Shape,
    wire::level,
};
use crate::log_contract::{sealed, some_room};

/// Until it is lifted.
const ALWAYS: usize = usize::MAX;

/// So soon does one give up who is to be left in doubt.
const SOON: Duration = Duration::from_millis(200);

/// What a coordinator says that does not know, or does not say, what became of a write.
fn failures() -> Vec<Failure> {
    vec![
        Failure::WriteTimeout(level::LOCAL_SERIAL, "CAS"),
        // The rounds are done, and not every replica has said that it learned of it.
        Failure::WriteTimeout(level::LOCAL_QUORUM, "SIMPLE"),
        Failure::WriteBroke(level::LOCAL_SERIAL, "CAS"),
        Failure::ReadTimeout(level::LOCAL_SERIAL),
        Failure::Unavailable,
        Failure::Overloaded,
        Failure::Bootstrapping,
        Failure::Server,
        Failure::RateLimit { by_coordinator: true },
        Failure::RateLimit {
            by_coordinator: false,
        },
    ]
}

/// A room with two entries, and two more to append behind them.
struct Append {
    room: RoomId,
    expected: Head,
    entries: Arc<[Entry]>,
    tip: Tip,
}

async fn ready(log: &CqlLog) -> Append {
    let room = some_room();
    let mut tip = Tip::empty(room);
    let start = tip.head;
    log.append(room, start, sealed(&mut tip, 2)).await.unwrap();
    let expected = tip.head;
    let entries = sealed(&mut tip, 2);
    Append {
        room,
        expected,
        entries,
        tip,
    }
}

impl Append {
    async fn on(&self, log: &CqlLog) -> Result<(), AppendError> {
        let entries = Arc::clone(&self.entries);
        let appended = log.append(self.room, self.expected, entries).await?;
        assert_eq!((appended.head, appended.taken), (self.tip.head, 2));
        Ok(())
    }

    async fn stands_once(&self, log: &CqlLog) {
        assert_eq!(log.tip(self.room).await.unwrap(), self.tip);
        let all = log.read(self.room, 1, 100).await.unwrap();
        assert_eq!(all.len(), 4);
        assert_eq!(all[2..], self.entries[..]);
    }
}

#[tokio::test]
async fn what_a_failure_left_open_is_found_out_by_saying_it_again() {
    for shape in [Shape::scylla(), Shape::cassandra()] {
        let (double, _, log) = start(&shape).await;
        for failure in failures() {
            for (effect, late) in [
                (Effect::Refuse(failure.clone()), 0),
                (Effect::DoBut(failure.clone()), 0),
                (Effect::DoLateBut(failure.clone()), 1),
            ] {
                let append = ready(&log).await;
                let before = log.doubts();
                double.arm(Asked::Conditional, 1, effect.clone());
                append.on(&log).await.unwrap();
                assert_eq!(double.armed(), 0);
                let doubts = log.doubts();
                assert_eq!(doubts.unanswered - before.unanswered, 1, "{effect:?}");
                assert_eq!(doubts.late - before.late, late, "{effect:?}");
                append.stands_once(&log).await;
            }
        }
    }
}

#[tokio::test]
async fn failure_that_lasts_leaves_the_append_in_doubt_until_it_is_said_again() {
    let (double, config, other) = start(&Shape::scylla()).await;
    let log = impatient(&config, SOON).await;
    for failure in failures() {
        let append = ready(&other).await;
        double.arm(Asked::Conditional, ALWAYS, Effect::Refuse(failure.clone()));
        let told = append.on(&log).await;
        assert!(
            matches!(told, Err(AppendError::InDoubt(_))),
            "{failure:?}: {told:?}"
        );
        double.lift();
        append.on(&other).await.unwrap();
        append.stands_once(&other).await;
    }
}

/// Refusals that no repeating helps against are told at once, and are not a conflict either.
#[tokio::test]
async fn refusal_by_the_server_is_not_waited_out() {
    let (double, _, log) = start(&Shape::scylla()).await;
    for failure in [
        Failure::Unauthorized,
        Failure::Invalid("a table is not as it was".to_owned()),
        Failure::Config("no".to_owned()),
    ] {
        let append = ready(&log).await;
        double.arm(Asked::Conditional, 2, Effect::Refuse(failure));
        let told = append.on(&log).await;
        assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");
        assert_eq!(double.armed(), 1, "said once");
        double.lift();
        append.on(&log).await.unwrap();
        append.stands_once(&log).await;
    }
}

#[tokio::test]
async fn written_but_nobody_can_say_so_is_in_doubt() {
    let (double, config, other) = start(&Shape::scylla()).await;
    let log = impatient(&config, SOON).await;
    for failure in failures() {
        let append = ready(&other).await;
        double.arm(Asked::Conditional, 1, Effect::DoBut(failure));
        double.arm(
            Asked::SerialRead,
            ALWAYS,
            Effect::Refuse(Failure::ReadTimeout(level::LOCAL_SERIAL)),
        );
        let told = append.on(&log).await;
        assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");
        double.lift();
        append.on(&other).await.unwrap();
        append.stands_once(&other).await;
    }
}

fn writes(double: &Double) -> usize {
    let seen = double.seen().into_iter();
    seen.filter(|seen| seen.asked == Asked::Conditional).count()
}

#[tokio::test]
async fn silence_and_a_lost_connection_are_doubts_too() {
    let (double, config, _other) = start(&Shape {
        nodes: 3,
        ..Shape::scylla()
    })
    .await;
    let log = impatient(&config, Duration::from_secs(1)).await;
    for done in [true, false] {
        for effect in [Effect::Mute { done }, Effect::HangUp { done }] {
            let append = ready(&log).await;
            let (before, said) = (log.doubts().unanswered, writes(&double));
            double.arm(Asked::Conditional, 1, effect);
            append.on(&log).await.unwrap();
            assert!(log.doubts().unanswered > before);
            // The driver says nothing again by itself: what was written need not be, and is read.
            assert!(!done || writes(&double) == said + 1);
            append.stands_once(&log).await;
        }
    }
}

/// Leaves `append` in doubt, then lets somebody else append in its place.
async fn overtaken(double: &Double, log: &CqlLog, other: &CqlLog) -> (Append, Tip) {
    let append = ready(other).await;
    double.arm(Asked::Conditional, ALWAYS, Effect::Refuse(Failure::Overloaded));
    let told = append.on(log).await;
    assert!(matches!(told, Err(AppendError::InDoubt(_))), "{told:?}");
    double.lift();
    let mut theirs = other.tip(append.room).await.unwrap();
    let expected = theirs.head;
    let entries = sealed(&mut theirs, 1);
    other.append(append.room, expected, entries).await.unwrap();
    (append, theirs)
}

#[tokio::test]
async fn doubt_ends_in_conflict_only_when_another_entry_stands_there() {
    let (double, config, other) = start(&Shape::scylla()).await;
    let log = impatient(&config, SOON).await;
    let (append, theirs) = overtaken(&double, &log, &other).await;
    match append.on(&other).await {
        Err(AppendError::Conflict { head }) => assert_eq!(head, theirs.head),
        told => panic!("{told:?}"),
    }
    assert_eq!(other.tip(append.room).await.unwrap(), theirs);

    // The other way round: ours comes late and first, theirs is refused.
    let append = ready(&other).await;
    double.arm(
        Asked::Conditional,
        1,
        Effect::DoLateBut(Failure::WriteTimeout(level::LOCAL_SERIAL, "CAS")),
    );
    append.on(&other).await.unwrap();
    let mut theirs = Tip::of(&other.read(append.room, 2, 1).await.unwrap()[0]);
    let expected = theirs.head;
    match other.append(append.room, expected, sealed(&mut theirs, 1)).await {
        Err(AppendError::Conflict { head }) => assert_eq!(head, append.tip.head),
        told => panic!("{told:?}"),
    }
    append.stands_once(&other).await;
}

#[tokio::test]
async fn bucket_that_was_opened_in_doubt_is_opened_once() {
    let (double, config, log) = start(&Shape::scylla()).await;
    let other = open(&config);
    answers(&other).await;
    for failure in failures() {
        let room = some_room();
        let mut tip = Tip::empty(room);
        let start = tip.head;
        log.append(room, start, sealed(&mut tip, 8)).await.unwrap();
        let expected = tip.head;
        let entries = sealed(&mut tip, 3);
        double.arm(Asked::Conditional, 1, Effect::DoBut(failure.clone()));
        double.arm(Asked::SerialRead, 1, Effect::Refuse(failure));
        let appended = log.append(room, expected, Arc::clone(&entries)).await;
        // The read before the bucket is opened may meet the failure instead.
        if appended.is_err() {
            double.lift();
        }
        let again = other.append(room, expected, entries).await.unwrap();
        assert_eq!((again.head, again.taken), (tip.head, 3));
        assert_eq!(log.tip(room).await.unwrap(), tip);
        assert_eq!(log.read(room, 1, 100).await.unwrap().len(), 11);
        double.lift();
    }
}
