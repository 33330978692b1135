//! Keeps group buffers for reuse.
//!
//! A fresh megabyte costs as much to map and zero as a group costs to decrypt. The pool lives as
//! long as a request does: when none runs its memory is free again. A group begins at a page, so that
//! a disk can take it from where it lies.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use hive_protocol::limits::GROUP_LEN;

use super::limits::IDLE_BUFFERS;

/// Shorter groups get memory of their own.
const LEAST: usize = GROUP_LEN as usize / 4;
/// What a group's address is a multiple of.
const PAGE: usize = 4096;

/// Buffers that wait for the next group.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// A buffer of `len` bytes, with whatever was in it.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        if len < LEAST || len > GROUP_LEN as usize {
            return Buffer::new(vec![0; len].into_boxed_slice(), 0..len, Weak::new());
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let room = GROUP_LEN as usize + PAGE - 1;
        let bytes = idle.unwrap_or_else(|| vec![0; room].into_boxed_slice());
        let start = bytes.as_ptr().align_offset(PAGE);
        Buffer::new(bytes, start..start + len, Arc::downgrade(self))
    }
}

/// A group's memory. It goes home when the last [`Bytes`] of it is dropped.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    group: Range<usize>,
    home: Weak<Buffers>,
}

impl Buffer {
    fn new(bytes: Box<[u8]>, group: Range<usize>, home: Weak<Buffers>) -> Self {
        Self { bytes, group, home }
    }

    /// The bytes to be overwritten, all of them.
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.group.clone()]
    }

    /// The group that was read into the buffer.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.group.clone()]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut idle = home.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_BUFFERS {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_group_lends_its_memory_to_the_next() {
        let buffers = Arc::new(Buffers::default());
        let first = buffers.take(GROUP_LEN as usize).freeze();
        let address = first.as_ptr();
        let second = first.slice(1..2);
        drop(first);
        assert_ne!(buffers.take(GROUP_LEN as usize).as_ref().as_ptr(), address);
        drop(second);
        assert_eq!(buffers.take(LEAST).freeze().as_ptr(), address);
    }

    #[test]
    fn a_whole_group_begins_at_a_page() {
        let buffers = Arc::new(Buffers::default());
        let groups: Vec<_> = (0..3).map(|_| buffers.take(GROUP_LEN as usize)).collect();
        assert!(groups.iter().all(|group| group.as_ref().as_ptr().addr().is_multiple_of(PAGE)));
        assert!(groups.iter().all(|group| group.as_ref().len() == GROUP_LEN as usize));
    }

    #[test]
    fn a_group_outlives_the_pool() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take(LEAST);
        buffer.as_mut().fill(7);
        drop(buffers);
        assert!(buffer.freeze().iter().all(|&byte| byte == 7));
    }
}
