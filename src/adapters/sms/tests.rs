use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::{HttpSender, HttpSenderError, message};
use crate::{config::Sms, domain::phone::Phone, i18n::Language, ports::CodeSender as _};

/// A service that sends messages on: keeps what it was told, as it came over the wire.
struct Service {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// One that answers each request with `answer`; with an empty one, never.
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/messages?from=1", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (mut bytes, mut part) = (Vec::new(), [0; 4_096]);
                while !is_whole(&bytes) {
                    match socket.read(&mut part).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => bytes.extend_from_slice(&part[..count]),
                    }
                }
                kept.lock().push(String::from_utf8(bytes).unwrap());
                if answer.is_empty() {
                    silent.push(socket);
                } else {
                    let line = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let _ = socket.write_all(line.as_bytes()).await;
                }
            }
        });
        Self { url, heard, task }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

fn config(url: &str, key: &str) -> Sms {
    Sms {
        url: url.to_owned(),
        api_key: key.to_owned().into(),
        body: r#"{"to": {{ phone|tojson }}, "code": "{{ code }}", "text": {{ text|tojson }}, "l": "{{ language }}"}"#
            .to_owned(),
    }
}

fn phone() -> Phone {
    Phone::parse("010-1234-5678", "KR").unwrap()
}

#[tokio::test]
async fn code_goes_out_with_the_key_as_the_template_says() {
    let service = Service::answering("202 Accepted").await;
    let sender = HttpSender::new(&config(&service.url, "key-1")).unwrap();
    sender.send(&phone(), "012345", Language::Ko).await.unwrap();

    let requests = service.heard();
    let [request] = &requests[..] else {
        panic!("{requests:?}")
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /v1/messages?from=1 HTTP/1.1\r\n"),
        "{head}"
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\nauthorization: bearer key-1"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["to"], "+821012345678");
    assert_eq!((&body["code"], &body["l"]), (&"012345".into(), &"ko".into()));
    assert_eq!(body["text"], message(Language::Ko, "012345"));
}

#[tokio::test]
async fn without_a_key_there_is_no_authorization() {
    let service = Service::answering("200 OK").await;
    let sender = HttpSender::new(&config(&service.url, "")).unwrap();
    sender.send(&phone(), "012345", Language::En).await.unwrap();
    assert!(!service.heard()[0].to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn refusal_is_an_error_that_tells_no_secret_and_is_not_repeated() {
    for answer in [
        "400 Bad Request",
        "503 Busy",
        "302 Found\r\nlocation: http://127.0.0.1:1/",
    ] {
        let service = Service::answering(answer).await;
        let sender = HttpSender::new(&config(&service.url, "key-1")).unwrap();
        let refused = sender.send(&phone(), "012345", Language::Ko).await.unwrap_err();
        assert_eq!(service.heard().len(), 1, "a message may be on its way: {answer}");
        let told = format!("{refused:?}");
        for secret in ["012345", "1012345678", "key-1"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_without_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?apikey=secret", listener.local_addr().unwrap());
    drop(listener);
    let sender = HttpSender::new(&config(&url, "")).unwrap();
    let refused = sender.send(&phone(), "012345", Language::Ko).await.unwrap_err();
    assert!(!format!("{refused:?}").contains("apikey"), "{refused:?}");
}

#[tokio::test]
async fn service_that_says_nothing_is_waited_for_five_seconds() {
    let service = Service::answering("").await;
    let sender = HttpSender::new(&config(&service.url, "")).unwrap();
    let started = std::time::Instant::now();
    assert!(sender.send(&phone(), "012345", Language::Ko).await.is_err());
    let waited = started.elapsed();
    assert!(
        waited >= Duration::from_secs(4) && waited < Duration::from_secs(10),
        "{waited:?}"
    );
    assert_eq!(service.heard().len(), 1);
}

#[test]
fn key_that_would_break_the_header_is_refused() {
    let refused = HttpSender::new(&config("http://localhost/", "a\r\nhost: evil"));
    assert!(matches!(refused, Err(HttpSenderError::Key)));
}

#[test]
fn message_begins_with_the_code_and_is_one_sms() {
    for language in Language::ALL {
        let message = message(language, "012345");
        assert!(message.starts_with("012345"), "{message}");
        // EUC-KR, as Korean networks count: two bytes for all that is not ASCII.
        let bytes: usize = message.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum();
        assert!(bytes <= 90, "{bytes} bytes: {message}");
    }
}
