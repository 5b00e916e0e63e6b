use actix_web::{
    App, HttpResponse, Responder,
    body::to_bytes,
    http::{Method, StatusCode, header},
    middleware::from_fn,
    test::{TestRequest, init_service, try_call_service},
    web::{self, Data, Path, PathConfig, PayloadConfig, Query, QueryConfig},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Settings, edge,
    error::{ApiError, RequestError},
    extract::{Body, LenientBody, OptionalBody},
    not_found, ops,
    routes::only,
};
use crate::{
    error::{Coded, ErrorCode},
    ports::RateLimited,
};

#[derive(Debug, Default, Deserialize)]
struct Thing {
    n: i64,
}

#[derive(Debug, thiserror::Error)]
#[error("the disk said {0}")]
struct Broken(#[source] std::io::Error);

impl Coded for Broken {
    fn code(&self) -> ErrorCode {
        ErrorCode::InternalError
    }
}

async fn body(Body(thing): Body<Thing>) -> impl Responder {
    thing.n.to_string()
}

async fn optional(OptionalBody(thing): OptionalBody<Thing>) -> impl Responder {
    thing.n.to_string()
}

async fn lenient(LenientBody(thing): LenientBody<Thing>) -> impl Responder {
    thing.n.to_string()
}

async fn number(path: Path<i64>, query: Query<Thing>) -> impl Responder {
    (*path + query.n).to_string()
}

async fn limited() -> Result<HttpResponse, ApiError> {
    let retry_after = std::time::Duration::from_millis(1_200);
    Err(RateLimited { retry_after }.into())
}

async fn broken() -> Result<HttpResponse, ApiError> {
    Err(Broken(std::io::Error::other("secret detail")).into())
}

async fn bare() -> HttpResponse {
    HttpResponse::new(StatusCode::BAD_GATEWAY)
}

async fn panicking() -> HttpResponse {
    panic!("on purpose")
}

struct Answer {
    status: u16,
    headers: header::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn answer(request: TestRequest) -> Answer {
    let settings = Settings {
        request_bytes: 100,
        allowed_origins: vec!["https://ok.example".into()],
        trusted_proxies: Vec::new(),
        idempotency_life: std::time::Duration::from_secs(60),
    };
    let app = App::new()
        .wrap(from_fn(edge::edge))
        .app_data(PayloadConfig::new(settings.request_bytes))
        .app_data(
            PathConfig::default().error_handler(|e, _| ApiError::from(RequestError::of_path(&e)).into()),
        )
        .app_data(
            QueryConfig::default().error_handler(|e, _| ApiError::from(RequestError::of_query(&e)).into()),
        )
        .app_data(Data::new(settings))
        .app_data(Data::new(ops::Readiness::new(vec![
            ("sql", Box::new(|| Box::pin(async { true }))),
            ("log", Box::new(|| Box::pin(std::future::pending()))),
        ])))
        .service(
            web::resource("/body")
                .post(body)
                .default_service(only("POST".to_owned())),
        )
        .service(
            web::resource("/optional")
                .post(optional)
                .default_service(only("POST".to_owned())),
        )
        .service(
            web::resource("/lenient")
                .post(lenient)
                .default_service(only("POST".to_owned())),
        )
        .service(
            web::resource("/n/{n}")
                .get(number)
                .default_service(only("GET".to_owned())),
        )
        .service(web::resource("/limited").get(limited))
        .service(web::resource("/broken").get(broken))
        .service(web::resource("/bare").get(bare))
        .service(web::resource("/panicking").get(panicking))
        .service(web::resource("/readyz").get(ops::ready))
        .default_service(web::to(not_found));
    let app = init_service(app).await;
    let response = match try_call_service(&app, request.to_request()).await {
        Ok(response) => response.into_parts().1,
        Err(error) => error.error_response(),
    };
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: to_bytes(response.into_body()).await.unwrap().to_vec(),
    }
}

#[actix_web::test]
async fn every_failure_has_the_one_body() {
    let post = |path: &str, body: &'static str| TestRequest::post().uri(path).set_payload(body);
    let cases = [
        (post("/body", "{"), 400, "BAD_REQUEST"),
        (post("/body", "{\"n\":\"x\"}"), 400, "BAD_REQUEST"),
        (post("/body", ""), 400, "BAD_REQUEST"),
        (post("/optional", "nonsense"), 400, "BAD_REQUEST"),
        (
            TestRequest::post().uri("/body").set_payload(vec![b'x'; 101]),
            413,
            "FRAME_TOO_BIG",
        ),
        (
            TestRequest::post().uri("/lenient").set_payload(vec![b'x'; 101]),
            413,
            "FRAME_TOO_BIG",
        ),
        (TestRequest::get().uri("/n/x?n=1"), 400, "BAD_REQUEST"),
        (
            TestRequest::get().uri("/n/99999999999999999999?n=1"),
            400,
            "BAD_REQUEST",
        ),
        (TestRequest::get().uri("/n/1?n=x"), 400, "BAD_REQUEST"),
        (TestRequest::get().uri("/nowhere"), 404, "NOT_FOUND"),
        (TestRequest::get().uri("/body"), 405, "METHOD_NOT_ALLOWED"),
        (TestRequest::post().uri("/limited"), 405, "METHOD_NOT_ALLOWED"),
        (TestRequest::get().uri("/limited"), 429, "RATE_LIMIT_EXCEEDED"),
        (TestRequest::get().uri("/broken"), 500, "INTERNAL_ERROR"),
        (TestRequest::get().uri("/bare"), 500, "INTERNAL_ERROR"),
        (TestRequest::get().uri("/panicking"), 500, "INTERNAL_ERROR"),
    ];
    for (request, status, code) in cases {
        let answer = answer(request).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, json["code"].as_str()),
            (status, Some(code)),
            "{json:?}"
        );
        assert_eq!(json["status"], status);
        assert_eq!(json["type"], "about:blank");
        assert!(json["error"].is_string() && json["details"].is_object() && json["title"].is_string());
        assert_eq!(json["error"], json["detail"]);
        assert_eq!(json["request_id"].as_str(), answer.header("x-request-id"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(!json["error"].to_string().contains("secret"));
    }
}

#[actix_web::test]
async fn answers_say_what_would_help() {
    let wrong_method = answer(TestRequest::get().uri("/body")).await;
    assert_eq!(wrong_method.header("allow"), Some("POST"));
    let limited = answer(TestRequest::get().uri("/limited")).await;
    assert_eq!(limited.header("retry-after"), Some("2"));
    assert_eq!(limited.json()["retry_after_ms"], 1_200);
    let english = answer(
        TestRequest::get()
            .uri("/x")
            .insert_header(("accept-language", "en")),
    )
    .await;
    let korean = answer(TestRequest::get().uri("/x")).await;
    assert_ne!(english.json()["error"], korean.json()["error"]);
    let problem = answer(
        TestRequest::get()
            .uri("/x")
            .insert_header(("accept", "application/problem+json")),
    )
    .await;
    assert_eq!(problem.header("content-type"), Some("application/problem+json"));
}

#[actix_web::test]
async fn bodies_may_be_missing_only_where_that_is_agreed() {
    for (path, payload, expected) in [
        ("/optional", "", "0"),
        ("/optional", " \n", "0"),
        ("/optional", "{\"n\":3}", "3"),
        ("/lenient", "nonsense", "0"),
        ("/lenient", "{\"n\":3}", "3"),
        ("/body", "{\"n\":3,\"unknown\":[[[]]]}", "3"),
    ] {
        let answer = answer(TestRequest::post().uri(path).set_payload(payload)).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, expected.as_bytes()),
            "{path} {payload}"
        );
    }
}

#[actix_web::test]
async fn harmless_request_ids_are_kept_and_others_replaced() {
    let id = |text: &str| TestRequest::get().uri("/x").insert_header(("x-request-id", text));
    assert_eq!(
        answer(id("a-B_9.z")).await.header("x-request-id"),
        Some("a-B_9.z")
    );
    for bad in ["", "a b", "a\tb", "\"", "가", &"x".repeat(65)] {
        let given = answer(id(bad)).await;
        assert_eq!(given.header("x-request-id").unwrap().len(), 36, "{bad:?}");
    }
}

#[actix_web::test]
async fn only_listed_origins_and_the_own_host_may_read() {
    let from = |method: Method, origin: &str| {
        TestRequest::with_uri("/n/1?n=1")
            .method(method)
            .insert_header(("origin", origin))
            .insert_header(("host", "own.example:8080"))
    };
    for (origin, allowed) in [
        ("https://ok.example", true),
        ("http://own.example:8080", true),
        ("https://ok.example.evil", false),
        ("http://own.example", false),
        ("null", false),
        ("*", false),
    ] {
        for method in [Method::GET, Method::OPTIONS] {
            let preflight = method == Method::OPTIONS;
            let answer = answer(from(method, origin)).await;
            assert_eq!(answer.status, if preflight { 204 } else { 200 });
            let echoed = answer.header("access-control-allow-origin");
            assert_eq!(echoed, allowed.then_some(origin), "{origin}");
            assert_eq!(
                answer.header("access-control-allow-methods").is_some(),
                allowed && preflight
            );
            assert!(answer.header("vary").unwrap().contains("Origin"));
        }
    }
}

#[actix_web::test]
async fn dependency_that_does_not_answer_is_not_ready() {
    tokio::time::pause();
    let answer = answer(TestRequest::get().uri("/readyz")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()["details"]["failing"], serde_json::json!(["log"]));
}

#[actix_web::test]
async fn a_helper_that_does_not_answer_is_named_and_turns_nobody_away() {
    let check = |name, answers| -> ops::Check { (name, Box::new(move || Box::pin(async move { answers }))) };
    let ready = async |log| {
        let helpers = vec![check("nats", true), check("redis", false)];
        let readiness = ops::Readiness::new(vec![check("log", log)]).with_helpers(helpers);
        let app = App::new()
            .wrap(from_fn(edge::edge))
            .app_data(Data::new(readiness))
            .service(web::resource("/readyz").get(ops::ready));
        let app = actix_web::test::init_service(app).await;
        let answer =
            actix_web::test::call_service(&app, TestRequest::get().uri("/readyz").to_request()).await;
        let status = answer.status().as_u16();
        let body: serde_json::Value = actix_web::test::read_body_json(answer).await;
        (status, body)
    };
    let failing = serde_json::json!({ "status": "ready", "failing": ["redis"] });
    assert_eq!(ready(true).await, (200, failing));
    let (status, body) = ready(false).await;
    assert_eq!(status, 503);
    assert_eq!(body["details"]["failing"], serde_json::json!(["log", "redis"]));
}
