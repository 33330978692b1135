//! Memory for large matrices: pages of 2 MiB where the system has them.
//!
//! Decoding reads each weight once a token, so each page is looked up once, and with pages of 4 KiB
//! that takes a third of the time.

use memmap2::MmapMut;

/// Bytes from which on it is worth a mapping of its own.
const LARGE: usize = 4 << 20;

/// Bytes, at first all 0.
pub(super) enum Pages {
    Mapped(MmapMut),
    Plain(Vec<u8>),
}

impl Pages {
    pub(super) fn zeroed(len: usize) -> Self {
        if LARGE <= len
            && let Ok(map) = MmapMut::map_anon(len)
        {
            // Advice: without it the pages are small.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Mapped(map);
        }
        Self::Plain(vec![0; len])
    }

    /// The bytes in pieces of one length.
    pub(super) fn pieces<const N: usize>(&self) -> &[[u8; N]] {
        let bytes: &[u8] = match self {
            Self::Mapped(map) => map,
            Self::Plain(bytes) => bytes,
        };
        bytes.as_chunks().0
    }

    /// The same, to be written.
    pub(super) fn pieces_mut<const N: usize>(&mut self) -> &mut [[u8; N]] {
        let bytes: &mut [u8] = match self {
            Self::Mapped(map) => map,
            Self::Plain(bytes) => bytes,
        };
        bytes.as_chunks_mut().0
    }
}
