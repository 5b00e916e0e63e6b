use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use fluent_bundle::{FluentArgs, FluentResource};
use uuid::Uuid;

use super::{Arg, Language, error_text, fact_text, render, text};
use crate::{
    domain::{
        event::{Answer, Denied, EventStatus, Role},
        fact::{Change, Fact, FromTo, Standing, UnconfirmCause},
        id::{EventId, UserId},
        message::MessageBodyError,
        time::Micros,
    },
    error::{Coded, ErrorCode},
    ports::RateLimited,
};

const FILES: [(Language, &str); 2] = [
    (Language::Ko, include_str!("../../locales/ko.ftl")),
    (Language::En, include_str!("../../locales/en.ftl")),
];

/// Key -> the variables its text uses.
fn texts(source: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut texts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut key = "";
    for line in source.lines().filter(|line| !line.starts_with('#')) {
        if let Some((head, _)) = line.split_once(" = ")
            && line.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            key = head;
            assert!(
                texts.insert(key, BTreeSet::new()).is_none(),
                "{key} is there twice"
            );
        }
        let variables = line.split('$').skip(1).filter_map(|rest| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .next()
        });
        texts.entry(key).or_default().extend(variables);
    }
    texts.remove("");
    texts
}

/// Every Rust source under `src` but the tests, with its path.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 10);
    found
}

/// The string literals of `code`.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.split('"').skip(1).step_by(2)
}

/// What the bodies of `fn text_key` can return.
fn text_keys() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (_, source) in all_sources() {
        for rest in source.split("fn text_key(&self) -> &'static str {").skip(1) {
            let body = rest.split("\n    }\n").next().unwrap();
            keys.extend(literals(body).map(str::to_owned));
        }
    }
    assert!(keys.contains("message-too-long"), "the scan finds nothing");
    keys
}

#[test]
fn files_are_sound_and_have_the_same_keys_and_variables() {
    for (language, source) in FILES {
        if let Err((_, errors)) = FluentResource::try_new(source.to_owned()) {
            panic!("{language:?}: {errors:?}");
        }
    }
    let (ko, en) = (texts(FILES[0].1), texts(FILES[1].1));
    assert_eq!(ko.keys().collect::<Vec<_>>(), en.keys().collect::<Vec<_>>());
    for (key, variables) in &ko {
        // Korean needs no plural and may name the actor twice, but nothing may be left unsaid.
        assert_eq!(variables, &en[key], "{key}");
    }
}

#[test]
fn every_code_and_every_text_key_has_a_text_in_each_language() {
    let mut keys = text_keys();
    keys.extend(ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()));
    for (language, source) in FILES {
        let texts = texts(source);
        let missing: Vec<_> = keys
            .iter()
            .filter(|key| !texts.contains_key(key.as_str()))
            .collect();
        assert!(missing.is_empty(), "{language:?} lacks {missing:?}");
    }
}

/// Keys that the code names outside of `text_key`: the second argument of `text`, and
/// literals with the prefixes that only keys have.
#[test]
fn every_key_named_in_the_code_has_a_text() {
    let known = texts(FILES[0].1);
    // The API's description has a `text` of its own.
    for (path, source) in all_sources()
        .into_iter()
        .filter(|(path, _)| !path.contains("http/openapi"))
    {
        let shown = source
            .split("text(")
            .skip(1)
            .filter_map(|call| {
                call.split_once(", \"")
                    .filter(|(first, _)| !first.contains(['(', ')', ';']))
            })
            .filter_map(|(_, rest)| rest.split('"').next());
        let prefixed = literals(&source).filter(|literal| {
            ["did-", "chat-", "field-", "person"]
                .iter()
                .any(|prefix| literal.starts_with(prefix))
                && !literal.contains([' ', '{', '/'])
                && !literal.ends_with('-')
        });
        for key in shown.chain(prefixed).filter(|key| !key.starts_with('/')) {
            assert!(known.contains_key(key), "{path} shows {key:?}, which has no text");
        }
    }
}

#[test]
fn no_text_is_without_use() {
    let sources = all_sources();
    for key in texts(FILES[0].1).keys() {
        let used = ErrorCode::ALL.iter().any(|code| code.as_str() == *key)
            || changes()
                .iter()
                .any(|change| format!("fact-{}", change.name()) == *key)
            || FILES[0].1.contains(&format!("{{ {key} }}"))
            || sources
                .iter()
                .any(|(_, source)| source.contains(&format!("\"{key}\"")));
        assert!(used, "{key} is never shown");
    }
}

/// Texts of error codes are shown for any error of that code, so they may use
/// only what `error_text` gives to all.
#[test]
fn texts_of_codes_need_no_particulars() {
    #[derive(Debug, thiserror::Error)]
    #[error("any")]
    struct Any(ErrorCode);
    impl Coded for Any {
        fn code(&self) -> ErrorCode {
            self.0
        }
    }
    for code in ErrorCode::ALL {
        for language in Language::ALL {
            let text = error_text(language, &Any(code));
            assert!(
                !text.contains('{') && text != code.as_str(),
                "{language:?} {text}"
            );
        }
    }
}

#[test]
fn errors_say_their_particulars() {
    let too_long = MessageBodyError::TooLong { max_chars: 8_000 };
    assert!(error_text(Language::Ko, &too_long).contains("8000자"));
    assert!(error_text(Language::En, &too_long).contains("8000 characters"));
    let canceled = Denied::State(EventStatus::Canceled);
    assert!(error_text(Language::Ko, &canceled).contains("취소된"));
    assert!(error_text(Language::En, &canceled).contains("canceled"));
    for (ms, ko, en) in [
        (1, "1초 뒤", "in 1 second."),
        (1_001, "2초 뒤", "in 2 seconds."),
        (3_000_000, "50분 뒤", "in 50 minutes."),
        (7_200_000, "2시간 뒤", "in 2 hours."),
    ] {
        let limited = RateLimited {
            retry_after: std::time::Duration::from_millis(ms),
        };
        assert!(error_text(Language::Ko, &limited).contains(ko), "{ms}");
        assert!(error_text(Language::En, &limited).contains(en), "{ms}");
    }
}

#[test]
fn missing_argument_and_missing_text_are_errors() {
    let (_, errors) = render(Language::Ko, "message-too-long", &FluentArgs::new());
    assert_eq!(errors.len(), 1);
    let (_, errors) = render(Language::Ko, "fact-participant_left", &FluentArgs::new());
    assert!(!errors.is_empty());
    let (shown, errors) = render(Language::En, "no-such-text", &FluentArgs::new());
    assert_eq!((shown.as_str(), errors.len()), ("no-such-text", 1));
}

/// One of each change; a new variant does not compile until it is here.
fn changes() -> Vec<Change> {
    let at = Micros(0);
    let (status, title) = (EventStatus::Proposed, "점심".to_owned());
    let user = UserId(2);
    let from_to = |to: &str| FromTo {
        from: "a".into(),
        to: to.into(),
    };
    let all = vec![
        Change::Restored {
            status,
            title: title.clone(),
            start_time: at,
            end_time: at,
            participants: vec![Standing {
                user,
                role: Role::Guest,
                answer: Answer::Pending,
            }],
        },
        Change::EventCreated {
            event: EventId(1),
            title,
            start_time: at,
            end_time: at,
            timezone: "Asia/Seoul".into(),
            location: None,
            description: None,
            quorum: None,
            confirm_by: None,
            on_deadline: None,
            change_limit: None,
        },
        Change::EventUpdated {
            changes: [("title".to_owned(), from_to("회의"))].into(),
            asks_again: false,
        },
        Change::EventUpdated {
            changes: [("location".to_owned(), from_to("강남"))].into(),
            asks_again: true,
        },
        Change::EventUpdated {
            changes: [
                ("start_time", "b"),
                ("end_time", "c"),
                ("title", "d"),
                ("colour", "e"),
            ]
            .map(|(field, to)| (field.to_owned(), from_to(to)))
            .into(),
            asks_again: true,
        },
        Change::ParticipantAdded { user },
        Change::ParticipantJoined { user },
        Change::ParticipantLeft { user },
        Change::ParticipantRemoved { user },
        Change::Accepted { user, reason: None },
        Change::Accepted {
            user,
            reason: Some("x".into()),
        },
        Change::Declined { user, reason: None },
        Change::Declined {
            user,
            reason: Some("출장".into()),
        },
        Change::Confirmed {},
        Change::Unconfirmed { cause: None },
        Change::Unconfirmed {
            cause: Some(UnconfirmCause::Withdrawn),
        },
        Change::Canceled { reason: None },
        Change::Canceled {
            reason: Some("비".into()),
        },
        Change::Done {},
        Change::DeadlinePassed { missing: Vec::new() },
        Change::DeadlinePassed { missing: vec![user] },
        Change::DeadlinePassed {
            missing: vec![user; 12],
        },
    ];
    for change in &all {
        match change {
            Change::Restored { .. }
            | Change::EventCreated { .. }
            | Change::EventUpdated { .. }
            | Change::ParticipantAdded { .. }
            | Change::ParticipantJoined { .. }
            | Change::ParticipantLeft { .. }
            | Change::ParticipantRemoved { .. }
            | Change::Accepted { .. }
            | Change::Declined { .. }
            | Change::Confirmed {}
            | Change::Unconfirmed { .. }
            | Change::Canceled { .. }
            | Change::Done {}
            | Change::DeadlinePassed { .. } => {}
        }
    }
    all
}

fn note(language: Language, change: Change, actor: Option<UserId>, names: [Option<&str>; 2]) -> String {
    let fact = Fact {
        id: Uuid::nil(),
        no: 1,
        actor,
        at: Micros(0),
        change,
    };
    fact_text(language, &fact, &|user| {
        names[usize::try_from(user.0 - 1).unwrap()].map(str::to_owned)
    })
}

#[test]
fn every_fact_has_a_complete_note() {
    for change in changes() {
        for language in Language::ALL {
            for actor in [None, Some(UserId(1))] {
                for names in [[Some("민지"), Some("Tom")], [None, None], [Some(""), Some("")]] {
                    let note = note(language, change.clone(), actor, names);
                    assert!(
                        !note.contains(['{', '}', '$', '\n']) && !note.starts_with("fact-"),
                        "{language:?} {change:?}: {note}"
                    );
                    assert!(!note.ends_with(' '), "{note}");
                }
            }
        }
    }
}

#[test]
fn notes_read_as_people_speak() {
    let both = [Some("민지"), Some("Tom")];
    let host = Some(UserId(1));
    let user = UserId(2);
    let created = changes().remove(1);
    assert_eq!(
        note(Language::Ko, created.clone(), host, both),
        "민지님이 ‘점심’ 약속을 만들었어요."
    );
    assert_eq!(
        note(Language::En, created, host, both),
        "민지 made the appointment “점심”."
    );
    let removed = Change::ParticipantRemoved { user };
    assert_eq!(
        note(Language::Ko, removed.clone(), host, both),
        "민지님이 Tom님을 내보냈어요."
    );
    assert_eq!(
        note(Language::Ko, removed.clone(), host, [Some("민지"), None]),
        "민지님이 알 수 없는 사용자를 내보냈어요."
    );
    assert_eq!(
        note(Language::En, removed, None, [None, None]),
        "Someone was removed from the appointment."
    );
    let left = Change::ParticipantLeft { user };
    assert_eq!(
        note(Language::Ko, left.clone(), Some(user), [None, None]),
        "알 수 없는 사용자가 나갔어요."
    );
    assert_eq!(
        note(Language::En, left, Some(user), [None, Some("ann")]),
        "ann left."
    );
    let canceled = Change::Canceled {
        reason: Some("비가 와서".into()),
    };
    assert_eq!(
        note(Language::Ko, canceled.clone(), host, both),
        "민지님이 약속을 취소했어요. 이유: 비가 와서"
    );
    assert_eq!(
        note(Language::En, canceled, None, both),
        "The appointment was canceled. Reason: 비가 와서"
    );
    assert_eq!(
        note(Language::Ko, changes().remove(3), host, both),
        "민지님이 장소를 ‘강남’으로 바꿨어요. 참석할지 다시 알려 주세요."
    );
    assert_eq!(
        note(Language::Ko, changes().remove(4), host, both),
        "민지님이 약속을 바꿨어요: 그 밖의 내용, 시간, 제목. 참석할지 다시 알려 주세요."
    );
}

#[test]
fn texts_of_others_reach_the_page_as_they_are() {
    let change = Change::Canceled {
        reason: Some("{ $actor } <b> -- \"x\"".into()),
    };
    assert!(note(Language::En, change, None, [None, None]).ends_with("{ $actor } <b> -- \"x\""));
    assert_eq!(text(Language::En, "person", &[("name", Arg::from("007"))]), "007");
}

#[test]
fn language_of_a_tag_and_of_a_header() {
    assert_eq!(Language::from_tag("KO-kr"), Some(Language::Ko));
    assert_eq!(Language::from_tag("en_GB"), Some(Language::En));
    assert_eq!(Language::from_tag("english"), None);
    assert_eq!(Language::from_tag(""), None);
    for (header, language) in [
        ("", Language::Ko),
        ("en", Language::En),
        ("fr-FR, en;q=0.5", Language::En),
        ("en;q=0.3, ko;q=0.8", Language::Ko),
        ("ko;q=0.3,en-US;q=0.8,*;q=0.1", Language::En),
        ("en, ko", Language::En),
        ("en;q=0, fr", Language::Ko),
        ("ko;q=0, *;q=0, en;q=0.001", Language::En),
        ("en;q=abc", Language::Ko),
        ("en;q=NaN, ko;q=0.1", Language::Ko),
        ("fr, *;q=0.5", Language::Ko),
        (&"x,".repeat(100_000), Language::Ko),
    ] {
        assert_eq!(Language::from_accept_language(header), language, "{header:.40}");
    }
}
