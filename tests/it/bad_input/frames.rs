//! What is no text, whole and broken.

use serde_json::json;

use super::raw_socket;
use crate::harness::{
    Socket, TestApp,
    raw::{frame, header, opcode},
    socket::Ended,
    until,
};

#[tokio::test]
async fn broken_frames_close_with_their_code() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let first = frame(false, opcode::TEXT, b"{");
    let cases: [(&str, Vec<u8>, u16); 15] = [
        (
            "text that is not UTF-8",
            frame(true, opcode::TEXT, b"{\"id\":\"\xff\xfe\"}"),
            1007,
        ),
        (
            "fragments that are not UTF-8 together",
            [
                frame(false, opcode::TEXT, b"{\xf0\x9f"),
                frame(true, opcode::CONTINUATION, b"}"),
            ]
            .concat(),
            1007,
        ),
        ("binary", frame(true, opcode::BINARY, b"{}"), 4501),
        ("binary fragment", frame(false, opcode::BINARY, b"{}"), 4501),
        (
            "continuation of nothing",
            frame(true, opcode::CONTINUATION, b"{}"),
            4501,
        ),
        (
            "text inside a fragmented text",
            [first.clone(), frame(true, opcode::TEXT, b"{}")].concat(),
            4501,
        ),
        (
            "new fragment inside a fragmented text",
            [first.clone(), first].concat(),
            4501,
        ),
        ("unmasked", vec![0x81, 2, b'{', b'}'], 4501),
        (
            "reserved bits",
            [vec![0xc1], frame(true, opcode::TEXT, b"{}")[1..].to_vec()].concat(),
            4501,
        ),
        ("unknown opcode", frame(true, 3, b""), 4501),
        ("unknown control opcode", frame(true, 11, b""), 4501),
        ("ping over 125 bytes", frame(true, opcode::PING, &[0; 126]), 4501),
        ("ping in fragments", frame(false, opcode::PING, b"x"), 4501),
        (
            "close with half a code",
            frame(true, opcode::CLOSE, b"\x03"),
            4501,
        ),
        (
            "length with its highest bit set",
            header(true, opcode::TEXT, u64::MAX),
            1009,
        ),
    ];
    for (what, bytes, expected) in cases {
        let mut socket = raw_socket(&ada).await;
        socket.write(&bytes).await;
        assert_eq!(socket.end().await, Ended::Closed(expected), "{what}");
    }
}

#[tokio::test]
async fn fragments_are_put_together_with_a_ping_in_between_answered() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let room = ada.create_event("Lesson").await;
    let mut socket = raw_socket(&ada).await;
    let command = json!({ "id": 5, "history": { "room": room, "limit": 1 }, "note": "가나다" }).to_string();
    // Byte by byte: also inside a character.
    let bytes = command.as_bytes();
    for (n, byte) in bytes.iter().enumerate() {
        let kind = if n == 0 {
            opcode::TEXT
        } else {
            opcode::CONTINUATION
        };
        socket.write(&frame(n + 1 == bytes.len(), kind, &[*byte])).await;
        if n == bytes.len() / 2 {
            socket.write(&frame(true, opcode::PING, b"still there?")).await;
        }
    }
    assert_eq!(
        socket.next().await.unwrap(),
        (opcode::PONG, b"still there?".to_vec())
    );
    assert!(socket.reply(5).await["history"].is_object());
    // Empty fragments are allowed as well.
    socket.write(&frame(false, opcode::TEXT, b"")).await;
    socket.write(&frame(false, opcode::CONTINUATION, bytes)).await;
    socket.write(&frame(true, opcode::CONTINUATION, b"")).await;
    assert!(socket.reply(5).await["history"].is_object());
    // And frames that arrive a byte at a time.
    for byte in frame(true, opcode::TEXT, bytes) {
        socket.write(&[byte]).await;
    }
    assert!(socket.reply(5).await["history"].is_object());
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_a_close_with_a_close() {
    let app = TestApp::spawn().await;
    let ada = app.user("Ada").await;
    let mut socket = raw_socket(&ada).await;
    for payload in [&b""[..], b"x", &[7; 125]] {
        socket.write(&frame(true, opcode::PING, payload)).await;
        assert_eq!(socket.next().await.unwrap(), (opcode::PONG, payload.to_vec()));
    }
    // An unasked pong is heard and not answered.
    socket.write(&frame(true, opcode::PONG, b"hello")).await;
    socket.write(&frame(true, opcode::CLOSE, &[0x03, 0xe9])).await;
    assert_eq!(socket.end().await, Ended::Closed(1000));
}

#[tokio::test]
async fn connection_that_breaks_off_in_a_frame_leaves_nothing_behind() {
    let app = TestApp::with(|config| config.limits.sockets_per_user = 1).await;
    let ada = app.user("Ada").await;
    let mut socket = raw_socket(&ada).await;
    socket
        .write(&frame(true, opcode::TEXT, &[b'x'; 5_000])[..2_000])
        .await;
    drop(socket);
    until("the socket's place", || async {
        Socket::open(app.address, Some(&ada.token)).await.ok()
    })
    .await;
}
