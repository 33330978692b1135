//! Gets `model/1` messages, and those of the membership handshake, off streams and onto them.
//!
//! A message is an unsigned varint with its length, in the fewest bytes, and then so many bytes;
//! what they mean is [`hive_protocol::message`]'s. A length over the limit is refused unread, and
//! memory is taken as bytes come, not as they are promised.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use hive_protocol::limits::{REQUEST_LEN, RESPONSE_LEN};
use hive_protocol::message::{Request, Response};
use libp2p::{StreamProtocol, request_response};

/// Bytes for which memory is taken before they have come.
const STEP: usize = 64 << 10;

/// A request, or bytes in its place that mean nothing here and are answered with `Unsupported`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A request.
    Known(Request),
    /// Something newer, or nothing at all.
    Unknown,
}

/// The stream adapter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Codec;

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Asked;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Asked>
    where
        T: AsyncRead + Unpin + Send,
    {
        let body = read(io, REQUEST_LEN).await?;
        Ok(Request::decode(&body).map_or(Asked::Unknown, Asked::Known))
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let body = read(io, RESPONSE_LEN).await?;
        Response::decode(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        asked: Asked,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match asked {
            Asked::Known(request) => write(io, &request.encode(), REQUEST_LEN).await,
            Asked::Unknown => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write(io, &response.encode(), RESPONSE_LEN).await
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn read_len(io: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<usize> {
    let mut len = 0_usize;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        io.read_exact(&mut byte).await?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            if byte[0] == 0 && shift > 0 {
                return Err(invalid("a length in more bytes than it needs"));
            }
            return if len <= max { Ok(len) } else { Err(invalid("a message over its limit")) };
        }
    }
    Err(invalid("a message over its limit"))
}

pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Vec<u8>> {
    let len = read_len(io, max).await?;
    let mut body = Vec::new();
    while body.len() < len {
        let start = body.len();
        body.resize(len.min(start + STEP), 0);
        io.read_exact(&mut body[start..]).await?;
    }
    Ok(body)
}

pub(crate) async fn write(
    io: &mut (impl AsyncWrite + Unpin),
    body: &[u8],
    max: usize,
) -> io::Result<()> {
    if body.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message over its limit"));
    }
    let mut head = Vec::with_capacity(4);
    let mut len = body.len();
    while len >= 0x80 {
        head.push(len as u8 | 0x80);
        len >>= 7;
    }
    head.push(len as u8);
    io.write_all(&head).await?;
    io.write_all(body).await?;
    io.flush().await
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;
    use libp2p::request_response::Codec as _;

    use super::*;

    const PROTOCOL: StreamProtocol = StreamProtocol::new("/hive/test/model/1");

    fn frame(body: &[u8]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        block_on(write(&mut bytes, body, usize::MAX)).expect("memory is writable");
        bytes.into_inner()
    }

    fn read_all(bytes: &[u8], max: usize) -> io::Result<Vec<u8>> {
        block_on(read(&mut Cursor::new(bytes), max))
    }

    #[test]
    fn a_request_reads_back() {
        let request = Request::Hello { features: vec!["x".to_owned()] };
        let mut bytes = Cursor::new(Vec::new());
        block_on(Codec.write_request(&PROTOCOL, &mut bytes, Asked::Known(request.clone())))
            .expect("memory is writable");
        bytes.set_position(0);
        let read = block_on(Codec.read_request(&PROTOCOL, &mut bytes)).expect("a request");
        assert_eq!(read, Asked::Known(request));
    }

    #[test]
    fn an_unknown_request_is_no_error() {
        let bytes = frame(b"\xa2avareq\x01");
        let read = block_on(Codec.read_request(&PROTOCOL, &mut Cursor::new(bytes)));
        assert_eq!(read.expect("something"), Asked::Unknown);
    }

    #[test]
    fn a_length_over_the_limit_is_refused_unread() {
        let body = vec![7; 1_000];
        assert_eq!(read_all(&frame(&body), 1_000).expect("within the limit"), body);
        assert!(read_all(&frame(&body), 999).is_err());
        // No body follows, and none is waited for.
        assert!(read_all(&[0xff, 0xff, 0xff, 0xff, 0xff], RESPONSE_LEN).is_err());
    }

    #[test]
    fn a_length_has_one_form() {
        assert_eq!(read_all(&[0], 10).expect("an empty body"), Vec::<u8>::new());
        assert!(read_all(&[0x81, 0x00, 0x05], 10).is_err());
    }

    #[test]
    fn a_message_cut_anywhere_is_an_error() {
        let bytes = frame(&[7; 200]);
        for end in 0..bytes.len() {
            assert!(read_all(&bytes[..end], 1_000).is_err(), "cut at {end}");
        }
    }
}
