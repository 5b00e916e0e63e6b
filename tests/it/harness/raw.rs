//! A client below the rules: bytes as they are, read only when the test says so.

use std::{collections::BTreeMap, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{api, socket::Ended, soon};

/// Opcodes of RFC 6455.
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// The mask of every frame from here.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The bit beside a frame's length that says that it is masked.
const MASKED: u8 = 0x80;

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// A TCP connection that speaks WebSocket as badly as it is told to.
pub(crate) struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

/// The head of an upgrade request, with these lines more.
pub(crate) fn upgrade(path: &str, lines: &[&str]) -> String {
    let mut more = lines.join("\r\n");
    if !more.is_empty() {
        more.push_str("\r\n");
    }
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Accept-Language: en\r\n{more}\r\n"
    )
}

/// One frame from a client, masked.
pub(crate) fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(fin, opcode, payload.len() as u64);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

/// A masked frame's header that announces `length` bytes.
pub(crate) fn header(fin: bool, opcode: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..=125), _) => bytes.push(MASKED + length),
        (_, Ok(length)) => {
            bytes.push(MASKED + 126);
            bytes.extend(length.to_be_bytes());
        }
        _ => {
            bytes.push(MASKED + 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

impl Raw {
    /// Connects; `receive` is the size of the kernel's buffer, as small as it can be by 1.
    pub(crate) async fn connect(address: SocketAddr, receive: Option<u32>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = soon("a connection", socket.connect(address)).await.unwrap();
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Opens a socket of version 2 with these header lines more.
    pub(crate) async fn open(address: SocketAddr, receive: Option<u32>, lines: &[&str]) -> Self {
        let mut raw = Self::connect(address, receive).await;
        let lines = [&["Sec-WebSocket-Protocol: timingle.v2"], lines].concat();
        raw.write(upgrade("/api/v1/ws", &lines).as_bytes()).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 101, "{answer:?}");
        raw
    }

    /// Writes these bytes.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon("room to write", self.stream.write_all(bytes)).await.unwrap();
    }

    /// Writes these bytes if the other side takes them.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        soon("room to write", self.stream.write_all(bytes)).await.is_ok()
    }

    /// Writes a whole masked text frame.
    pub(crate) async fn text(&mut self, text: &str) {
        self.write(&frame(true, opcode::TEXT, text.as_bytes())).await;
    }

    async fn fill(&mut self) -> bool {
        match soon("bytes", self.stream.read_buf(&mut self.read)).await {
            Ok(0) | Err(_) => false,
            Ok(_) => true,
        }
    }

    /// Reads one answer of HTTP, of which the connection gives the whole body.
    pub(crate) async fn answer(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(
                self.fill().await,
                "cut in an answer: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.fill().await, "cut in a body");
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).unwrap();
        if status >= 400 {
            api::check_problem(&serde_json::from_str(&body).unwrap_or_else(|_| panic!("not JSON: {body}")));
        }
        Answer {
            status,
            headers,
            body,
        }
    }

    /// The next frame from the server: opcode and payload. Answers nothing by itself.
    pub(crate) async fn next(&mut self) -> Result<(u8, Vec<u8>), Ended> {
        loop {
            if let Some((used, opcode, payload)) = parse(&self.read) {
                self.read.drain(..used);
                if opcode == opcode::CLOSE {
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    return Err(Ended::Closed(code));
                }
                return Ok((opcode, payload));
            }
            if !self.fill().await {
                return Err(Ended::Cut);
            }
        }
    }

    /// The next JSON frame; pings and pongs are skipped.
    pub(crate) async fn json(&mut self) -> Result<Value, Ended> {
        loop {
            if let (opcode::TEXT, payload) = self.next().await? {
                return Ok(serde_json::from_slice(&payload).unwrap());
            }
        }
    }

    /// The reply with this id, or the first error without one; pushes are skipped.
    pub(crate) async fn reply(&mut self, id: u64) -> Value {
        loop {
            let frame = self.json().await.unwrap();
            if frame["id"] == id || (frame["id"].is_null() && frame.get("error").is_some()) {
                return frame;
            }
        }
    }

    /// Reads on until the socket ends.
    pub(crate) async fn end(&mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }
}

/// The first whole frame of a server in `bytes`: how many bytes it has, its opcode, its payload.
fn parse(bytes: &[u8]) -> Option<(usize, u8, Vec<u8>)> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    assert_eq!(first & 0xf0, 0x80, "a fragment or reserved bits from the server");
    let (skip, length) = match second {
        126 => (2, usize::from(u16::from_be_bytes(*rest.first_chunk()?))),
        127 => (
            8,
            usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).unwrap(),
        ),
        length => (0, usize::from(*length)),
    };
    let payload = rest.get(skip..skip + length)?;
    Some((2 + skip + length, first & 0x0f, payload.to_vec()))
}
