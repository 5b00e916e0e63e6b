//! The page behind an invite link.

use reqwest::{Client, Method, StatusCode, header};
use serde_json::json;

use crate::{harness::TestApp, invitations::link_for};

/// What a browser gets.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    headers: header::HeaderMap,
    body: String,
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// What `<meta property="..." content="...">` says.
    fn meta(&self, property: &str) -> &str {
        let start = format!("<meta property=\"{property}\" content=\"");
        let (_, rest) = self.body.split_once(&start).unwrap();
        rest.split_once('"').unwrap().0
    }
}

/// Opens a page as a browser of this language does.
pub(crate) async fn browse(app: &TestApp, path: &str, language: &str) -> Page {
    let url = format!("http://{}{path}", app.address);
    let request = Client::new().get(url).header("accept-language", language);
    let answer = request.send().await.unwrap();
    Page {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: answer.text().await.unwrap(),
    }
}

/// Weakness 4 of a first implementation: everyone read everything; a link tells no more
/// than it needs to.
#[tokio::test]
async fn page_says_what_when_and_who_and_nothing_private() {
    let app = TestApp::spawn().await;
    let (host, guest) = (app.user("김미나").await, app.user("박준호").await);
    let event = json!({
        "title": "저녁 식사",
        "description": "비밀 이야기",
        "location": "성수동 어딘가",
        "start_time": "2030-05-03T10:00:00Z",
        "end_time": "2030-05-03T12:00:00Z",
        "timezone": "America/New_York",
    });
    let (status, event) = host.call(Method::POST, "/events", Some(event)).await;
    assert_eq!(status, 201, "{event}");
    let event = event["id"].as_i64().unwrap();
    let code = host.invite(event).await;
    guest.join_by(&code).await;
    let path = format!("/invite/{code}");

    let korean = browse(&app, &path, "ko").await;
    assert_eq!(korean.status, 200);
    assert_eq!(korean.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(korean.header("content-language"), "ko");
    assert_eq!(korean.header("referrer-policy"), "no-referrer");
    assert_eq!(korean.header("cache-control"), "no-store");
    assert_eq!(
        korean.header("content-security-policy"),
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    for text in [
        "<html lang=\"ko\">",
        "저녁 식사",
        "김미나님이 약속에 초대했어요",
        "2030년 5월 3일 금요일",
        "오전 6:00 ~ 오전 8:00",
        "뉴욕 시간 (GMT-4)",
        "datetime=\"2030-05-03T06:00:00-04:00\"",
        "noindex",
        code.as_str(),
    ] {
        assert!(korean.body.contains(text), "{text} is not in {}", korean.body);
    }
    assert_eq!(korean.meta("og:locale"), "ko_KR");
    let english = browse(&app, &path, "en-GB,en;q=0.9").await;
    for text in [
        "<html lang=\"en\">",
        "김미나 invites you",
        "Friday, May 3, 2030",
        "6:00 AM – 8:00 AM",
    ] {
        assert!(english.body.contains(text), "{text} is not in {}", english.body);
    }
    assert_eq!(english.meta("og:locale"), "en_US");
    for page in [&korean, &english] {
        for private in [
            "비밀 이야기",
            "성수동",
            "박준호",
            &host.phone,
            &host.phone[1..],
            &guest.phone,
        ] {
            assert!(!page.body.contains(private), "{private} is in {}", page.body);
        }
    }

    assert_eq!(
        browse(&app, &format!("{path}?lang=en"), "ko").await.body,
        english.body
    );
    assert_eq!(
        browse(&app, &format!("{path}?lang=xx&lang=en"), "ko").await.body,
        korean.body
    );
    let head = Client::new().head(format!("http://{}{path}", app.address));
    let head = head.send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_dead_link_shows_the_same_page_as_one_that_never_was() {
    let app = TestApp::spawn().await;
    let (host, guest) = (app.user("Mina").await, app.user("Jun").await);
    let event = host.create_event("Dinner").await;
    let (used_up, ended) = (link_for(&host, event, 1).await, host.invite(event).await);
    guest.join_by(&used_up).await;
    host.call(Method::DELETE, &format!("/invite/{ended}"), None).await;
    let canceled = host.create_event("Rain").await;
    let of_canceled = host.invite(canceled).await;
    host.cancel(canceled, "rain").await;
    let over = "a".repeat(65);
    let codes = [
        used_up.as_str(),
        &ended,
        &of_canceled,
        "AAAAAAAAAAAAAAAA",
        "%ff%00",
        "%3Cscript%3E",
        "a%20b",
        &over,
    ];
    for language in ["ko", "en"] {
        let never = browse(&app, "/invite/never-was", language).await;
        assert_eq!(never.status, 404);
        assert_eq!(never.header("content-type"), "text/html; charset=utf-8");
        assert!(!never.body.contains("never-was") && !never.body.contains("Dinner"));
        for code in codes {
            let page = browse(&app, &format!("/invite/{code}"), language).await;
            assert_eq!((page.status, &page.body), (never.status, &never.body), "{code}");
        }
    }
}

#[tokio::test]
async fn style_script_and_card_are_kept_by_browsers_for_good() {
    let app = TestApp::spawn().await;
    let host = app.user("Mina").await;
    let code = host.invite(host.create_event("Dinner").await).await;
    let page = browse(&app, &format!("/invite/{code}"), "en").await;
    let base = format!("http://localhost:{}", app.address.port());
    let card = page.meta("og:image").strip_prefix(&base).unwrap();
    let mut paths: Vec<&str> = page
        .body
        .split('"')
        .filter(|value| value.starts_with("/invite-assets/"))
        .collect();
    paths.push(card);
    paths.sort_unstable();
    paths.dedup();
    let mut types = Vec::new();
    for path in paths {
        let asset = browse(&app, path, "en").await;
        assert_eq!(asset.status, 200, "{path}");
        assert_eq!(
            asset.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert_eq!(asset.header("x-content-type-options"), "nosniff");
        types.push(asset.header("content-type").to_owned());
    }
    types.sort_unstable();
    assert_eq!(
        types,
        [
            "image/png",
            "image/svg+xml",
            "text/css; charset=utf-8",
            "text/javascript; charset=utf-8",
        ]
    );
    for path in [
        "/invite-assets/invite.0000000000000000.css",
        "/invite-assets/..%2Finvite.css",
    ] {
        assert_eq!(browse(&app, path, "en").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn trying_out_codes_is_slowed_down_in_words_for_people() {
    let app = TestApp::with(|config| config.limits.invite_lookups_per_address = 3).await;
    let host = app.user("Mina").await;
    let code = host.invite(host.create_event("Dinner").await).await;
    for _ in 0..3 {
        assert_eq!(browse(&app, "/invite/guess", "en").await.status, 404);
    }
    // Also the right one: nobody learns by being refused.
    let page = browse(&app, &format!("/invite/{code}"), "en").await;
    assert_eq!(page.status, 429);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(page.body.contains("That was too much at once") && !page.body.contains("Dinner"));
}
