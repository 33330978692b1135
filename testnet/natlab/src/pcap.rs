//! Captures: frames in a file that tcpdump and Wireshark read, and a search through one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use crate::limits::{CAPTURE, FRAME};

const HEADER: usize = 24;
const RECORD: usize = 16;
/// Of the classic format, microseconds, in this machine's order of bytes.
const MAGIC: u32 = 0xa1b2_c3d4;

/// A capture that is being written.
#[derive(Debug)]
pub(crate) struct Writer {
    file: BufWriter<File>,
    bytes: u64,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut file = BufWriter::new(file);
        file.write_all(&MAGIC.to_ne_bytes())?;
        for half in [2_u16, 4] {
            file.write_all(&half.to_ne_bytes())?;
        }
        // No time zone, no accuracy, length of a frame, Ethernet.
        for field in [0_u32, 0, FRAME as u32, 1] {
            file.write_all(&field.to_ne_bytes())?;
        }
        Ok(Self { file, bytes: 0 })
    }

    /// Adds a frame, until the file is as large as it may get.
    pub(crate) fn add(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        self.bytes += (RECORD + frame.len()) as u64;
        if self.bytes > CAPTURE {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let len = frame.len() as u32;
        for field in [now.as_secs() as u32, now.subsec_micros(), len, len] {
            self.file.write_all(&field.to_ne_bytes())?;
        }
        Ok(self.file.write_all(frame)?)
    }

    /// Puts everything into the file.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.file.flush()?)
    }
}

/// The frames of a capture.
#[derive(Debug)]
pub(crate) struct Capture(Vec<Vec<u8>>);

impl Capture {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            bytes.len() >= HEADER && bytes[..4] == MAGIC.to_ne_bytes(),
            "{} is no capture of this lab",
            path.display()
        );
        let (mut frames, mut rest) = (Vec::new(), &bytes[HEADER..]);
        while let Some(record) = rest.get(..RECORD) {
            let len = u32::from_ne_bytes([record[8], record[9], record[10], record[11]]) as usize;
            // The last one may be half written.
            let Some(frame) = rest.get(RECORD..RECORD + len) else { break };
            frames.push(frame.to_vec());
            rest = &rest[RECORD + len..];
        }
        Ok(Self(frames))
    }

    pub(crate) fn n_frames(&self) -> usize {
        self.0.len()
    }

    /// How many frames carry `needle`; a needle that two frames share is found once.
    pub(crate) fn count(&self, needle: &[u8]) -> usize {
        let within = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
        if needle.is_empty() {
            return 0;
        }
        let whole = self.0.iter().filter(|frame| within(frame)).count();
        if whole > 0 {
            return whole;
        }
        // Of each connection and direction the bytes in a row, headers left out.
        let mut streams = BTreeMap::<&[u8], Vec<u8>>::new();
        for frame in &self.0 {
            if let Some((flow, payload)) = split(frame) {
                streams.entry(flow).or_default().extend_from_slice(payload);
            }
        }
        streams.values().filter(|stream| within(stream)).count()
    }
}

/// The addresses and ports of a frame of TCP or UDP over IPv4, and what it carries.
fn split(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let packet = frame.get(14..)?;
    let is_ipv4 = frame.get(12..14)? == [8, 0] && packet.first()? >> 4 == 4;
    let header = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let inner = packet.get(header..total.min(packet.len()))?;
    let skip = match packet.get(9)? {
        6 => usize::from(inner.get(12)? >> 4) * 4,
        17 => 8,
        _ => return None,
    };
    // From the source address to the destination port, when the header has no options.
    (is_ipv4 && header == 20).then_some((packet.get(12..24)?, inner.get(skip..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of TCP over IPv4 with `payload`.
    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x11, 0x83, 0x22, 0x22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_needle_is_found_in_a_frame_and_across_two() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.pcap");
        let mut writer = Writer::create(&path).unwrap();
        for payload in [b"first secr".as_slice(), b"et, then catalog"] {
            writer.add(&frame(payload)).unwrap();
        }
        writer.flush().unwrap();
        let capture = Capture::read(&path).unwrap();
        assert_eq!(capture.n_frames(), 2);
        assert_eq!(capture.count(b"catalog"), 1);
        assert_eq!(capture.count(b"secret"), 1);
        assert_eq!(capture.count(b"nothing"), 0);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "a text that is long enough to be one").unwrap();
        assert!(Capture::read(&path).unwrap_err().to_string().contains("no capture"));
    }
}
