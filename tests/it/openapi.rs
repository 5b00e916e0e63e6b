//! The API's description: the file that is kept, the page that shows it, and the check of
//! answers that all other tests stand on.

use reqwest::Client;
use serde_json::Value;
use timingle::http::openapi;

use crate::harness::{TestApp, api};

#[test]
fn file_that_is_kept_is_what_the_code_says() {
    let kept = std::fs::read_to_string("docs/openapi.json").unwrap_or_default();
    assert!(
        kept == openapi::text(),
        "docs/openapi.json is out of date: run `cargo run -- openapi > docs/openapi.json`"
    );
}

#[tokio::test]
async fn description_and_its_page_are_served_without_sign_in() {
    let app = TestApp::spawn().await;
    let base = format!("http://{}", app.address);
    let get = async |path: &str| {
        let answer = Client::new().get(format!("{base}{path}")).send().await.unwrap();
        let (status, headers, body) = api::checked(&reqwest::Method::GET, answer).await.unwrap();
        assert_eq!(status, 200, "{path}");
        (headers, String::from_utf8(body.to_vec()).unwrap())
    };
    assert_eq!(get("/api/v1/openapi.json").await.1, openapi::text());
    assert_eq!(
        get("/api/v1/asyncapi.yaml").await.1,
        include_str!("../../docs/asyncapi.yaml")
    );
    let (headers, page) = get("/api/docs").await;
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let parts: Vec<&str> = page
        .split('"')
        .filter(|part| part.starts_with("/api/docs/"))
        .collect();
    assert_eq!(parts.len(), 4);
    for part in parts {
        assert!(!get(part).await.1.is_empty());
    }
}

/// What the check says of an answer, if anything.
fn complaint(method: &str, path: &str, status: u16, kind: &str, body: &Value) -> Option<String> {
    let body = body.to_string();
    let checked = std::panic::catch_unwind(|| api::check(method, path, status, Some(kind), body.as_bytes()));
    checked
        .err()
        .map(|fallen| fallen.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[test]
fn an_answer_that_is_not_described_is_noticed() {
    let user = serde_json::json!({
        "id": 1, "phone": "+821012345678", "name": "Ada", "role": "USER", "is_active": true,
        "timezone": "Asia/Seoul", "language": "ko",
        "created_at": "2030-01-01T00:00:00.000000Z", "updated_at": "2030-01-01T00:00:00.000000Z",
    });
    let told = |method, path, status, kind, body: &Value| complaint(method, path, status, kind, body);
    let json = "application/json";
    assert_eq!(told("GET", "/api/v1/users/me", 200, json, &user), None);
    let with = |name: &str, value: Value| {
        let mut user = user.clone();
        user[name] = value;
        user
    };
    for (what, complaint) in [
        (
            "content type",
            told("GET", "/api/v1/users/me", 200, "text/plain", &user),
        ),
        ("status", told("GET", "/api/v1/users/me", 201, json, &user)),
        ("description", told("GET", "/api/v1/nothing", 200, json, &user)),
        (
            "secret",
            told("GET", "/api/v1/users/me", 200, json, &with("secret", 1.into())),
        ),
        (
            "string",
            told("GET", "/api/v1/users/me", 200, json, &with("name", Value::Null)),
        ),
        (
            "date-time",
            told(
                "GET",
                "/api/v1/users/me",
                200,
                json,
                &with("created_at", "now".into()),
            ),
        ),
    ] {
        let complaint = complaint.unwrap_or_else(|| panic!("{what} is not noticed"));
        assert!(complaint.contains(what), "{what}: {complaint}");
    }
    // Also in what is put together from parts, and in the parts of a list.
    let mut person = serde_json::json!({ "id": 1, "name": "Ada" });
    let event = |creator: &Value| {
        serde_json::json!([{
            "id": 1, "title": "Lesson", "start_time": "2030-01-01T00:00:00.000000Z",
            "end_time": "2030-01-01T00:00:00.000000Z", "timezone": "Asia/Seoul", "status": "PROPOSED",
            "confirm_rule": "everyone", "on_deadline": "stay", "creator_id": 1, "creator": creator,
            "participants": [], "fact_no": 1, "created_at": "2030-01-01T00:00:00.000000Z",
            "updated_at": "2030-01-01T00:00:00.000000Z",
        }])
    };
    assert_eq!(told("GET", "/api/v1/events", 200, json, &event(&person)), None);
    person["phone"] = "+821012345678".into();
    assert!(told("GET", "/api/v1/events", 200, json, &event(&person)).is_some());
}
