use super::{closed, open, when::When};
use crate::{domain::time::Micros, i18n::Language, service::invites::Invitation};
use actix_web::body::MessageBody as _;

fn at(text: &str) -> Micros {
    serde_json::from_value(text.into()).unwrap()
}

fn line(language: Language, start: &str, end: &str, zone: &str) -> String {
    When::new(language, at(start), at(end), zone).in_one_line(language)
}

fn invitation() -> Invitation {
    Invitation {
        link: "https://t.example/invite/abc_-123".into(),
        code: "abc_-123".into(),
        title: "금요일 저녁".into(),
        start_time: at("2030-05-03T10:00:00Z"),
        end_time: at("2030-05-03T12:30:00Z"),
        timezone: "Asia/Seoul".into(),
        host: Some("미나".into()),
        expires_at: Some(at("2030-05-02T15:00:00Z")),
    }
}

fn page(language: Language, invitation: &Invitation) -> String {
    let answer = open(language, "https://t.example", invitation).unwrap();
    let body = answer.into_body().try_into_bytes().unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn times_are_written_as_people_write_them() {
    let (start, end) = ("2030-05-03T10:00:00Z", "2030-05-03T12:30:00Z");
    assert_eq!(
        line(Language::Ko, start, end, "Asia/Seoul"),
        "2030년 5월 3일 금요일, 오후 7:00 ~ 오후 9:30, 한국 시간 (GMT+9)"
    );
    assert_eq!(
        line(Language::En, start, end, "Asia/Seoul"),
        "Friday, May 3, 2030, 7:00 PM – 9:30 PM, Korea time (GMT+9)"
    );
    // Another day in another zone, midnight and noon, half hours, a summer.
    assert_eq!(
        line(Language::En, start, end, "Pacific/Kiritimati"),
        "From Saturday, May 4, 2030, 12:00 AM".replace("From ", "") + " – 2:30 AM, Kiritimati time (GMT+14)"
    );
    assert!(line(Language::En, start, end, "America/St_Johns").ends_with("(GMT-2:30)"));
    assert!(line(Language::Ko, start, end, "Asia/Tehran").contains("오후 1:30"));
    assert!(line(Language::En, "2030-01-03T10:00:00Z", end, "America/New_York").ends_with("(GMT-5)"));
    assert!(line(Language::En, start, end, "America/New_York").ends_with("New York time (GMT-4)"));
    assert!(line(Language::Ko, start, end, "Etc/UTC").ends_with("(GMT)"));
    assert!(
        line(
            Language::En,
            "2030-05-03T12:00:00Z",
            "2030-05-03T12:00:00Z",
            "UTC"
        )
        .contains(" 12:00 PM, ")
    );
}

#[test]
fn event_over_several_days_says_from_when_until_when() {
    let (start, end) = ("2030-05-03T10:00:00Z", "2030-05-05T03:00:00Z");
    assert_eq!(
        line(Language::Ko, start, end, "Asia/Seoul"),
        "2030년 5월 3일 금요일 오후 7:00부터, 2030년 5월 5일 일요일 오후 12:00까지, 한국 시간 (GMT+9)"
    );
    let english = line(Language::En, start, end, "Europe/London");
    assert!(
        english.starts_with("From Friday, May 3, 2030 at 11:00 AM, until Sunday, May 5, 2030 at 4:00 AM")
    );
}

#[test]
fn zone_that_is_not_known_is_shown_in_utc() {
    let shown = line(
        Language::En,
        "2030-05-03T10:00:00Z",
        "2030-05-03T11:00:00Z",
        "Moon/Base",
    );
    assert_eq!(shown, "Friday, May 3, 2030, 10:00 AM – 11:00 AM, UTC (GMT)");
}

#[test]
fn what_people_wrote_cannot_become_markup() {
    let hostile = r#"<script>alert(1)</script>"><img src=x onerror='alert(2)'>&amp;{{ card }}"#;
    let invitation = Invitation {
        title: hostile.into(),
        host: Some(hostile.into()),
        ..invitation()
    };
    for language in Language::ALL {
        let page = page(language, &invitation);
        assert!(
            !page.contains("<script>") && !page.contains("<img src=x"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(1)&lt;&#x2f;script&gt;&quot;&gt;&lt;img"));
        assert!(page.contains("&amp;amp;{{ card }}"));
        for line in page.lines().filter(|line| line.starts_with("<meta")) {
            // Two quotes around each value, none inside.
            assert_eq!(
                line.matches('"').count(),
                line.matches("=\"").count() * 2,
                "{line}"
            );
            assert_eq!(line.matches('>').count(), 1, "{line}");
        }
    }
}

#[test]
fn page_needs_nothing_but_what_its_policy_allows() {
    for language in Language::ALL {
        let page = page(language, &invitation());
        assert!(!page.contains(" style=") && !page.contains("<style"), "{page}");
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/invite-assets/"), "{script}");
        }
        let handlers = page.split(" on").skip(1).filter(|rest| {
            rest.split_once('=')
                .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase()))
        });
        assert_eq!(handlers.count(), 0);
        let elsewhere = ["src=\"http", "href=\"http", "src=\"//", "href=\"//"];
        assert!(elsewhere.iter().all(|start| !page.contains(start)), "{page}");
    }
}

#[test]
fn messengers_are_told_what_to_show() {
    let page = page(Language::Ko, &invitation());
    for (property, content) in [
        ("og:title", "금요일 저녁"),
        ("og:locale", "ko_KR"),
        ("og:url", "https://t.example/invite/abc_-123"),
        (
            "og:description",
            "미나님이 약속에 초대했어요 · 2030년 5월 3일 금요일, 오후 7:00 ~ 오후 9:30, 한국 시간 (GMT+9)",
        ),
    ] {
        let line = format!("<meta property=\"{property}\" content=\"{content}\">");
        assert!(page.contains(&line), "{line} is not in {page}");
    }
    assert!(page.contains("<meta property=\"og:image\" content=\"https://t.example/invite-assets/card."));
}

#[test]
fn host_without_a_name_is_not_named() {
    let nameless = Invitation {
        host: None,
        ..invitation()
    };
    assert!(page(Language::Ko, &nameless).contains("<p class=\"inviter\">약속에 초대받았어요</p>"));
    assert!(page(Language::En, &nameless).contains("<p class=\"inviter\">You are invited</p>"));
}

#[test]
fn link_is_not_said_to_live_longer_than_its_event() {
    let long = Invitation {
        expires_at: Some(at("2031-01-01T00:00:00Z")),
        ..invitation()
    };
    assert!(page(Language::Ko, &long).contains("2030년 5월 3일 금요일 오후 9:30까지"));
    assert!(page(Language::Ko, &invitation()).contains("2030년 5월 3일 금요일 오전 12:00까지"));
}

#[test]
fn closed_page_names_no_event_and_has_no_script() {
    for language in Language::ALL {
        let answer = closed(language, "https://t.example").unwrap();
        assert_eq!(answer.status(), 404);
        let page = String::from_utf8(answer.into_body().try_into_bytes().unwrap().to_vec()).unwrap();
        assert!(!page.contains("<script") && !page.contains("og:url"), "{page}");
    }
}
