//! What `docs/wire.md` promises, held in place: golden vectors, hostile bytes, limits, signatures.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod cbor;
mod hostile;
mod limits;
mod properties;
mod samples;
mod signatures;
mod vectors;
