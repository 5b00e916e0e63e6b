//! Whatever is done to an export is noticed, at the first seq that it was done to.

mod mutant;

use std::{path::Path, process::Command, sync::Arc};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use timingle::{
    adapters::sqlite_log::SqliteLog,
    domain::{
        chain::Tip,
        entry::{Draft, Head, Kind},
        fact::{Change, Fact},
        id::{EventId, RoomId, UserId},
        message::MessageBody,
        time::Micros,
    },
    ports::RoomLog,
    service::export::{ExportError, Verified, VerifyError, VerifyFault, export, export_file, verify},
};
use uuid::Uuid;

use self::mutant::{End, Line, lines, mutate, redo_file_digest, with_feed};

const MUTATIONS: usize = 10_000;
const ENTRIES: usize = 12;
const EVENT: EventId = EventId(42);

/// A log with one room for each of these events, and their exports in memory.
async fn exports(dir: &Path, events: &[EventId]) -> Vec<(RoomId, Head, Vec<u8>)> {
    let log = SqliteLog::open(&dir.join("chat.db")).unwrap();
    let mut files = Vec::new();
    for event in events {
        let (room, head) = recorded(&log, *event).await;
        let mut file = Vec::new();
        let exported = export(&log, *event, room, &mut file).await.unwrap();
        assert_eq!((exported.head, exported.bytes), (head, file.len() as u64));
        files.push((room, head, file));
    }
    log.close().await;
    files
}

/// A room of `event` with a conversation, one message of which was erased.
async fn recorded(log: &SqliteLog, event: EventId) -> (RoomId, Head) {
    let room = RoomId(Uuid::new_v4());
    let mut tip = Tip::empty(room);
    let start = tip.head;
    let at = Micros(1_790_000_000_000_000);
    let created = Fact {
        id: Uuid::new_v4(),
        no: 1,
        actor: Some(UserId(7)),
        at,
        change: Change::EventCreated {
            event,
            title: "저녁 \"식사\"".into(),
            start_time: Micros(1_790_100_000_000_000),
            end_time: Micros(1_790_103_600_000_000),
            timezone: "Asia/Seoul".into(),
            location: None,
            description: None,
            quorum: None,
            confirm_by: None,
            on_deadline: None,
            change_limit: None,
        },
    };
    let mut entries = vec![tip.seal(created.draft(), at, [1; 16])];
    for seq in 2..=ENTRIES as u64 {
        let (kind, target, body) = match seq {
            9 => (Kind::Erase, Some(5), Bytes::from_static(b"{}")),
            11 => (
                Kind::Fact,
                None,
                Bytes::from_static(b"{\"no\":2,\"type\":\"done\"}"),
            ),
            _ => {
                let text = format!("{seq} 번째 말,\n \"quoted\" \\ and 🙂\u{1}");
                (
                    Kind::Message,
                    None,
                    MessageBody::parse(text, 100).unwrap().to_bytes(),
                )
            }
        };
        let draft = Draft {
            author: (kind != Kind::Fact).then_some(UserId(7 + i64::from(seq % 2 == 0))),
            kind,
            key: Uuid::new_v4(),
            reply_to: (seq % 3 == 0).then_some(seq - 1),
            target,
            body,
        };
        let at = Micros(at.0 + i64::try_from(seq / 2).unwrap() * 1_000_000);
        let mut entry = tip.seal(draft, at, rand::random());
        if seq == 5 {
            entry.content = None;
        }
        entries.push(entry);
    }
    log.append(room, start, Arc::from(entries)).await.unwrap();
    (room, tip.head)
}

fn check(file: &[u8], room: RoomId, head: Head) -> Result<Verified, VerifyError> {
    verify(file, Some(room), Some(head))
}

#[tokio::test]
async fn ten_thousand_mutations_are_noticed_where_they_begin() {
    let seed = std::env::var("TAMPER_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    eprintln!("TAMPER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let files = exports(dir.path(), &[EVENT, EventId(43)]).await;
    let (room, head, file) = &files[0];
    let (original, other) = (lines(file), lines(&files[1].2));
    assert_eq!(original.len(), ENTRIES + 2);
    let valid = check(file, *room, *head).unwrap();
    assert_eq!(
        (valid.entries, valid.erased, valid.unexplained),
        (ENTRIES as u64, 1, 0)
    );

    let python = dir.path().join("mutants");
    std::fs::create_dir(&python).unwrap();
    let mut ours = Vec::new();
    for number in 0..MUTATIONS {
        let mut mutant = mutate(&mut random, &original, &other);
        let with_digest = random.random();
        // Redone on a last line that is itself what was changed, it would be the original again.
        if with_digest && mutant.lines[..mutant.lines.len() - 1] != original[..=ENTRIES] {
            redo_file_digest(&mut mutant.lines);
        }
        let (what, bytes) = (&mutant.what, mutant.lines.concat());
        let Err(found) = check(&bytes, *room, *head) else {
            panic!("seed {seed}, mutation {number} ({what}, digest {with_digest}) was not noticed");
        };
        assert!(
            (mutant.from..=mutant.to).contains(&found.seq),
            "seed {seed}, mutation {number} ({what}, digest {with_digest}): {found}, but it is at {}",
            mutant.from
        );
        // What only the noted room and head tell, a verifier that has not got them cannot.
        let by_file_alone = !matches!(
            found.fault,
            VerifyFault::BeforeHead(_) | VerifyFault::OtherHead | VerifyFault::OtherRoom(_)
        );
        if number % 20 == 0 && by_file_alone {
            std::fs::write(python.join(number.to_string()), &bytes).unwrap();
            ours.push((number, found.seq));
        }
    }
    let (said, _) = python_says(&python, ours.iter().map(|(number, _)| number.to_string()));
    assert_eq!(said.len(), ours.len());
    for (said, (number, seq)) in said.iter().zip(&ours) {
        let same = said.starts_with(&format!("{number}: bad at seq {seq}: "));
        assert!(same, "seed {seed}: {said}, ours {seq}");
    }
}

/// What the verifier that was written from the document alone says of each file in `dir`,
/// and whether it finds all of them valid.
pub(crate) fn python_says(dir: &Path, files: impl Iterator<Item = String>) -> (Vec<String>, bool) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify_export.py");
    let output = Command::new("python3")
        .env("PYTHONIOENCODING", "utf-8")
        .arg(script)
        .args(files)
        .current_dir(dir)
        .output()
        .unwrap_or_else(|error| panic!("python3 is needed for a second verifier: {error}"));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said = String::from_utf8(output.stdout).unwrap();
    (said.lines().map(str::to_owned).collect(), output.status.success())
}

#[tokio::test]
async fn record_rewritten_as_a_whole_is_told_by_a_noted_head_only() {
    let dir = tempfile::tempdir().unwrap();
    let (room, head, file) = exports(dir.path(), &[EVENT]).await.remove(0);
    let mut rewritten = lines(&file);
    let mut previous = Line::read(&rewritten[2]).hash;
    for bytes in &mut rewritten[3..=ENTRIES] {
        let mut line = Line::read(bytes);
        if line.seq == 3 {
            line.body = Some("{\"text\":\"I never said that\"}".into());
            line.redo_digest();
        }
        line.redo_hash(&previous);
        previous.clone_from(&line.hash);
        *bytes = line.write();
    }
    rewritten[ENTRIES + 1] = with_feed(&End {
        entries: ENTRIES as u64,
        hash: previous,
        sha256: String::new(),
    });
    redo_file_digest(&mut rewritten);
    let forged = rewritten.concat();
    verify(&forged[..], Some(room), None).unwrap();

    let noted = |seq: usize| {
        let line = Line::read(&lines(&file)[seq]);
        Head {
            seq: line.seq,
            hash: serde_json::from_value(line.hash.into()).unwrap(),
        }
    };
    verify(&forged[..], None, Some(noted(2))).unwrap();
    for seq in 3..=ENTRIES {
        let error = verify(&forged[..], None, Some(noted(seq))).unwrap_err();
        assert!(
            matches!(
                error,
                VerifyError {
                    fault: VerifyFault::OtherHead,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.seq, seq as u64);
    }
    assert_eq!(noted(ENTRIES), head);
    let other = verify(&file[..], Some(RoomId(Uuid::nil())), None).unwrap_err();
    assert!(matches!(other, VerifyError { seq: 0, fault: VerifyFault::OtherRoom(found) } if found == room));
}

#[tokio::test]
async fn content_removed_on_the_quiet_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (room, head, file) = exports(dir.path(), &[EVENT]).await.remove(0);
    let mut lines = lines(&file);
    let mut line = Line::read(&lines[4]);
    (line.salt, line.body) = (None, None);
    lines[4] = line.write();
    redo_file_digest(&mut lines);
    let verified = check(&lines.concat(), room, head).unwrap();
    assert_eq!((verified.erased, verified.unexplained), (2, 1));
}

#[tokio::test]
async fn same_record_gives_the_same_file_and_only_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&dir.path().join("chat.db")).unwrap();
    let (room, head) = recorded(&log, EVENT).await;
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let path = out.join("record.jsonl");
    std::fs::write(&path, "what was there").unwrap();

    let refused = export_file(&log, EventId(43), room, &path).await.unwrap_err();
    assert!(
        matches!(refused, ExportError::OtherEvent(EventId(43))),
        "{refused:?}"
    );
    let empty = export_file(&log, EVENT, RoomId(Uuid::nil()), &path)
        .await
        .unwrap_err();
    assert!(matches!(empty, ExportError::Empty), "{empty:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there");

    // Beside a log that is open for appends, as `timingle export` does it.
    let reader = SqliteLog::open_read_only(&dir.path().join("chat.db")).unwrap();
    assert_eq!(export_file(&reader, EVENT, room, &path).await.unwrap().head, head);
    let first = std::fs::read(&path).unwrap();
    check(&first, room, head).unwrap();
    export_file(&log, EVENT, room, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "no draft is left");
}

#[tokio::test]
async fn damaged_log_is_not_exported() {
    let dir = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&dir.path().join("chat.db")).unwrap();
    let (room, _) = recorded(&log, EVENT).await;
    rusqlite::Connection::open(dir.path().join("chat.db"))
        .unwrap()
        .execute("UPDATE entries SET author = 8 WHERE seq = 7", [])
        .unwrap();
    let error = export(&log, EVENT, room, &mut Vec::new()).await.unwrap_err();
    let at = |seq| format!("Read(Corrupt {{ room: {room:?}, seq: {seq} }})");
    assert_eq!(format!("{error:?}"), at(7));
}

#[test]
fn rubbish_is_refused_in_bounded_memory() {
    let endless = vec![b'x'; 3 * 1024 * 1024];
    let error = verify(&endless[..], None, None).unwrap_err();
    assert!(
        matches!(
            error,
            VerifyError {
                seq: 0,
                fault: VerifyFault::LineTooLong
            }
        ),
        "{error}"
    );
    for (file, seq) in [
        ("", 0),
        ("\n", 0),
        ("{}\n", 0),
        ("null", 0),
        (
            "{\"format\":\"timingle.export\",\"version\":2,\"event\":1,\"room\":\"00000000-0000-0000-0000-000000000000\"}\n",
            0,
        ),
        (
            "{\"format\":\"timingle.export\",\"version\":1,\"event\":1,\"room\":\"00000000-0000-0000-0000-000000000000\"}\n",
            1,
        ),
        (
            "{\"format\":\"timingle.export\",\"version\":1,\"event\":1,\"room\":\"00000000-0000-0000-0000-000000000000\"}\n[]\n",
            1,
        ),
    ] {
        assert_eq!(
            verify(file.as_bytes(), None, None).unwrap_err().seq,
            seq,
            "{file}"
        );
    }
}
