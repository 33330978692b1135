//! The pipe's frames as `hive-fuzz` sees them: bytes in, and whether they were read.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame;
use crate::message::{Order, Report};

/// Reads the frames of orders in a pipe that holds these bytes; says how many were read.
///
/// # Panics
///
/// If what was read cannot be written, or is another after it was written and read again.
pub fn orders(pipe: &[u8]) -> usize {
    frames::<Order>(pipe)
}

/// The same of reports.
///
/// # Panics
///
/// As [`orders`].
pub fn reports(pipe: &[u8]) -> usize {
    frames::<Report>(pipe)
}

fn frames<M: Serialize + DeserializeOwned>(mut pipe: &[u8]) -> usize {
    let mut n_read = 0;
    while let Ok(Some(frame)) = frame::read(&mut pipe) {
        let Ok(message) = frame.decode::<M>() else { continue };
        n_read += 1;
        // What is short in one form may be long in ours; the pipe refuses it then.
        let Ok(first) = frame::encode(frame.ticket, &message) else { continue };
        let again = frame::read(&mut first.as_slice()).expect("it was just written");
        let again = again.expect("it is not empty");
        assert_eq!(again.ticket, frame.ticket);
        let message = again.decode::<M>().expect("what was read and written is read");
        let second = frame::encode(again.ticket, &message).expect("it was written before");
        assert_eq!(first, second, "a message that changes when it is passed on");
    }
    n_read
}
