//! One-time codes through a service that sends messages, from the request to the sign-in.

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpResponse, HttpServer, web};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::harness::{
    api::Sends as _,
    process::{Launch, Server, program},
    soon, until,
};

type Heard = Arc<Mutex<Vec<(Option<String>, Value)>>>;

/// A service that takes messages, and what it was given.
fn service() -> (String, Heard) {
    let heard: Heard = Arc::default();
    let kept = Arc::clone(&heard);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/messages", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let serving = HttpServer::new(move || {
            let kept = Arc::clone(&kept);
            App::new().route(
                "/messages",
                web::post().to(move |request: actix_web::HttpRequest, body: web::Bytes| {
                    let key = request.headers().get("authorization");
                    let key = key.map(|key| key.to_str().unwrap().to_owned());
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    kept.lock().unwrap().push((key, body));
                    async { HttpResponse::Ok().finish() }
                }),
            )
        })
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap()
        .run();
        let _ = actix_rt::System::new().block_on(serving);
    });
    (url, heard)
}

async fn post(server: &Server, path: &str, body: Value, language: &str) -> (StatusCode, Value) {
    let answer = reqwest::Client::new()
        .post(format!("http://{}/api/v1{path}", server.address))
        .header("accept-language", language)
        .json(&body)
        .sent()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn code_that_the_service_was_given_signs_in_and_is_shown_nowhere_else() {
    let (url, heard) = service();
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("TIMINGLE__AUTH__PROOF", "code"),
        ("TIMINGLE__SMS__URL", url.as_str()),
        ("PHONE_VERIFY_API_KEY", "the-key-of-the-service"),
        ("TIMINGLE__AUTH__REVIEW_PHONE", "010-9999-0000"),
        ("TIMINGLE__AUTH__REVIEW_CODE", "135790"),
    ];
    let server = Server::launch(Launch {
        dir: dir.path(),
        env: &env,
        through: &[],
    })
    .await;
    let (status, sent) = post(
        &server,
        "/auth/phone/send",
        json!({ "phone": "010-7391-4826" }),
        "ko",
    )
    .await;
    assert_eq!(status, StatusCode::OK, "{sent}");
    let message = until("a message", || {
        let message = heard.lock().unwrap().first().cloned();
        async { message }
    });
    let (key, body) = message.await;
    assert_eq!(key.as_deref(), Some("Bearer the-key-of-the-service"));
    assert_eq!(body["to"], "+821073914826");
    let text = body["text"].as_str().unwrap();
    let code = &text[..6];
    assert!(text.contains("인증번호"), "{text}");
    let (status, signed_in) = post(
        &server,
        "/auth/phone/verify",
        json!({ "verification_id": sent["verification_id"], "code": code }),
        "ko",
    )
    .await;
    assert_eq!(status, StatusCode::CREATED, "{signed_in}");

    // The reviewers' number: no message, and the code that was agreed.
    let (_, sent) = post(
        &server,
        "/auth/phone/send",
        json!({ "phone": "01099990000" }),
        "en",
    )
    .await;
    let verify = json!({ "verification_id": sent["verification_id"], "code": "135790" });
    let (status, reviewer) = post(&server, "/auth/phone/verify", verify, "en").await;
    assert_eq!(status, StatusCode::CREATED, "{reviewer}");
    assert_eq!(heard.lock().unwrap().len(), 1);

    let shown = server.stdout() + &server.log();
    assert!(
        shown.contains("auth.review_phone is set"),
        "a warning when the door is open"
    );
    for secret in [code, "1073914826", "the-key-of-the-service", "135790", "99990000"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test]
async fn service_that_is_away_is_a_readable_503_and_the_next_code_comes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/messages", listener.local_addr().unwrap());
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("TIMINGLE__AUTH__PROOF", "code"),
        ("TIMINGLE__SMS__URL", url.as_str()),
    ];
    let server = Server::launch(Launch {
        dir: dir.path(),
        env: &env,
        through: &[],
    })
    .await;
    let ask = post(
        &server,
        "/auth/phone/send",
        json!({ "phone": "010-7391-4826" }),
        "ko",
    );
    let (status, answer) = soon("an answer", ask).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"UNAVAILABLE".into())
    );
    assert!(answer["error"].as_str().unwrap().contains("다시"), "{answer}");
    assert!(!server.log().contains("1073914826"));
}

#[tokio::test]
async fn template_that_cannot_be_posted_is_found_before_anybody_waits_for_a_code() {
    for (name, value, complaint) in [
        ("TIMINGLE__SMS__BODY", r#"{"text": "{{ text }}"}"#, "sms.body"),
        ("TIMINGLE__SMS__BODY", "{{ phone", "sms.body"),
        ("TIMINGLE__SMS__URL", "ftp://example.org/", "sms.url"),
        ("TIMINGLE__AUTH__REVIEW_CODE", "135790", "auth.review_phone"),
        ("TIMINGLE__AUTH__REVIEW_PHONE", "12", "auth.review_phone"),
    ] {
        let checked = std::process::Command::new(program())
            .arg("check-config")
            .env(name, value)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(
            !checked.status.success() && said.contains(complaint),
            "{name}={value}: {said}"
        );
    }
}
