//! libFuzzer's entry: fuzzes the target that `HIVE_FUZZ_TARGET` names; `list` names them all.
//!
//! One program for all targets, since it is the linking that takes the time. `scripts/fuzz.sh` builds
//! it, with the instrumentation that tells libFuzzer which branches were taken, and runs it.

#![no_main]
#![expect(clippy::print_stderr, reason = "libFuzzer has taken stdout")]

use std::sync::OnceLock;

use hive_fuzz::Target;

static TARGET: OnceLock<Option<&'static Target>> = OnceLock::new();

fn target() -> Option<&'static Target> {
    let name = std::env::var("HIVE_FUZZ_TARGET").unwrap_or_default();
    if name == "list" {
        hive_fuzz::targets().for_each(|target| eprintln!("target: {}", target.name));
        return None;
    }
    let target = hive_fuzz::find(&name);
    assert!(target.is_some(), "HIVE_FUZZ_TARGET is `{name}`, which is no target of this build");
    target
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(target) = TARGET.get_or_init(target) {
        target.check(bytes);
    }
});
