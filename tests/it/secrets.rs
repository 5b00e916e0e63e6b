//! No secret ever reaches the log, whatever is logged.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{
    Raw, Socket, User,
    api::Sends as _,
    process::{Launch, Server},
    raw::upgrade,
    until,
};

const PHONE: &str = "010-7391-4826";
const OTHER_PHONE: &str = "+82 10 8264 9173";

/// What a run has used and what must not be in its log, by what it is.
#[derive(Default)]
struct Secrets(BTreeMap<&'static str, BTreeSet<String>>);

impl Secrets {
    fn add(&mut self, what: &'static str, secret: &str) {
        self.0.entry(what).or_default().insert(secret.to_owned());
    }

    /// All forms in which somebody might write this number.
    fn add_phone(&mut self, national: &str, dashed: &str) {
        self.add("phone", national);
        self.add("phone", dashed);
        // Also at the end of +82... and without the leading zero.
        self.add("phone", &national[1..]);
        self.add("phone", &dashed[1..]);
    }

    fn add_user(&mut self, user: &User) {
        self.add("access token", &user.token);
        // The part that signs is the secret, alone as well.
        self.add("access token", user.token.rsplit('.').next().unwrap());
        self.add("refresh token", &user.refresh_token);
    }
}

/// The one call of this API that is not made by somebody who is signed in.
async fn post(address: SocketAddr, path: &str, body: Value) -> (StatusCode, Value) {
    let answer = reqwest::Client::new()
        .post(format!("http://{address}/api/v1{path}"))
        .json(&body)
        .sent()
        .await
        .unwrap();
    (answer.status(), answer.json().await.unwrap_or(Value::Null))
}

/// Asks for a code: the number of the verification, and the code from the terminal.
async fn code_for(server: &Server, phone: &str) -> (String, String) {
    let already = server.stdout().matches("code for").count();
    let (status, sent) = post(server.address, "/auth/phone/send", json!({ "phone": phone })).await;
    assert!(status.is_success(), "{sent}");
    let code = until("the code on the terminal", || {
        let stdout = server.stdout();
        let code = stdout
            .lines()
            .filter_map(|line| line.trim().strip_prefix("code for ")?.rsplit(' ').next())
            .nth(already)
            .map(str::to_owned);
        async { code }
    })
    .await;
    (sent["verification_id"].as_str().unwrap().to_owned(), code)
}

/// Signs in by a code, after a wrong one was tried.
async fn sign_in(server: &Server, phone: &str, name: &str, secrets: &mut Secrets) -> User {
    let (id, code) = code_for(server, phone).await;
    let wrong = if code == "314159" { "271828" } else { "314159" };
    secrets.add("code", &code);
    secrets.add("code", wrong);
    let verify = |code: String| {
        post(
            server.address,
            "/auth/phone/verify",
            json!({ "verification_id": id, "code": code, "name": name }),
        )
    };
    let (status, refused) = verify(wrong.to_owned()).await;
    assert_eq!(refused["code"], "AUTH_PHONE_CODE_INVALID", "{status}");
    let (status, signed_in) = verify(code.clone()).await;
    assert!(status.is_success(), "{signed_in}");
    let (status, again) = verify(code).await;
    assert!(status.is_client_error(), "a code counts twice: {again}");
    let user = User::of(server.address, name, phone, &signed_in);
    secrets.add_user(&user);
    user
}

/// Uses everything that a person uses, also wrongly, and notes every secret of it.
async fn use_everything(server: &Server, secrets: &mut Secrets) {
    secrets.add_phone("01073914826", PHONE);
    secrets.add_phone("01082649173", "010-8264-9173");
    secrets.add("phone", "10 8264 9173");
    let ada = sign_in(server, PHONE, "Ada", secrets).await;
    let min = sign_in(server, OTHER_PHONE, "민지", secrets).await;
    let room = ada.create_event("Lesson").await;
    let link = ada.invite(room).await;
    secrets.add("invite code", &link);
    min.join_by(&link).await;

    // Talk: good, refused, and broken in each way that quotes what it could not read.
    let texts = [
        "a-word-for-nobody-else",
        "그-누구에게도-아닌-말",
        "too-long-a-secret",
        "secret-of-a-wrong-type",
    ];
    for text in texts {
        secrets.add("text", text);
    }
    let mut at_ada = ada.connect().await;
    at_ada.join(room).await;
    let mut at_min = Socket::open(server.address, None).await.unwrap();
    at_min.ask("auth", json!({ "access_token": min.token })).await;
    at_min.join(room).await;
    at_ada.publish(room, texts[0]).await;
    at_min.publish(room, texts[1]).await;
    // Version 1's socket, whose credential stands among the subprotocols: a good and a bad one.
    let path = format!("/api/v1/ws?event_id={room}");
    for (token, status) in [(ada.token.clone(), 101), (format!("{}x", min.token), 401)] {
        let mut raw = Raw::connect(server.address, None).await;
        let offers = format!("Sec-WebSocket-Protocol: chat, bearer.{token}");
        raw.write(upgrade(&path, &[&offers]).as_bytes()).await;
        assert_eq!(raw.answer().await.status, status);
        if status == 101 {
            raw.text(&json!({ "type": "system", "message": texts[3] }).to_string())
                .await;
            raw.text(&json!({ "type": "message", "message": texts[2].repeat(1_000) }).to_string())
                .await;
            assert_eq!(raw.json().await.unwrap()["message_type"], "system");
        }
    }
    at_ada.publish(room, &texts[2].repeat(1_000)).await;
    let key = uuid::Uuid::new_v4();
    at_ada.publish_as(room, &key.to_string(), 1, texts[0]).await;
    at_ada.publish_as(room, &key.to_string(), 1, texts[1]).await;
    for broken in [
        format!(
            r#"{{"id":99,"publish":{{"room":{room},"key":"{}","after":1,"body":"{}"}}}}"#,
            texts[3], texts[3]
        ),
        format!(
            r#"{{"id":99,"publish":{{"room":{room},"key":"{key}","after":1,"body":"{}"}}}}"#,
            texts[3]
        ),
        format!(r#"{{"id":99,"{}":{{}}}}"#, texts[3]),
        format!(r#"{{"id":"{}"}}"#, texts[3]),
        texts[3].to_owned(),
        format!(r#"{{"id":99,"auth":{{"access_token":["{}"]}}}}"#, ada.token),
        format!(r#"{{"id":99,"auth":{{"access_token":"{}x"}}}}"#, ada.token),
        format!(r#"{{"id":99,"auth":{{"access_token":"{}"}}}}"#, ada.token),
    ] {
        at_ada.text(&broken).await;
        at_ada.frame().await.unwrap();
    }
    assert!(at_ada.ask("history", json!({ "room": room })).await["history"].is_object());

    // Credentials where they belong and where they do not.
    let (status, refreshed) = post(
        server.address,
        "/auth/refresh",
        json!({ "refresh_token": ada.refresh_token }),
    )
    .await;
    assert!(status.is_success(), "{refreshed}");
    let mut renewed = ada.clone();
    renewed.token = refreshed["access_token"].as_str().unwrap().to_owned();
    secrets.add_user(&renewed);
    let bad = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoxfQ.c2VjcmV0LXNpZ25hdHVyZQ";
    secrets.add("access token", bad);
    let mut bearer = ada.clone();
    for token in [bad, &ada.token[..ada.token.len() - 2]] {
        bearer.token = token.to_owned();
        assert_eq!(bearer.call(Method::GET, "/auth/me", None).await.0, 401);
        assert!(Socket::open(server.address, Some(token)).await.is_err());
    }
    for path in [
        format!("/auth/me?access_token={}", ada.token),
        format!("/{}", ada.token),
        format!("/invite/{}", ada.refresh_token),
        format!("/invite/{link}"),
        format!("/events/{}", texts[3]),
        format!("/events?page={PHONE}"),
    ] {
        renewed.call(Method::GET, &path, None).await;
    }
    for (path, body) in [
        ("/auth/phone/send", json!({ "phone": 10_7391_4826_i64 })),
        ("/auth/phone/send", json!({ "phone": format!("{PHONE}x") })),
        (
            "/auth/phone/verify",
            json!({ "verification_id": texts[3], "code": "314159" }),
        ),
        (
            "/auth/phone/verify",
            json!({ "verification_id": key, "code": 314_159 }),
        ),
        ("/auth/register", json!({ "phone": PHONE, "name": "Ada" })),
        ("/auth/login", json!({ "phone": PHONE })),
        ("/auth/refresh", json!({ "refresh_token": [ada.refresh_token] })),
        (
            "/auth/refresh",
            json!({ "refresh_token": format!("{}x", ada.refresh_token) }),
        ),
        ("/auth/refresh", json!({ "refresh_token": bad })),
        ("/auth/refresh", json!(ada.refresh_token)),
    ] {
        let (status, answer) = post(server.address, path, body).await;
        assert!(status.is_client_error(), "{path}: {status} {answer}");
    }
    assert_eq!(ada.call(Method::POST, "/auth/logout", None).await.0, 200);
    let (status, _) = post(
        server.address,
        "/auth/refresh",
        json!({ "refresh_token": ada.refresh_token }),
    )
    .await;
    assert_eq!(status, 401);
}

/// Whether `text` holds `secret`; of digits alone, not as a part of a longer number.
fn holds(text: &str, secret: &str) -> bool {
    let is_number = secret.len() < 8 && secret.bytes().all(|byte| byte.is_ascii_digit());
    text.match_indices(secret).any(|(at, _)| {
        let around = [
            text[..at].chars().next_back(),
            text[at + secret.len()..].chars().next(),
        ];
        !is_number || around.into_iter().flatten().all(|c| !c.is_ascii_alphanumeric())
    })
}

#[tokio::test]
async fn no_token_code_number_or_text_is_in_any_log_line_and_each_line_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("TIMINGLE__LOG__FILTER", "trace"),
        ("TIMINGLE__AUTH__PROOF", "code"),
    ];
    let mut server = Server::launch(Launch {
        dir: dir.path(),
        env: &env,
        through: &[],
    })
    .await;
    let mut secrets = Secrets::default();
    use_everything(&server, &mut secrets).await;
    server.terminate();
    assert!(server.wait().await.success());

    let log = server.log();
    let (mut levels, mut leaks) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields = line.as_object_mut().expect("a line that is no object");
        // Six digits of microseconds are no code.
        fields.remove("timestamp").expect("a line without its time");
        levels.insert(fields["level"].as_str().unwrap().to_owned());
        let text = line.to_string();
        for (what, secrets) in &secrets.0 {
            for secret in secrets {
                if holds(&text, secret) {
                    leaks.insert(format!("{what} {secret}: {text}"));
                }
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    // It is a log of all that, at its most talkative.
    assert!(levels.contains("TRACE") && levels.contains("INFO"), "{levels:?}");
    assert!(
        log.contains("signed in") && log.contains("signed out"),
        "the log says nothing"
    );
    assert_eq!(secrets.0.len(), 6, "{:?}", secrets.0.keys());
}

#[test]
fn secret_would_be_found() {
    assert!(holds(r#"{"message":"code 123456"}"#, "123456"));
    assert!(!holds(r#"{"elapsed":1234567}"#, "123456"));
    assert!(holds(r#"{"phone":"+821073914826"}"#, "1073914826"));
}
