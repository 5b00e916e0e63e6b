//! Two clients that talk through a real server.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use timingle::config::Scylla;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use uuid::Uuid;

use crate::TEXT;

/// Two clients of a real server, in one room.
pub(crate) struct Talk {
    room: i64,
    number: u64,
    speaker: Socket,
    hearer: Socket,
    server: Child,
    _dir: tempfile::TempDir,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Drop for Talk {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Talk {
    /// A server on its engines, ready, with both clients in one room.
    pub(crate) async fn new(config: &Scylla) -> Self {
        let database = format!("bench_{}", Uuid::new_v4().simple());
        let (client, connection) = tokio_postgres::connect(
            "postgres://postgres@127.0.0.1:25432/postgres",
            tokio_postgres::NoTls,
        )
        .await
        .expect("PostgreSQL");
        tokio::spawn(connection);
        client
            .batch_execute(&format!("CREATE DATABASE {database}"))
            .await
            .expect("a database");
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Command::new(env!("CARGO_BIN_EXE_timingle"))
            .current_dir(dir.path())
            .env("TIMINGLE_PROFILE", "production")
            .env("TIMINGLE__SERVER__HOST", "127.0.0.1")
            .env("TIMINGLE__SERVER__PORT", "0")
            .env("TIMINGLE__METRICS__PORT", "0")
            .env("TIMINGLE__AUTH__PROOF", "none")
            .env("TIMINGLE__LIMITS__PUBLISHES_PER_S", "100000")
            .env("TIMINGLE__LIMITS__PUBLISH_BURST", "100000")
            .env("JWT_SECRET", "only-for-benches-0123456789-0123456789")
            .env("POSTGRES_HOST", "127.0.0.1")
            .env("POSTGRES_PORT", "25432")
            .env("POSTGRES_USER", "postgres")
            .env("POSTGRES_DB", &database)
            .env("SCYLLA_HOSTS", config.hosts.join(","))
            .env("SCYLLA_KEYSPACE", &config.keyspace)
            .env("NATS_URL", "nats://127.0.0.1:24222")
            .env("TIMINGLE__NATS__PREFIX", &database)
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", "26379")
            .env("TIMINGLE__REDIS__PREFIX", format!("{database}:"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server");
        let stdout = server.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let base = lines
            .find_map(|line| {
                let line = line.expect("readable");
                let at = line.find("http://")?;
                Some(line[at..].split_whitespace().next()?.to_owned())
            })
            .expect("an address");
        let http = reqwest::Client::new();
        while !http
            .get(format!("{base}/readyz"))
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (ann, ben) = (
            sign_in(&http, &base, "ann", 1).await,
            sign_in(&http, &base, "ben", 2).await,
        );
        let event = json!({
            "title": "Bench",
            "start_time": "2030-05-01T10:00:00Z",
            "end_time": "2030-05-01T11:00:00Z",
        });
        let event = post(&http, &format!("{base}/api/v1/events"), Some(&ann), event).await;
        let room = event["id"].as_i64().expect("a number");
        let link = format!("{base}/api/v1/events/{room}/invite-link");
        let link = post(&http, &link, Some(&ann), json!({})).await;
        let code = link["code"].as_str().expect("a code");
        let join = format!("{base}/api/v1/invite/{code}/join");
        post(&http, &join, Some(&ben), json!({})).await;
        Self {
            room,
            number: 1,
            speaker: joined(&base, &ann, room).await,
            hearer: joined(&base, &ben, room).await,
            server,
            _dir: dir,
        }
    }

    /// Says something, and returns once the other client has it.
    pub(crate) async fn say(&mut self) {
        self.number += 1;
        let key = Uuid::new_v4().to_string();
        let command = json!({
            "id": self.number,
            "publish": {
                "room": self.room,
                "key": key,
                // Two facts, then all that was said: who names an old place has the log searched.
                "after": self.number,
                "body": { "text": "x".repeat(TEXT) },
            },
        });
        send(&mut self.speaker, &command).await;
        while !frame(&mut self.hearer).await.contains(&key) {}
    }
}

async fn sign_in(http: &reqwest::Client, base: &str, name: &str, number: u32) -> String {
    let who = json!({ "phone": format!("010{:08}", 30_000_000 + number), "name": name });
    let answer = post(http, &format!("{base}/api/v1/auth/register"), None, who).await;
    answer["access_token"].as_str().expect("a token").to_owned()
}

async fn post(http: &reqwest::Client, url: &str, token: Option<&str>, body: Value) -> Value {
    let mut request = http.post(url).json(&body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.json().await.expect("JSON")
}

async fn joined(base: &str, token: &str, room: i64) -> Socket {
    let url = format!("{}/api/v1/ws", base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("an address");
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", "timingle.v2".parse().expect("a header"));
    let bearer = format!("Bearer {token}");
    headers.insert("authorization", bearer.parse().expect("a header"));
    let (mut socket, _) = connect_async(request).await.expect("a socket");
    send(
        &mut socket,
        &json!({ "id": 1, "join": { "rooms": [{ "room": room }] } }),
    )
    .await;
    while !frame(&mut socket).await.contains("\"joined\"") {}
    socket
}

async fn send(socket: &mut Socket, command: &Value) {
    let message = Message::text(command.to_string());
    socket.send(message).await.expect("an open socket");
}

/// The next frame's text.
async fn frame(socket: &mut Socket) -> String {
    match socket.next().await.expect("an open socket").expect("a frame") {
        Message::Text(text) => text.to_string(),
        _ => String::new(),
    }
}
