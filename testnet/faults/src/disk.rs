//! What crashes and broken disks do to a node.
//!
//! The system under test is the binary `hive`, in processes, over its command line. It has no
//! switches for faults: what breaks is around it. Calls fail in a library between the program and
//! the system ([`shim`]), disks are images that are really
//! full, read-only or cut off ([`mounts`]), and files are damaged by writing to them.

mod bit_rot;
mod full;
mod home;
mod kill;
mod mounts;
mod nth;
mod power_cut;
mod processes;
mod schema;
mod shim;
mod source;
mod stale;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::scenario::{Context, Scenario};

/// What this module can do.
pub(crate) const SCENARIOS: &[Scenario] = &[
    kill::SCENARIO,
    nth::KILL,
    power_cut::SCENARIO,
    nth::FAIL,
    full::FULL,
    full::READ_ONLY,
    bit_rot::SCENARIO,
    processes::SCENARIO,
    schema::SCENARIO,
    stale::SCENARIO,
];

/// A directory for a scenario's homes and images, gone with it.
fn workplace(context: &Context) -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("hive-faults-")
        .tempdir_in(&context.dir)
        .with_context(|| format!("no directory can be made in `{}`", context.dir.display()))
}
