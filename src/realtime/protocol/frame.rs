//! Frames from the server, encoded once and shared by every socket they go to (RFC 6455 section 5.2).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::CloseCode;

/// A whole, unmasked text frame.
pub fn text(payload: &[u8]) -> Bytes {
    encode(0x81, payload)
}

/// A close frame with its number and reason.
pub fn close(code: CloseCode) -> Bytes {
    let mut payload = BytesMut::with_capacity(2 + code.reason().len());
    payload.put_u16(code.number());
    payload.put_slice(code.reason().as_bytes());
    encode(0x88, &payload)
}

/// `first` is FIN and the opcode.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each arm has just checked the range"
)]
fn encode(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(payload.len() + 10);
    frame.put_u8(first);
    match payload.len() {
        length @ 0..=125 => frame.put_u8(length as u8),
        length @ 126..=0xffff => {
            frame.put_u8(126);
            frame.put_u16(length as u16);
        }
        length => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use actix_http::ws::Parser;
    use bytes::BytesMut;

    use super::{close, text};
    use crate::realtime::protocol::CloseCode;

    #[test]
    fn every_length_form_is_read_back_by_an_independent_parser() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload = vec![b'x'; length];
            let mut bytes = BytesMut::from(&text(&payload)[..]);
            let (fin, opcode, read) = Parser::parse(&mut bytes, false, 1 << 20).unwrap().unwrap();
            assert!(fin && opcode == actix_http::ws::OpCode::Text, "{length}");
            assert_eq!(read.map_or(0, |read| read.len()), length);
        }
    }

    #[test]
    fn close_carries_number_and_reason() {
        let frame = close(CloseCode::Slow);
        assert_eq!(&frame[2..4], 4002_u16.to_be_bytes());
        assert_eq!(&frame[4..], b"slow");
    }
}
