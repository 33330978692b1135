//! Who may depend on whom: the picture of docs/ARCHITECTURE.md as data.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata};

/// Which of our crates each of our crates may name in `[dependencies]`. Arrows point down only.
const EDGES: &[(&str, &[&str])] = &[
    ("hive-protocol", &[]),
    ("hive-fetch", &["hive-protocol"]),
    ("hive-store", &["hive-protocol"]),
    ("hive-api", &["hive-protocol"]),
    ("hive-swarm", &["hive-api", "hive-protocol"]),
    ("hive-inference", &["hive-api", "hive-protocol"]),
    ("hive-http", &["hive-api", "hive-protocol"]),
    ("hive-hub", &["hive-api", "hive-protocol"]),
    ("hive-worker", &["hive-api"]),
    ("hive-telemetry", &[]),
    (
        "hive-node",
        &[
            "hive-api",
            "hive-fetch",
            "hive-http",
            "hive-hub",
            "hive-inference",
            "hive-protocol",
            "hive-store",
            "hive-swarm",
            "hive-telemetry",
            "hive-worker",
        ],
    ),
    ("hive-cli", &["hive-api", "hive-http", "hive-node", "hive-protocol", "hive-telemetry"]),
    ("hive-testnet", &["hive-api", "hive-node", "hive-protocol", "hive-store", "hive-swarm"]),
    // The decisions of many nodes in virtual time: pure crates only.
    ("hive-sim", &["hive-fetch", "hive-protocol"]),
    (
        "hive-bench",
        &[
            "hive-api",
            "hive-inference",
            "hive-natlab",
            "hive-node",
            "hive-protocol",
            "hive-sim",
            "hive-testnet",
        ],
    ),
    (
        "hive-faults",
        &[
            "hive-api",
            "hive-fetch",
            "hive-node",
            "hive-protocol",
            "hive-store",
            "hive-swarm",
            "hive-testnet",
        ],
    ),
    // What decodes, and what a model's files say: whoever reads bytes of strangers.
    (
        "hive-fuzz",
        &["hive-api", "hive-http", "hive-inference", "hive-protocol", "hive-swarm", "hive-worker"],
    ),
    // It drives the binary `hive`, in processes, and knows nothing of its inside.
    ("hive-natlab", &[]),
    ("xtask", &["hive-protocol"]),
];

/// One outside world per crate: who alone may name these, by the beginning of their names.
const OWNED: &[(&str, &[&str])] = &[
    ("arrow", &[]),
    ("async-graphql", &[]),
    ("axum", &["hive-http"]),
    ("candle-", &["hive-inference", "xtask"]),
    ("command-fds", &["hive-worker"]),
    ("clap", &["hive-bench", "hive-cli", "hive-faults", "hive-natlab", "xtask"]),
    ("landlock", &["hive-worker"]),
    ("libp2p", &["hive-swarm", "hive-testnet"]),
    ("minijinja", &["hive-inference"]),
    ("reqwest", &["hive-hub"]),
    ("rusqlite", &["hive-store"]),
    ("seccompiler", &["hive-worker"]),
    ("tokenizers", &["hive-inference"]),
];

/// What `protocol/**` must never see.
const IMPURE: &[&str] =
    &["tokio", "rand", "getrandom", "reqwest", "hyper", "async-std", "mio", "tempfile"];

/// Compares the tables with the manifests.
pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, to)| (*name, to.iter().copied().collect())).collect();
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some(may) = allowed.get(name) else {
            findings.push(format!("{name}: not in the table of edges"));
            continue;
        };
        let normal = package.dependencies.iter().filter(|dep| dep.kind == DependencyKind::Normal);
        for dependency in normal {
            let to = dependency.name.as_str();
            if allowed.contains_key(to) && !may.contains(to) {
                findings.push(format!("{name} → {to}: this arrow points the wrong way"));
            }
            let owner = OWNED.iter().find(|(prefix, _)| to.starts_with(prefix));
            if let Some((_, owners)) = owner.filter(|(_, owners)| !owners.contains(&name)) {
                findings.push(format!("{name} → {to}: only {owners:?} may"));
            }
            let pure = package.manifest_path.as_str().contains("/protocol/");
            if pure && IMPURE.contains(&to) {
                findings
                    .push(format!("{name} → {to}: protocol/** has no I/O, clock or randomness"));
            }
        }
        // Versions and features stand in the workspace manifest only.
        match std::fs::read_to_string(&package.manifest_path) {
            Ok(text) => {
                let versions = text.lines().filter(|line| line.contains("version = \""));
                findings
                    .extend(versions.map(|line| format!("{name}: a version of its own: {line}")));
            }
            Err(error) => findings.push(format!("{}: {error}", package.manifest_path)),
        }
    }
    findings
}
