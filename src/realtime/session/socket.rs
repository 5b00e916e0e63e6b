//! The socket under a session: its bytes into frames, its outbox into bytes.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use actix::AsyncContext as _;
use actix_codec::{AsyncRead, Decoder as _, ReadBuf};
use actix_http::ws::{Codec, Frame};
use actix_web_actors::ws::{Message, ProtocolError, WebsocketContext};
use bytes::BytesMut;
use bytestring::ByteString;
use futures_util::{Stream, StreamExt as _};
use tokio::net::{TcpStream, tcp::OwnedReadHalf};

use super::{Opened, Session, Shared};

/// Bytes taken from the socket in one go.
const READ_BYTES: usize = 4_096;

/// Runs a session over `socket`, of which `read` was read already. Returns when the socket is done with.
pub(in crate::realtime) async fn run(shared: Arc<Shared>, socket: TcpStream, read: BytesMut, opened: Opened) {
    let (incoming, outgoing) = socket.into_split();
    let limits = &shared.limits;
    let limit = FrameLimit::new(if opened.identity.is_some() {
        limits.frame_bytes
    } else {
        limits.auth_bytes
    });
    let frames = Frames {
        socket: incoming,
        buffer: read,
        codec: Codec::new().max_size(limits.frame_bytes),
        limit: limit.clone(),
        broken: false,
        ended: false,
    };
    let stall = limits.outbox_stall;
    let outbox = opened.outbox.clone();
    let session = Session::new(shared, opened, limit);
    let mut control = Box::pin(WebsocketContext::with_factory(
        futures_util::stream::pending(),
        |ctx| {
            ctx.add_stream(frames);
            session
        },
    ));
    let writer = {
        let outbox = outbox.clone();
        actix_rt::spawn(async move { outbox.write_to(outgoing, stall).await })
    };
    // Polling this is what runs the actor; its own frames (pings, pongs) join the one path to the socket.
    while let Some(Ok(frame)) = control.next().await {
        if outbox.try_push(frame).is_err() {
            // Closed: the actor hears of it and ends.
        }
    }
    drop(control);
    // The outbox is closed now, so the writer ends within its own deadline.
    let _ = writer.await;
}

/// How many bytes a client's frame may have now. Clones share it.
#[derive(Clone)]
pub(super) struct FrameLimit(Arc<AtomicUsize>);

impl FrameLimit {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Lets frames have up to `bytes` from here on.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn is_passed_by(&self, announced: u64) -> bool {
        announced > self.0.load(Ordering::Relaxed) as u64
    }
}

/// The client's frames. Holds at most one frame and one read's bytes.
struct Frames {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    codec: Codec,
    limit: FrameLimit,
    /// What is read from here on has no meaning.
    broken: bool,
    ended: bool,
}

impl Stream for Frames {
    type Item = Result<Message, ProtocolError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if this.broken {
                // Read all the same: closed with bytes unread, the connection would be reset
                // and the client might never see why.
                this.buffer.clear();
            } else {
                match this.decode() {
                    Ok(Some(frame)) => return Poll::Ready(Some(message(frame))),
                    Ok(None) => {}
                    Err(error) => {
                        this.broken = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            if this.buffer.is_empty() {
                // An idle socket holds no buffer.
                this.buffer = BytesMut::new();
            }
            let mut bytes = [std::mem::MaybeUninit::uninit(); READ_BYTES];
            let mut read = ReadBuf::uninit(&mut bytes);
            match ready!(Pin::new(&mut this.socket).poll_read(cx, &mut read)) {
                Ok(()) if read.filled().is_empty() => this.ended = true,
                Ok(()) => this.buffer.extend_from_slice(read.filled()),
                Err(_) => this.ended = true,
            }
        }
    }
}

impl Frames {
    fn decode(&mut self) -> Result<Option<Frame>, ProtocolError> {
        // The codec would wait for all of it before it says that it is too big.
        if announced_bytes(&self.buffer).is_some_and(|bytes| self.limit.is_passed_by(bytes)) {
            return Err(ProtocolError::Overflow);
        }
        self.codec.decode(&mut self.buffer)
    }
}

/// How many bytes of payload the frame at the start of `bytes` says it has (RFC 6455 section 5.2).
fn announced_bytes(bytes: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = bytes else {
        return None;
    };
    match second & 0x7f {
        126 => rest
            .first_chunk()
            .map(|length| u16::from_be_bytes(*length).into()),
        127 => rest.first_chunk().map(|length| u64::from_be_bytes(*length)),
        length => Some(length.into()),
    }
}

/// The error that tells a text which is not UTF-8 from a frame that is broken.
pub(super) const NOT_UTF8: std::io::ErrorKind = std::io::ErrorKind::InvalidInput;

fn message(frame: Frame) -> Result<Message, ProtocolError> {
    Ok(match frame {
        Frame::Text(data) => Message::Text(
            ByteString::try_from(data)
                .map_err(|error| ProtocolError::Io(std::io::Error::new(NOT_UTF8, error)))?,
        ),
        Frame::Binary(data) => Message::Binary(data),
        Frame::Ping(payload) => Message::Ping(payload),
        Frame::Pong(payload) => Message::Pong(payload),
        Frame::Close(reason) => Message::Close(reason),
        Frame::Continuation(item) => Message::Continuation(item),
    })
}
