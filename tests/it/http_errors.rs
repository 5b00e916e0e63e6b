//! Whatever is thrown at HTTP, the answer is the one error body, and never a fault of ours.

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use crate::harness::{TestApp, api::Sends as _};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "BREW"];
/// Routes that need no access token.
const OPEN: [&str; 10] = [
    "/health",
    "/livez",
    "/readyz",
    "/api/v1/auth/phone/send",
    "/api/v1/auth/phone/verify",
    "/api/v1/auth/register",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/google",
    "/api/v1/auth/google/calendar",
];

/// Every route but those of pages and whole documents, with a path of the right form.
fn routes() -> Vec<(String, String)> {
    let filled = |path: &str| {
        path.replace("{event}", "1")
            .replace("{user}", "2")
            .replace("{session}", "00000000-0000-4000-8000-000000000000")
            .replace("{code}", "abc")
            .replace("{name}", "x")
    };
    timingle::http::routes()
        .into_iter()
        .filter(|(_, path)| {
            !["/invite", "/api/docs", "/api/v1/openapi", "/api/v1/asyncapi"]
                .iter()
                .any(|page| path.starts_with(page))
        })
        .map(|(method, path)| (method, filled(path)))
        .collect()
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| (open.repeat(10_000) + &close.repeat(10_000)).into_bytes();
    vec![
        ("nothing", Vec::new()),
        ("no JSON", b"<xml/>".to_vec()),
        ("half an object", b"{\"phone\": ".to_vec()),
        ("wrong types", json!({"phone": 1, "name": [], "title": {}, "code": true, "verification_id": 5,
            "refresh_token": null, "start_time": -1, "reason": 7, "max_uses": "x"}).to_string().into_bytes()),
        ("huge numbers", br#"{"phone":1e999,"max_uses":123456789012345678901234567890,"expires_in_hours":-9223372036854775808}"#.to_vec()),
        ("an array", b"[1,2,3]".to_vec()),
        ("a string", b"\"text\"".to_vec()),
        ("null", b"null".to_vec()),
        ("duplicate members", br#"{"phone":"010","phone":"011","title":"a","title":"b"}"#.to_vec()),
        ("deep arrays", deep("[", "]")),
        ("deep objects in an unknown member", format!("{{\"x\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000)).into_bytes()),
        ("invalid UTF-8", b"{\"phone\":\"\xff\xfe\",\"title\":\"\xc3\x28\"}".to_vec()),
        ("lone surrogates", br#"{"phone":"\ud800","name":"\udfff","title":"\ud800"}"#.to_vec()),
        ("NUL and controls", br#"{"phone":"\u0000","name":"\u0000","title":"\u0007","code":"\u0000","refresh_token":"\u0000"}"#.to_vec()),
        ("long texts", json!({"phone": "1".repeat(100_000), "name": "가".repeat(10_000), "title": "x".repeat(9_000),
            "refresh_token": "y".repeat(20_000), "code": "0".repeat(10_000)}).to_string().into_bytes()),
        ("too much", vec![b' '; 300_000]),
    ]
}

/// Checks what every answer has to keep.
async fn checked(what: &str, answer: Response) -> (u16, Value) {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    assert!(status < 500, "{what}: {status}");
    assert_eq!(headers["x-content-type-options"], "nosniff", "{what}");
    let id = headers["x-request-id"].to_str().unwrap().to_owned();
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status >= 400 && !what.starts_with("HEAD") {
        assert_eq!(headers["content-type"], "application/json", "{what}: {text}");
        assert_eq!(body["status"], status, "{what}: {text}");
        assert_eq!(body["request_id"], id, "{what}: {text}");
        assert_eq!(body["error"], body["detail"], "{what}: {text}");
        for member in ["error", "code", "type", "title", "detail"] {
            assert!(
                body[member].as_str().is_some_and(|text| !text.is_empty()),
                "{what}: {member} in {text}"
            );
        }
        assert!(body["details"].is_object(), "{what}: {text}");
    }
    (status, body)
}

async fn send(what: &str, request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.sent().await;
    checked(what, answer.unwrap_or_else(|error| panic!("{what}: {error}"))).await
}

#[tokio::test]
async fn garbage_to_every_route_and_method_is_answered_with_the_one_error_body() {
    let app = TestApp::spawn().await;
    let (ada, gone) = (app.user("Ada").await, app.user("Gone").await);
    let base = format!("http://{}", app.address);
    let client = Client::new();
    let bodies = bodies();
    let routes = routes();
    for (known, path) in &routes {
        for method in METHODS {
            let is_route = routes.contains(&(method.to_owned(), path.clone()));
            // No body keeps somebody from deleting the account.
            let deletes = (method, path.as_str()) == ("DELETE", "/api/v1/users/me");
            let token = if deletes { &gone.token } else { &ada.token };
            let request = |body: &[u8], kind: &str| {
                client
                    .request(
                        Method::from_bytes(method.as_bytes()).unwrap(),
                        format!("{base}{path}"),
                    )
                    .bearer_auth(token)
                    .header("content-type", kind)
                    .body(body.to_vec())
            };
            for (name, body) in &bodies {
                for kind in [
                    "application/json",
                    "text/plain",
                    "application/x-www-form-urlencoded",
                ] {
                    let what = format!("{method} {path} with {name} as {kind}");
                    let (status, answer) = send(&what, request(body, kind)).await;
                    if !is_route {
                        assert_eq!(status, 405, "{what}");
                        if method != "HEAD" {
                            assert_eq!(answer["code"], "METHOD_NOT_ALLOWED", "{what}");
                            let allow = answer["details"]["allow"].as_str().unwrap();
                            assert!(allow.split(", ").any(|method| method == known), "{what}: {allow}");
                        }
                    }
                }
                // The rest is the same for every body.
                if !is_route {
                    break;
                }
            }
        }
    }
    // The server has taken no harm.
    assert_eq!(ada.call(Method::GET, "/users/me", None).await.0, 200);
}

#[tokio::test]
async fn bad_paths_queries_and_credentials_are_told_apart() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let base = format!("http://{}/api/v1", app.address);
    let client = Client::new();
    for (path, status, code) in [
        ("/events/abc", 400, "BAD_REQUEST"),
        ("/events/1.0", 400, "BAD_REQUEST"),
        ("/events/%00", 400, "BAD_REQUEST"),
        ("/events/%ff", 400, "BAD_REQUEST"),
        ("/events/99999999999999999999", 400, "BAD_REQUEST"),
        ("/events/9223372036854775807", 404, "EVENT_NOT_FOUND"),
        ("/events/-1", 404, "EVENT_NOT_FOUND"),
        ("/events/0", 404, "EVENT_NOT_FOUND"),
        ("/events/7", 404, "EVENT_NOT_FOUND"),
        ("/events?page=x", 400, "BAD_REQUEST"),
        ("/events?limit=99999999999999999999", 400, "BAD_REQUEST"),
        ("/events/", 404, "NOT_FOUND"),
        ("/invite/none", 400, "INVITE_INVALID"),
        ("/../etc/passwd", 404, "NOT_FOUND"),
        ("/nothing/here", 404, "NOT_FOUND"),
    ] {
        let request = client.get(format!("{base}{path}")).bearer_auth(&ada.token);
        let (got, body) = send(path, request).await;
        assert_eq!(
            (got, body["code"].as_str()),
            (status, Some(code)),
            "{path}: {body}"
        );
    }
    for header in ["", "Bearer", "Bearer ", "Basic YTpi", "bearer  x", "Token abc"] {
        let request = client
            .get(format!("{base}/events"))
            .header("authorization", header);
        let (status, body) = send(header, request).await;
        let code = body["code"].as_str().unwrap();
        assert_eq!(status, 401, "{header}");
        assert!(
            ["AUTH_TOKEN_MISSING", "AUTH_TOKEN_INVALID"].contains(&code),
            "{header}: {code}"
        );
    }
    for token in ["x", "a.b.c", &"x".repeat(8_000)] {
        let request = client.get(format!("{base}/events")).bearer_auth(token);
        let (status, body) = send("bad token", request).await;
        assert_eq!((status, &body["code"]), (401, &json!("AUTH_TOKEN_INVALID")));
    }
}

#[tokio::test]
async fn nothing_but_sign_in_and_health_answers_without_a_token() {
    let app = TestApp::spawn().await;
    let client = Client::new();
    for (method, path) in routes().iter().filter(|(_, path)| !OPEN.contains(&path.as_str())) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = client.request(method, format!("http://{}{path}", app.address));
        let (status, body) = send(path, request).await;
        assert_eq!(
            (status, &body["code"]),
            (401, &json!("AUTH_TOKEN_MISSING")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn all_problems_of_a_request_are_told_at_once_in_the_callers_language() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let bad = json!({"title": " ", "start_time": "tomorrow", "end_time": 5, "timezone": "Mars/Base"});
    let (status, _) = ada.call(Method::POST, "/events", Some(bad)).await;
    assert_eq!(status, 400, "a number is no time");
    let bad = json!({"title": " ", "start_time": "tomorrow", "end_time": "later", "timezone": "Mars/Base"});
    let (status, english) = ada.call(Method::POST, "/events", Some(bad.clone())).await;
    assert_eq!(status, 422);
    let pointers: Vec<_> = english["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/title", "/start_time", "/end_time", "/timezone"]);
    let request = Client::new()
        .post(format!("http://{}/api/v1/events", app.address))
        .bearer_auth(&ada.token)
        .header("accept-language", "ko")
        .json(&bad);
    let korean: Value = request.sent().await.unwrap().json().await.unwrap();
    assert_ne!(korean["error"], english["error"]);
}
