//! A client of version 1: over HTTP, and a socket.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest as _, handshake::client::Response},
};

use super::dart::{ChatMessage, list};
use crate::harness::{User, api::Sends as _, frames, socket::Ended, soon};

/// An answer over HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// The app's HTTP client: always JSON, and the token once there is one.
pub(super) struct Dio {
    address: SocketAddr,
    pub(super) token: Option<String>,
    client: reqwest::Client,
}

impl Dio {
    pub(super) fn new(address: SocketAddr, token: Option<&str>) -> Self {
        Self {
            address,
            token: token.map(str::to_owned),
            client: reqwest::Client::new(),
        }
    }

    pub(super) fn of(user: &User) -> Self {
        Self::new(user.address, Some(&user.token))
    }

    /// One request; without a body the content type is sent all the same.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self
            .client
            .request(method.clone(), format!("http://{}{path}", self.address))
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = soon("an answer", request.sent()).await.unwrap();
        let status = answer.status();
        // Of any other type the app keeps a String, and every cast fails.
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(
            content_type.starts_with("application/json"),
            "{method} {path}: {content_type}"
        );
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
        Answer { status, body }
    }

    /// A request that succeeds with `status`; its answer.
    pub(super) async fn done(&self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        let answer = self.ask(method.clone(), path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// A page of the conversation of `event`, the newest first.
    pub(super) async fn messages(&self, event: i64, query: &str) -> Vec<ChatMessage> {
        let path = format!("/api/v1/events/{event}/messages{query}");
        let page = self.done(Method::GET, &path, None, 200).await;
        list(&page, ChatMessage::from_json).unwrap()
    }
}

/// How a socket is asked for.
pub(super) struct Opening<'a> {
    pub(super) path: &'a str,
    pub(super) headers: Vec<(&'a str, String)>,
}

/// A socket of version 1.
#[derive(Debug)]
pub(super) struct Chat {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Chat {
    /// A socket for the conversation of `event`, opened as the app does with its one changed line.
    pub(super) async fn open(user: &User, event: i64) -> Self {
        let token = &user.token;
        let path = format!("/api/v1/ws?event_id={event}");
        let opened = Self::ask(
            user.address,
            Opening {
                path: &path,
                headers: vec![("sec-websocket-protocol", format!("chat, bearer.{token}"))],
            },
        );
        let (chat, response) = opened.await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
        chat
    }

    /// A socket opened in a way of its own.
    pub(super) async fn ask(address: SocketAddr, opening: Opening<'_>) -> Result<(Self, Response), Error> {
        let url = format!("ws://{address}{}", opening.path);
        let mut request = url.into_client_request().unwrap();
        // As dart:io offers it, whatever the app wants.
        let more = [(
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits".to_owned(),
        )];
        for (name, value) in opening.headers.into_iter().chain(more) {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let connected = Box::pin(tokio_tungstenite::connect_async(request));
        let (stream, response) = soon("the upgrade", connected).await?;
        assert!(response.headers().get("sec-websocket-extensions").is_none());
        Ok((Self { stream }, response))
    }

    /// The status and body with which a socket is refused.
    pub(super) async fn refusal(address: SocketAddr, opening: Opening<'_>) -> (u16, Value) {
        match Self::ask(address, opening).await {
            Err(Error::Http(answer)) => {
                let body = answer.body().as_ref().unwrap();
                (answer.status().as_u16(), serde_json::from_slice(body).unwrap())
            }
            other => panic!("{:?}", other.map(|_| "a socket")),
        }
    }

    /// Sends what the app sends when its user says something.
    pub(super) async fn say(&mut self, text: &str) {
        self.text(&json!({ "type": "message", "message": text }).to_string())
            .await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        self.frame(Message::text(text)).await;
    }

    pub(super) async fn frame(&mut self, frame: Message) {
        self.stream.send(frame).await.unwrap();
    }

    /// The next frame: a whole chat message and nothing else, or the end.
    pub(super) async fn next(&mut self) -> Result<ChatMessage, Ended> {
        loop {
            match soon("a frame", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => {
                    // Two objects in one frame are an error to the parser, as they are to the app.
                    let value = serde_json::from_str(&text)
                        .unwrap_or_else(|error| panic!("{error}: not one object in a frame: {text}"));
                    frames::check(frames::Wire::V1, frames::From::Server, &value);
                    return Ok(ChatMessage::from_json(&value).unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map_or(Ended::Cut, |frame| Ended::Closed(frame.code.into())));
                }
                Some(Ok(other)) => panic!("the app cannot read {other:?}"),
                Some(Err(_)) | None => return Err(Ended::Cut),
            }
        }
    }

    /// The next chat message that is not a note.
    pub(super) async fn words(&mut self) -> ChatMessage {
        loop {
            let message = self.next().await.unwrap();
            if message.message_type == "text" {
                return message;
            }
        }
    }

    /// The next note.
    pub(super) async fn note(&mut self) -> ChatMessage {
        loop {
            let message = self.next().await.unwrap();
            if message.message_type == "system" {
                return message;
            }
        }
    }

    /// Reads up to the end; its code, and the messages before it.
    pub(super) async fn rest(&mut self) -> (Vec<ChatMessage>, Ended) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Ok(message) => messages.push(message),
                Err(ended) => return (messages, ended),
            }
        }
    }

    /// Closes it as a client does that goes.
    pub(super) async fn close(mut self) {
        let _ = self.stream.close(None).await;
        self.rest().await;
    }
}

/// The texts of messages, in their order.
pub(super) fn texts(messages: &[ChatMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.message.as_str()).collect()
}
