//! Somebody signed in, over HTTP.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Socket, api};

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Somebody signed in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) address: SocketAddr,
    pub(crate) id: i64,
    pub(crate) phone: String,
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
    pub(crate) client: reqwest::Client,
}

/// All that a call is answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// A header's value; nothing when it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl User {
    /// Registers somebody new by a number that no other test uses.
    pub(crate) async fn register(address: SocketAddr, name: &str) -> Self {
        let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
        Self::sign_in(address, name, &format!("010{:08}", 20_000_000 + number)).await
    }

    /// Signs in by this number, on a server that wants no proof.
    pub(crate) async fn sign_in(address: SocketAddr, name: &str, phone: &str) -> Self {
        let client = reqwest::Client::new();
        let answer = client
            .post(format!("http://{address}/api/v1/auth/register"))
            .header("accept-language", "en")
            .json(&json!({ "phone": phone, "name": name }))
            .send()
            .await
            .unwrap();
        let (status, _, body) = api::checked(&Method::POST, answer).await.unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(status.is_success(), "{answer}");
        Self::of(address, name, phone, &answer)
    }

    /// Whoever this answer to a sign-in is for.
    pub(crate) fn of(address: SocketAddr, name: &str, phone: &str, answer: &Value) -> Self {
        Self {
            address,
            id: answer["id"].as_i64().unwrap(),
            phone: phone.to_owned(),
            name: name.to_owned(),
            token: answer["access_token"].as_str().unwrap().to_owned(),
            refresh_token: answer["refresh_token"].as_str().unwrap().to_owned(),
            client: reqwest::Client::new(),
        }
    }

    /// The same person, talking to another node.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// One call of the API.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        self.try_call(method, path, body).await.unwrap()
    }

    /// One call of an API that may go away before it has answered.
    pub(crate) async fn try_call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        self.try_call_with(method, path, &[], body).await
    }

    /// As [`User::try_call`], with these headers.
    pub(crate) async fn try_call_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let answer = self.exchange(method, path, headers, body).await?;
        Ok((answer.status, answer.body))
    }

    /// One call with these headers, and all that is answered.
    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        self.exchange(method, path, headers, body).await.unwrap()
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self
            .client
            .request(method.clone(), format!("http://{}/api/v1{path}", self.address))
            .bearer_auth(&self.token);
        if headers.iter().all(|(name, _)| *name != "accept-language") {
            request = request.header("accept-language", "en");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, headers, bytes) = api::checked(&method, request.send().await?).await?;
        let bytes = bytes.to_vec();
        Ok(Answer {
            status,
            headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            bytes,
        })
    }

    async fn done(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method.clone(), path, body).await;
        assert!(
            status.is_success() && status != StatusCode::ACCEPTED,
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// Makes an event; its number, which is also its room's.
    pub(crate) async fn create_event(&self, title: &str) -> i64 {
        let event = json!({
            "title": title,
            "start_time": "2030-05-01T10:00:00Z",
            "end_time": "2030-05-01T11:00:00Z",
        });
        self.done(Method::POST, "/events", Some(event)).await["id"]
            .as_i64()
            .unwrap()
    }

    /// Brings `other` into `event` by an invite link.
    pub(crate) async fn bring(&self, other: &Self, event: i64) {
        let code = self.invite(event).await;
        other.join_by(&code).await;
    }

    /// The code of a new invite link.
    pub(crate) async fn invite(&self, event: i64) -> String {
        let link = self
            .done(
                Method::POST,
                &format!("/events/{event}/invite-link"),
                Some(json!({})),
            )
            .await;
        link["code"].as_str().unwrap().to_owned()
    }

    /// Comes in by an invite link.
    pub(crate) async fn join_by(&self, code: &str) {
        self.done(Method::POST, &format!("/invite/{code}/join"), None)
            .await;
    }

    /// Puts `other` out of `event`, or goes.
    pub(crate) async fn remove(&self, other: &Self, event: i64) {
        self.done(
            Method::DELETE,
            &format!("/events/{event}/participants/{}", other.id),
            None,
        )
        .await;
    }

    /// Calls `event` off.
    pub(crate) async fn cancel(&self, event: i64, reason: &str) {
        self.done(
            Method::POST,
            &format!("/events/{event}/cancel"),
            Some(json!({ "reason": reason })),
        )
        .await;
    }

    /// Opens a socket.
    pub(crate) async fn connect(&self) -> Socket {
        Socket::open(self.address, Some(&self.token)).await.unwrap()
    }
}
