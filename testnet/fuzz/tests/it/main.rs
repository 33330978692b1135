//! Replays the corpora, and everything else that stands in this repository as bytes of strangers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod corpus;
mod vectors;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hive_fuzz::{Target, Verdict};

/// Gives inputs to a target; says which it took, and all that broke.
fn replay<'a>(
    target: &Target,
    inputs: impl IntoIterator<Item = &'a Vec<u8>>,
) -> (Vec<Verdict>, Vec<String>) {
    let (mut verdicts, mut broken) = (Vec::new(), Vec::new());
    for input in inputs {
        match catch_unwind(AssertUnwindSafe(|| target.check(input))) {
            Ok(verdict) => verdicts.push(verdict),
            Err(_) => broken.push(format!("{}: {}", target.name, hex::encode(input))),
        }
    }
    (verdicts, broken)
}

/// One test and not one for each target: what is allocated is counted for the whole process.
#[test]
fn no_bytes_that_were_kept_break_a_promise() {
    let mut broken = Vec::new();
    for target in hive_fuzz::targets() {
        let inputs = corpus::read(target.name);
        let (verdicts, bad) = replay(target, &inputs);
        broken.extend(bad);
        for verdict in [Verdict::Accepted, Verdict::Refused] {
            if !verdicts.contains(&verdict) {
                broken.push(format!("{}: no input of its corpus is {verdict:?}", target.name));
            }
        }
    }
    let vectors = vectors::all();
    assert!(vectors.len() > 200, "{} golden vectors and hostile blocks", vectors.len());
    for target in hive_fuzz::targets() {
        broken.extend(replay(target, &vectors).1);
    }
    // The bug that is there on purpose: a replay that does not break here shows nothing above.
    let (_, found) = replay(&hive_fuzz::CANARY, &[corpus::without_alignment()]);
    if found.is_empty() {
        broken.push("the planted bug was not found".to_owned());
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}
