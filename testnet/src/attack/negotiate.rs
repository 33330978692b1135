//! Agreeing on a protocol (multistream-select), by hand: the stream stays what it was.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::liar::script::framed;

const MULTISTREAM: &str = "/multistream/1.0.0";
/// Bytes in a line at most; nobody's protocol has a longer name.
const LINE: usize = 1 << 10;
/// Bytes in a message at most: a block with its envelope.
const MESSAGE: usize = hive_protocol::limits::RESPONSE_LEN;

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn line(text: &str) -> Vec<u8> {
    framed(format!("{text}\n").as_bytes())
}

async fn read_line<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let bytes = read_frame(stream, LINE).await?;
    let text = String::from_utf8(bytes).map_err(|_| invalid("a line that is no text".into()))?;
    let text = text.strip_suffix('\n').ok_or_else(|| invalid("a line without an end".into()))?;
    Ok(text.to_owned())
}

/// Reads bytes with an unsigned varint with their length before them.
pub(super) async fn read_frame<S>(stream: &mut S, most: usize) -> io::Result<Vec<u8>>
where
    S: AsyncRead + Unpin,
{
    let (mut len, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if shift > 28 {
            return Err(invalid("a length without an end".into()));
        }
    }
    if len > most {
        return Err(invalid(format!("{len} bytes, at most {most} are taken")));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// Reads a message of hive's or of the DHT, up to the largest that there is.
///
/// # Errors
///
/// The stream ends, or says something else.
pub async fn read_message(stream: &mut super::Pipe) -> io::Result<Vec<u8>> {
    read_frame(stream, MESSAGE).await
}

/// Asks the other side to speak a protocol.
pub(super) async fn ask<S>(stream: &mut S, protocol: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&[line(MULTISTREAM), line(protocol)].concat()).await?;
    stream.flush().await?;
    for expected in [MULTISTREAM, protocol] {
        let said = read_line(stream).await?;
        if said != expected {
            return Err(invalid(format!("`{said}` where `{expected}` was asked")));
        }
    }
    Ok(())
}

/// Lets the other side choose among the protocols that are spoken, and says which it is.
pub(super) async fn answer<S>(stream: &mut S, speaks: impl Fn(&str) -> bool) -> io::Result<String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let asked = read_line(stream).await?;
        let spoken = asked != MULTISTREAM && speaks(&asked);
        let said = if spoken || asked == MULTISTREAM { &asked[..] } else { "na" };
        stream.write_all(&line(said)).await?;
        stream.flush().await?;
        if spoken {
            return Ok(asked);
        }
    }
}
