//! Whatever a client sends harms at most its own socket, and that only where it breaks the protocol.
//!
//! - [`commands`]: text that is no command, or one that cannot be done: the socket goes on.
//! - [`frames`]: what is no text, whole and broken.
//! - [`handshakes`]: what is asked before there is a socket.
//! - [`noise`]: thousands of random frames.

mod commands;
mod frames;
mod handshakes;
mod noise;

use serde_json::{Value, json};

use crate::harness::{Raw, User};

fn code(frame: &Value) -> &str {
    frame["error"]["code"]
        .as_str()
        .unwrap_or_else(|| panic!("not an error: {frame}"))
}

/// A raw socket of `user`, past its hello.
async fn raw_socket(user: &User) -> Raw {
    let mut socket = Raw::open(
        user.address,
        None,
        &[&format!("Authorization: Bearer {}", user.token)],
    )
    .await;
    assert_eq!(socket.json().await.unwrap()["push"], "hello");
    socket
}

/// Fails unless the socket still serves.
async fn assert_serves(socket: &mut Raw, room: i64) {
    socket
        .text(&json!({ "id": 4_242, "history": { "room": room } }).to_string())
        .await;
    loop {
        let frame = socket.json().await.expect("the socket did not survive");
        if frame["id"] == 4_242 {
            assert!(frame["history"].is_object(), "{frame}");
            return;
        }
    }
}
