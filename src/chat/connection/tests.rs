//! The connection against a server whose every frame is written here.

use std::{future::Future, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request as Upgrade, Response},
        http::HeaderValue,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use super::{Connection, Credential, Ended, Pace, Request, Update};
use crate::{
    chat::{
        api::{Api, SignedIn},
        wire::Person,
    },
    domain::id::{EventId, UserId},
    i18n::Language,
};

const ROOM: EventId = EventId(7);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what)
        .await
        .expect("nothing came in time")
}

/// The server's side of one socket.
struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    /// The next command under the name it must have, and its id.
    async fn command(&mut self, name: &str) -> (u64, Value) {
        loop {
            let frame = soon(self.0.next()).await.expect("the client has gone").unwrap();
            let Message::Text(text) = frame else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            assert!(frame.get(name).is_some(), "{name} expected: {frame}");
            return (frame["id"].as_u64().unwrap(), frame[name].clone());
        }
    }

    async fn tell(&mut self, frame: Value) {
        soon(self.0.send(Message::text(frame.to_string()))).await.unwrap();
    }

    async fn fail(&mut self, id: u64, code: &str, temporary: bool) {
        let error = json!({ "code": code, "message": "m", "temporary": temporary, "retry_after_ms": 1 });
        self.tell(json!({ "id": id, "error": error })).await;
    }

    async fn greet(&mut self, access_token: &str) {
        let (id, auth) = self.command("auth").await;
        assert_eq!(auth["access_token"], access_token);
        let limits = json!({ "body_chars": 10, "frame_bytes": 1_000, "publishes_per_s": 1, "rooms": 1 });
        let hello = json!({ "user": { "id": 1, "name": "민지" }, "heartbeat_s": 25, "limits": limits });
        self.tell(json!({ "id": id, "hello": hello })).await;
    }

    /// Answers the join of the room with `seqs`, up to the head `end`; gives its `since`.
    async fn joined(&mut self, seqs: impl IntoIterator<Item = u64>, end: u64, complete: bool) -> Value {
        let (id, join) = self.command("join").await;
        assert_eq!(join["rooms"][0]["room"], 7);
        self.tell(json!({
            "push": "joined", "id": id, "room": 7, "head": head(end), "msg_no": 0, "complete": complete,
            "entries": entries(seqs), "participants": [], "event": { "title": "t" },
        }))
        .await;
        self.tell(json!({ "id": id, "join": { "rooms": [{ "room": 7 }] } }))
            .await;
        join["rooms"][0]["since"].clone()
    }

    async fn push(&mut self, seqs: impl IntoIterator<Item = u64>, end: u64) {
        let push = json!({ "push": "entries", "room": 7, "entries": entries(seqs), "head": head(end) });
        self.tell(push).await;
    }

    async fn acknowledge(&mut self, id: u64, seq: u64) {
        let at = "2026-01-01T00:00:00.000000Z";
        self.tell(json!({ "id": id, "publish": { "room": 7, "seq": seq, "at": at } }))
            .await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        soon(self.0.close(Some(frame))).await.unwrap();
        // To the end of the stream, so that the close frame is not lost to a reset.
        while let Some(Ok(_)) = soon(self.0.next()).await {}
    }
}

fn head(seq: u64) -> Value {
    json!({ "seq": seq, "hash": format!("{seq:064x}") })
}

fn entries(seqs: impl IntoIterator<Item = u64>) -> Vec<Value> {
    let entry = |seq| {
        json!({
            "seq": seq, "at": "2026-01-01T00:00:00.000000Z", "author": 1, "kind": "message",
            "body": { "text": "x" }, "key": "00000000-0000-0000-0000-000000000000",
        })
    };
    seqs.into_iter().map(entry).collect()
}

/// A client and the listener of its server.
struct Scene {
    listener: TcpListener,
    requests: mpsc::Sender<Request>,
    updates: mpsc::Receiver<Update>,
    client: JoinHandle<Result<(), Ended>>,
}

impl Scene {
    async fn new() -> Self {
        Self::with_token_for(Duration::from_secs(3_600)).await
    }

    /// As [`Scene::new`], with an access token that ends so soon.
    async fn with_token_for(expires_in: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let credential = Credential::new(SignedIn {
            access_token: "access".into(),
            refresh_token: "refresh".into(),
            expires_in,
            user: Person {
                id: UserId(1),
                name: "민지".into(),
            },
        });
        let pace = Pace {
            first: Duration::from_millis(5),
            longest: Duration::from_secs(2),
            ..Pace::default()
        };
        let (requests, receiver) = mpsc::channel(64);
        let (sender, updates) = mpsc::channel(64);
        let api = Api::new(&server, Language::En).unwrap();
        let client = tokio::spawn(Connection::new(api, credential, pace, sender).run(receiver));
        Self {
            listener,
            requests,
            updates,
            client,
        }
    }

    /// The client's next socket, authenticated.
    async fn peer(&self) -> Peer {
        let mut peer = self.silent_peer().await;
        peer.greet("access").await;
        peer
    }

    async fn silent_peer(&self) -> Peer {
        let (socket, _) = soon(self.listener.accept()).await.unwrap();
        #[expect(clippy::result_large_err, reason = "the library's signature")]
        let answer = |upgrade: &Upgrade, mut response: Response| {
            assert_eq!(upgrade.uri().path(), "/api/v1/ws");
            assert!(upgrade.uri().query().is_none(), "no token in a URL");
            assert_eq!(upgrade.headers()["sec-websocket-protocol"], "timingle.v2");
            let protocol = HeaderValue::from_static("timingle.v2");
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        Peer(soon(accept_hdr_async(socket, answer)).await.unwrap())
    }

    /// Answers the next HTTP request, which must be for a renewal, with `status` and a token.
    async fn renew(&self, status: &str, access_token: &str) {
        let (mut socket, _) = soon(self.listener.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert_ne!(soon(socket.read_buf(&mut request)).await.unwrap(), 0);
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("POST /api/v1/auth/refresh "), "{request}");
        assert!(request.ends_with(r#"{"refresh_token":"refresh"}"#));
        let body = json!({
            "access_token": access_token, "refresh_token": "refresh", "expires_in": 3_600,
            "user": { "id": 1, "name": "민지" }, "error": "m", "code": "AUTH_TOKEN_EXPIRED",
        })
        .to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        soon(socket.write_all((head + &body).as_bytes())).await.unwrap();
    }

    async fn ask(&self, request: Request) {
        self.requests.send(request).await.unwrap();
    }

    /// The seqs that are shown, until there are `count`.
    async fn shown(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            if let Update::Entries { entries, .. } = self.update().await {
                seqs.extend(entries.iter().map(|entry| entry.seq));
            }
        }
        assert_eq!(seqs.len(), count, "{seqs:?}");
        seqs
    }

    async fn update(&mut self) -> Update {
        soon(self.updates.recv()).await.expect("the client has ended")
    }

    async fn end(self) -> Result<(), Ended> {
        let Self {
            mut updates, client, ..
        } = self;
        tokio::spawn(async move { while updates.recv().await.is_some() {} });
        soon(client).await.unwrap()
    }
}

#[tokio::test]
async fn lost_connection_resumes_from_the_last_position_on_every_socket() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    assert_eq!(peer.joined(1..=3, 3, true).await, Value::Null);
    assert_eq!(scene.shown(3).await, [1, 2, 3]);
    peer.push([4, 5], 5).await;
    assert_eq!(scene.shown(2).await, [4, 5]);
    drop(peer);
    let mut peer = scene.peer().await;
    assert_eq!(peer.joined(6..=7, 7, true).await, head(5));
    assert_eq!(scene.shown(2).await, [6, 7]);
    peer.close(4002).await;
    assert_eq!(scene.peer().await.joined([], 7, true).await, head(7));
}

#[tokio::test]
async fn gap_leads_to_a_join_since_the_last_certain_position_on_the_same_socket() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    peer.joined(1..=3, 3, true).await;
    peer.push([5], 5).await;
    // Sent before the server saw the join: its answer covers them.
    peer.push([6], 6).await;
    assert_eq!(peer.joined(4..=6, 6, true).await, head(3));
    peer.tell(json!({ "push": "head", "room": 7, "head": head(6) }))
        .await;
    peer.push([7], 7).await;
    assert_eq!(scene.shown(7).await, [1, 2, 3, 4, 5, 6, 7]);
    // A head that says that a push was lost.
    peer.tell(json!({ "push": "head", "room": 7, "head": head(8) }))
        .await;
    assert_eq!(peer.joined([8], 8, true).await, head(7));
    assert_eq!(scene.shown(1).await, [8]);
}

#[tokio::test]
async fn server_that_never_mends_a_gap_is_left_after_a_few_tries() {
    let scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    for _ in 0..=super::receive::MAX_REJOINS {
        peer.joined([], 3, true).await;
        peer.push([9], 9).await;
    }
    assert!(
        !matches!(soon(peer.0.next()).await, Some(Ok(Message::Text(_)))),
        "joins for ever"
    );
    scene.peer().await;
}

#[tokio::test]
async fn what_a_join_cannot_tell_is_paged_in_order() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    peer.joined(1..=3, 3, true).await;
    scene.shown(3).await;
    drop(peer);
    let mut peer = scene.peer().await;
    peer.joined(9..=10, 10, false).await;
    for (after, page, complete) in [(3, 4..=7, false), (7, 8..=11, true)] {
        if after == 7 {
            peer.push([11], 11).await;
        }
        let (id, history) = peer.command("history").await;
        assert_eq!(history["after"], after);
        let page = json!({ "room": 7, "entries": entries(page), "as_of": 11, "complete": complete });
        peer.tell(json!({ "id": id, "history": page })).await;
    }
    assert_eq!(scene.shown(8).await, (4..=11).collect::<Vec<_>>());
}

#[tokio::test]
async fn unanswered_publish_is_repeated_with_the_same_key_and_after() {
    let scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    scene.ask(Request::Publish(ROOM, "one".into())).await;
    scene.ask(Request::Publish(ROOM, "two".into())).await;
    let mut peer = scene.peer().await;
    peer.joined(1..=3, 3, true).await;
    let (_, first) = peer.command("publish").await;
    assert_eq!(
        (&first["body"]["text"], &first["after"]),
        (&json!("one"), &json!(3))
    );
    peer.push([4, 5], 5).await;
    drop(peer);

    // On another socket, with more seen in between: the very same command.
    let mut peer = scene.peer().await;
    peer.joined([6], 6, true).await;
    let (id, again) = peer.command("publish").await;
    assert_eq!(again, first);
    peer.fail(id, "UNAVAILABLE", true).await;
    let (id, again) = peer.command("publish").await;
    assert_eq!(again, first);
    peer.fail(id, "NOT_JOINED", false).await;
    assert_eq!(peer.joined([], 6, true).await, head(6));
    let (id, again) = peer.command("publish").await;
    assert_eq!(again, first);
    peer.acknowledge(id, 7).await;

    // Only now the next one, which has its own key.
    let (id, second) = peer.command("publish").await;
    assert_eq!(
        (&second["body"]["text"], &second["after"]),
        (&json!("two"), &json!(6))
    );
    assert_ne!(second["key"], first["key"]);
    peer.acknowledge(id, 8).await;
    scene.ask(Request::Finish).await;
    let end = tokio::spawn(async move { while let Some(Ok(_)) = peer.0.next().await {} });
    assert_eq!(scene.end().await, Ok(()));
    soon(end).await.unwrap();
}

#[tokio::test]
async fn record_that_went_back_is_searched_from_its_new_end() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    peer.joined(1..=9, 9, true).await;
    scene.shown(9).await;
    scene.ask(Request::Publish(ROOM, "one".into())).await;
    let (id, first) = peer.command("publish").await;
    assert_eq!(first["after"], 9);
    peer.fail(id, "POSITION_UNKNOWN", false).await;
    let (id, _) = peer.command("join").await;
    peer.tell(json!({
        "push": "joined", "id": id, "room": 7, "head": head(4), "msg_no": 0, "complete": true, "reset": true,
        "entries": entries(1..=4), "participants": [], "event": { "title": "t" },
    }))
    .await;
    let (_, again) = peer.command("publish").await;
    assert_eq!((&again["after"], &again["key"]), (&json!(4), &first["key"]));
    assert_eq!(scene.shown(4).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn refused_message_is_given_back_and_the_next_one_goes_on() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    scene.ask(Request::Publish(ROOM, "x".repeat(1_000))).await;
    scene.ask(Request::Publish(ROOM, "blank".into())).await;
    scene.ask(Request::Publish(ROOM, "good".into())).await;
    let mut peer = scene.peer().await;
    peer.joined([], 0, true).await;
    let (id, publish) = peer.command("publish").await;
    assert_eq!(
        publish["body"]["text"], "blank",
        "a frame over the server's limit is not sent"
    );
    peer.fail(id, "VALIDATION_ERROR", false).await;
    assert_eq!(peer.command("publish").await.1["body"]["text"], "good");
    let mut refused = Vec::new();
    while refused.len() < 2 {
        if let Update::NotPublished { text, .. } = scene.update().await {
            refused.push(text.len());
        }
    }
    assert_eq!(refused, [1_000, 5]);
}

#[tokio::test]
async fn shutdown_says_when_to_come_back() {
    let mut scene = Scene::new().await;
    let mut peer = scene.peer().await;
    peer.tell(json!({ "push": "shutdown", "retry_after_ms": 1_234 }))
        .await;
    peer.close(4001).await;
    loop {
        if let Update::Offline(again_in) = scene.update().await {
            assert_eq!(again_in, Duration::from_millis(1_234));
            break;
        }
    }
    scene.peer().await;
}

#[tokio::test]
async fn close_codes_from_4500_on_are_final() {
    for code in [4500, 4501, 4502, 4503, 4999] {
        let scene = Scene::new().await;
        scene.peer().await.close(code).await;
        assert_eq!(scene.end().await, Err(Ended::Closed(code)));
    }
}

#[tokio::test]
async fn other_ends_are_not() {
    for code in [1000, 1001, 1009, 1011, 4001, 4002, 4003, 4004, 4499] {
        let scene = Scene::new().await;
        scene.peer().await.close(code).await;
        scene.peer().await;
    }
}

#[tokio::test]
async fn refused_credential_ends_the_connection_and_a_busy_server_does_not() {
    let scene = Scene::new().await;
    let mut peer = scene.silent_peer().await;
    let (id, _) = peer.command("auth").await;
    peer.fail(id, "UNAVAILABLE", true).await;
    let mut peer = scene.silent_peer().await;
    let (id, _) = peer.command("auth").await;
    peer.fail(id, "AUTH_TOKEN_INVALID", false).await;
    assert_eq!(scene.end().await, Err(Ended::SignedOut));
}

#[tokio::test]
async fn room_that_is_not_for_this_user_is_dropped_with_its_messages() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    scene.ask(Request::Publish(ROOM, "one".into())).await;
    let mut peer = scene.peer().await;
    let (id, _) = peer.command("join").await;
    let error = json!({ "code": "EVENT_NOT_FOUND", "message": "gone", "temporary": false });
    peer.tell(json!({ "id": id, "join": { "rooms": [{ "room": 7, "error": error }] } }))
        .await;
    assert!(matches!(scene.update().await, Update::Online(_)));
    assert!(matches!(scene.update().await, Update::NotOpened { message, .. } if message == "gone"));
    assert!(matches!(scene.update().await, Update::NotPublished { text, .. } if text == "one"));
}

#[tokio::test]
async fn removed_push_ends_the_room_but_not_the_connection() {
    let mut scene = Scene::new().await;
    scene.ask(Request::Open(ROOM)).await;
    let mut peer = scene.peer().await;
    peer.joined([1], 1, true).await;
    scene.shown(1).await;
    peer.tell(json!({ "push": "removed", "room": 7, "reason": "removed" }))
        .await;
    assert!(matches!(scene.update().await, Update::Removed { reason, .. } if reason == "removed"));
    scene.ask(Request::Publish(ROOM, "late".into())).await;
    assert!(matches!(scene.update().await, Update::NotPublished { .. }));
    drop(peer);
    let mut peer = scene.peer().await;
    // Nothing is joined any more: the next thing said is a page that is asked for.
    scene.ask(Request::Older(ROOM, Some(5))).await;
    assert_eq!(
        peer.command("history").await.1,
        json!({ "room": 7, "before": 5, "limit": 50 })
    );
    drop(peer);
    // A page that the person waits for outlives the socket.
    assert_eq!(scene.peer().await.command("history").await.1["before"], 5);
}

#[tokio::test]
async fn access_token_is_renewed_on_the_live_socket_before_it_ends() {
    let scene = Scene::with_token_for(Duration::from_secs(1)).await;
    let mut peer = scene.peer().await;
    scene.renew("200 OK", "newer").await;
    peer.greet("newer").await;
    // The same socket goes on.
    scene.ask(Request::Older(ROOM, None)).await;
    peer.command("history").await;
}

#[tokio::test]
async fn ended_token_is_renewed_before_the_next_socket() {
    let scene = Scene::new().await;
    scene.peer().await.close(4005).await;
    // A server that cannot renew now is asked again; the token that ended is not shown to it.
    scene.renew("503 Service Unavailable", "").await;
    scene.renew("200 OK", "newer").await;
    scene.silent_peer().await.greet("newer").await;
}

#[tokio::test]
async fn sign_in_that_cannot_be_renewed_is_over() {
    let scene = Scene::new().await;
    scene.peer().await.close(4005).await;
    scene.renew("401 Unauthorized", "").await;
    assert_eq!(scene.end().await, Err(Ended::SignedOut));
}
