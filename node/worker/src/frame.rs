//! How a message looks in a pipe.
//!
//! ```text
//! +--------------------+------------------+------------------------+
//! | length of the body | ticket           | body, MessagePack      |
//! | 4 bytes, LE        | 8 bytes, LE      | 0 ..= limits::FRAME_LEN |
//! +--------------------+------------------+------------------------+
//! ```
//!
//! The ticket stands outside the body, so that an order that cannot be read still has somebody to
//! be refused to. MessagePack and not JSON: a log-probability may be -∞, which JSON cannot say.

use std::io::{self, Read};

use hive_api::Ticket;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::limits::FRAME_LEN;

const HEADER_LEN: usize = 12;
/// How deep values may be nested; JSON readers stop at 128, and a message adds a few around it.
const DEPTH: usize = 192;
/// Characters of what is told of a message that cannot be read.
const REASON_LEN: usize = 200;

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a message of {len} bytes, at most {FRAME_LEN} are allowed")]
    TooLong { len: usize },
    #[error("a message cannot be read: {reason}")]
    Garbage { reason: String },
    #[error("{n_bytes} bytes follow a message inside its frame")]
    Trailing { n_bytes: usize },
    #[error("the pipe broke")]
    Pipe(#[source] io::Error),
}

/// A frame whose length is within the bounds, and whose body nobody has looked at.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) ticket: Ticket,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// Reads the body, all of it.
    pub(crate) fn decode<M: DeserializeOwned>(&self) -> Result<M, FrameError> {
        let mut reader = rmp_serde::Deserializer::new(io::Cursor::new(&self.body));
        reader.set_max_depth(DEPTH);
        // Serde quotes what it stumbles over, which may be all of the body.
        let reason = |error: rmp_serde::decode::Error| {
            error.to_string().chars().filter(|char| !char.is_control()).take(REASON_LEN).collect()
        };
        let message = M::deserialize(&mut reader)
            .map_err(|error| FrameError::Garbage { reason: reason(error) })?;
        let n_bytes = self.body.len() - reader.get_ref().position() as usize;
        if n_bytes > 0 { Err(FrameError::Trailing { n_bytes }) } else { Ok(message) }
    }
}

/// Writes a frame.
pub(crate) fn encode<M: Serialize>(ticket: Ticket, message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER_LEN];
    let mut writer = rmp_serde::Serializer::new(&mut frame).with_struct_map();
    message
        .serialize(&mut writer)
        .map_err(|error| FrameError::Garbage { reason: error.to_string() })?;
    let len = frame.len() - HEADER_LEN;
    if len > FRAME_LEN {
        return Err(FrameError::TooLong { len });
    }
    frame[..4].copy_from_slice(&(len as u32).to_le_bytes());
    frame[4..HEADER_LEN].copy_from_slice(&ticket.to_le_bytes());
    Ok(frame)
}

/// Reads a header, before room is made for what it announces.
fn header(bytes: [u8; HEADER_LEN]) -> Result<(usize, Ticket), FrameError> {
    let [a, b, c, d, ticket @ ..] = bytes;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > FRAME_LEN {
        return Err(FrameError::TooLong { len });
    }
    Ok((len, Ticket::from_le_bytes(ticket)))
}

/// Reads the next frame; none at the end of the pipe.
pub(crate) fn read(pipe: &mut impl Read) -> Result<Option<Frame>, FrameError> {
    let mut head = [0; HEADER_LEN];
    match pipe.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(FrameError::Pipe(error)),
    }
    let (len, ticket) = header(head)?;
    let mut body = vec![0; len];
    pipe.read_exact(&mut body).map_err(FrameError::Pipe)?;
    Ok(Some(Frame { ticket, body }))
}

/// Reads the next frame; none at the end of the pipe. Not cancel safe.
pub(crate) async fn read_async(
    pipe: &mut (impl AsyncRead + Unpin),
) -> Result<Option<Frame>, FrameError> {
    let mut head = [0; HEADER_LEN];
    match pipe.read_exact(&mut head).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(FrameError::Pipe(error)),
    }
    let (len, ticket) = header(head)?;
    let mut body = vec![0; len];
    pipe.read_exact(&mut body).await.map_err(FrameError::Pipe)?;
    Ok(Some(Frame { ticket, body }))
}

#[cfg(test)]
mod tests;
