//! The socket under a session: its bytes into frames, its outbox into bytes.

use std::{
    pin::Pin,
    sync::Arc,
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

use super::{Session, Shared};
use crate::{i18n::Language, ports::Identity, realtime::outbox::Outbox};

/// Bytes taken from the socket in one go.
const READ_BYTES: usize = 4_096;

/// Runs a session over `socket`, of which `read` was read already. Returns when the socket is done with.
pub(in crate::realtime) async fn run(
    shared: Arc<Shared>,
    socket: TcpStream,
    read: BytesMut,
    identity: Option<Identity>,
    language: Language,
    outbox: Outbox,
    seat: crate::realtime::roster::Seat,
) {
    let (incoming, outgoing) = socket.into_split();
    let frames = Frames {
        socket: incoming,
        buffer: read,
        codec: Codec::new().max_size(shared.limits.frame_bytes),
        ended: false,
    };
    let stall = shared.limits.outbox_stall;
    let session = Session::new(shared, seat, outbox.clone(), identity, language);
    let mut control = Box::pin(WebsocketContext::with_factory(futures_util::stream::pending(), |ctx| {
        ctx.add_stream(frames);
        session
    }));
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

/// The client's frames. Holds at most one frame and one read's bytes.
struct Frames {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    codec: Codec,
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
            match this.codec.decode(&mut this.buffer) {
                Ok(Some(frame)) => return Poll::Ready(Some(message(frame))),
                Ok(None) => {}
                Err(error) => {
                    // What follows a broken frame has no meaning.
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
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

fn message(frame: Frame) -> Result<Message, ProtocolError> {
    Ok(match frame {
        Frame::Text(data) => Message::Text(
            ByteString::try_from(data)
                .map_err(|error| ProtocolError::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?,
        ),
        Frame::Binary(data) => Message::Binary(data),
        Frame::Ping(payload) => Message::Ping(payload),
        Frame::Pong(payload) => Message::Pong(payload),
        Frame::Close(reason) => Message::Close(reason),
        Frame::Continuation(item) => Message::Continuation(item),
    })
}
