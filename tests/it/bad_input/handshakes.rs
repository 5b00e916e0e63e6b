//! What is asked before there is a socket.

use serde_json::json;

use super::code;
use crate::harness::{
    Raw, TestApp,
    raw::{Answer, frame, opcode, upgrade},
};

async fn ask(app: &TestApp, head: &str) -> (Answer, Raw) {
    let mut raw = Raw::connect(app.address, None).await;
    raw.write(head.as_bytes()).await;
    (raw.answer().await, raw)
}

const V2: &str = "Sec-WebSocket-Protocol: timingle.v2";

#[tokio::test]
async fn upgrade_that_is_refused_is_answered_with_the_one_error_body() {
    let app =
        TestApp::with(|config| config.server.allowed_origins = vec!["https://timingle.app".into()]).await;
    let ada = app.user("Ada").await;
    let token = &ada.token;
    let bearer = format!("Authorization: Bearer {token}");
    let (in_query, in_cookie) = (
        format!("/api/v1/ws?access_token={token}&token={token}"),
        format!("Cookie: access_token={token}"),
    );
    let no_version = upgrade("/api/v1/ws", &[V2]).replace("Sec-WebSocket-Version: 13\r\n", "");
    let old_version = upgrade("/api/v1/ws", &[V2]).replace("Version: 13", "Version: 8");
    let no_key = upgrade("/api/v1/ws", &[V2]).replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "");
    let bad_key = upgrade("/api/v1/ws", &[V2]).replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=");
    let post = upgrade("/api/v1/ws", &[V2]).replace("GET ", "POST ");
    let cases = [
        ("no subprotocol", upgrade("/api/v1/ws", &[]), 400, "BAD_REQUEST"),
        (
            "another subprotocol",
            upgrade("/api/v1/ws", &["Sec-WebSocket-Protocol: timingle.v3, chat"]),
            400,
            "BAD_REQUEST",
        ),
        (
            "another site's page",
            upgrade("/api/v1/ws", &[V2, "Origin: https://evil.example"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a page without a site",
            upgrade("/api/v1/ws", &[V2, "Origin: null"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a site that only begins alike",
            upgrade("/api/v1/ws", &[V2, "Origin: https://timingle.app.evil.example"]),
            403,
            "FORBIDDEN",
        ),
        (
            "a wrong path",
            upgrade("/api/v1/wss", &[V2, &bearer]),
            404,
            "NOT_FOUND",
        ),
        (
            "a path of the API",
            upgrade("/api/v1/events", &[V2, &bearer]),
            404,
            "NOT_FOUND",
        ),
        (
            "a bad token",
            upgrade("/api/v1/ws", &[V2, "Authorization: Bearer nonsense"]),
            401,
            "AUTH_TOKEN_INVALID",
        ),
        (
            "another scheme",
            upgrade("/api/v1/ws", &[V2, "Authorization: Basic QTpC"]),
            401,
            "AUTH_TOKEN_MISSING",
        ),
        ("no version", no_version, 400, "BAD_REQUEST"),
        ("an old version", old_version, 400, "BAD_REQUEST"),
        ("no key", no_key, 400, "BAD_REQUEST"),
        ("a bad key", bad_key, 400, "BAD_REQUEST"),
        ("another method", post, 400, "BAD_REQUEST"),
    ];
    for (what, head, status, expected) in cases {
        let (answer, _) = ask(&app, &head).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(expected)),
            "{what}: {answer:?}"
        );
        assert!(answer.json()["error"].is_string(), "{what}: {answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json", "{what}");
    }

    // A token in the URL or in a cookie is no credential: the socket opens for somebody unknown.
    for head in [
        upgrade(&in_query, &[V2]),
        upgrade("/api/v1/ws", &[V2, &in_cookie]),
    ] {
        let (answer, mut socket) = ask(&app, &head).await;
        assert_eq!(answer.status, 101);
        socket.text(r#"{"id":1,"history":{"room":1}}"#).await;
        assert_eq!(code(&socket.json().await.unwrap()), "AUTH_TOKEN_MISSING");
    }
    // The own host, the listed site, several offers: fine, and the subprotocol is echoed.
    for line in [
        "Origin: http://localhost",
        "Origin: https://timingle.app",
        "Sec-WebSocket-Protocol: chat, timingle.v2",
    ] {
        let (answer, _) = ask(&app, &upgrade("/api/v1/ws", &[V2, line])).await;
        assert_eq!(answer.status, 101, "{line}");
        assert_eq!(answer.headers["sec-websocket-protocol"], "timingle.v2");
        assert_eq!(
            answer.headers["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
    // Without an upgrade it is a path like any other.
    let (answer, _) = ask(&app, "GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (404, Some("NOT_FOUND"))
    );
}

#[tokio::test]
async fn frames_sent_right_behind_the_upgrade_are_not_lost() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut raw = Raw::connect(app.address, None).await;
    let auth = json!({ "id": 1, "auth": { "access_token": ada.token } }).to_string();
    let head = upgrade("/api/v1/ws", &[V2]);
    raw.write(&[head.as_bytes(), &frame(true, opcode::TEXT, auth.as_bytes())].concat())
        .await;
    assert_eq!(raw.answer().await.status, 101);
    assert!(raw.reply(1).await["hello"].is_object());
}
