//! Models whose process crashed: counted by their bytes, refused after the second time.
//!
//! The count is in the store, so that a node that is started again does not try once more, and it
//! names bytes and not a name: the same file under another name is as bad, and a file that was
//! mended is another one. It is forgotten when the model ran well, when `hive verify` found its
//! bytes sound, and when somebody unloads it by hand.

use hive_api::{ErrorKind, HiveError, Result};
use hive_store::Store;
use serde::{Deserialize, Serialize};

use super::source::Source;
use crate::errors;

/// Crashes after which a model is not tried again.
const CRASHES: u32 = 2;
/// Characters that are kept of how it ended: a process may have said it, at any length.
const MESSAGE_LEN: usize = 500;
/// Answers without a crash after which the crashes before are forgotten.
pub(super) const WELL: u64 = 16;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    crashes: u32,
    /// How it ended the last time.
    message: String,
}

fn key(bytes: &str) -> String {
    format!("engines/crashes/{bytes}")
}

fn read(store: &Store, bytes: &str) -> Result<Option<Record>> {
    let kept =
        store.meta(&key(bytes)).map_err(|error| errors::store("cannot read the index", &error))?;
    // A record that cannot be read is one that a later version wrote; it is not worth a refusal.
    Ok(kept.and_then(|kept| serde_json::from_slice(&kept).ok()))
}

fn write(store: &Store, bytes: &str, record: &Record) -> Result<()> {
    let record = serde_json::to_vec(record).unwrap_or_default();
    store
        .set_meta(&key(bytes), &record)
        .map_err(|error| errors::store("cannot write the index", &error))
}

/// Refuses a model that crashed too often.
pub(super) fn check(store: &Store, bytes: &str, source: &Source) -> Result<()> {
    match read(store, bytes)? {
        Some(record) if record.crashes >= CRASHES => {
            let name = &source.name;
            let message = format!("`{name}` is not run: it crashed {} times", record.crashes);
            let mut error = HiveError::new(ErrorKind::Refused, message);
            error.messages.push(record.message);
            Err(error.hint(if source.id.is_some() {
                format!(
                    "`hive verify {name}` checks its bytes and lets it be tried again; so does \
                     `hive ps --unload {name}` without checking"
                )
            } else {
                format!("`hive ps --unload {name}` lets it be tried again")
            }))
        }
        _ => Ok(()),
    }
}

/// Takes note of a crash.
pub(super) fn note(store: &Store, bytes: &str, message: &str) -> Result<()> {
    let crashes = read(store, bytes)?.unwrap_or_default().crashes.saturating_add(1);
    if crashes >= CRASHES {
        tracing::warn!(model = bytes, crashes, "a model is not run any more");
    }
    let message = message.chars().filter(|char| !char.is_control()).take(MESSAGE_LEN).collect();
    write(store, bytes, &Record { crashes, message })
}

/// Forgets the crashes of a model; says whether there were any.
pub(crate) fn forgive(store: &Store, bytes: &str) -> Result<bool> {
    if read(store, bytes)?.is_none_or(|record| record.crashes == 0) {
        return Ok(false);
    }
    write(store, bytes, &Record::default()).map(|()| true)
}
