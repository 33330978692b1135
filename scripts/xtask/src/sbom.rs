//! `cargo xtask sbom`: what the binary `hive` is made of, as a CycloneDX document.
//!
//! It follows from Cargo.lock and the crates' manifests: every crate that the binary needs on a
//! target, with version, licence, package URL and the SHA-256 that Cargo.lock holds it to, and who
//! needs whom. Crates that only run while it is built (build scripts) are in it, those of tests are not.
//!
//! Invariant: the same commit, target and date give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

/// What `sbom` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The target that the binary is for
    #[arg(long)]
    target: String,

    /// Seconds since 1970 of the document's date
    #[arg(long, env = "SOURCE_DATE_EPOCH")]
    date: i64,

    /// File to write
    #[arg(long)]
    out: PathBuf,
}

/// The package whose binary it is.
const SHIPPED: &str = "hive-cli";

/// Writes the document.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = crate::tidy::root();
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(vec!["--locked".into(), format!("--filter-platform={}", args.target)])
        .exec()
        .context("cannot read the workspace")?;
    let document = document(&metadata, &checksums(&root)?, args.date)?;
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    std::fs::write(&args.out, text).with_context(|| format!("`{}`", args.out.display()))
}

fn document(
    metadata: &Metadata,
    checksums: &BTreeMap<(String, String), String>,
    date: i64,
) -> anyhow::Result<Value> {
    let shipped = metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == SHIPPED);
    let shipped = shipped.with_context(|| format!("no package {SHIPPED}"))?;
    let needs = needs(metadata, &shipped.id)?;
    let package = |id: &PackageId| {
        metadata.packages.iter().find(|package| package.id == *id).context("a package of no name")
    };
    let (mut components, mut dependencies) = (Vec::new(), Vec::new());
    for (id, on) in &needs {
        let package = package(id)?;
        if package.id != shipped.id {
            components.push(component(package, checksums, "library")?);
        }
        let on: BTreeSet<String> =
            on.iter().map(|id| package_url(id, metadata)).collect::<anyhow::Result<_>>()?;
        dependencies.push(json!({"ref": url(package), "dependsOn": on}));
    }
    // By name: ids hold the path of this checkout.
    components.sort_by_key(|component| component["purl"].to_string());
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(date),
            "tools": {"components": [{"type": "application", "name": "cargo xtask sbom"}]},
            "component": component(shipped, checksums, "application")?,
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// Whom the shipped package needs, and whom those do.
fn needs(
    metadata: &Metadata,
    shipped: &PackageId,
) -> anyhow::Result<BTreeMap<PackageId, Vec<PackageId>>> {
    let resolve = metadata.resolve.as_ref().context("cargo resolved nothing")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut found = BTreeMap::new();
    let mut open = vec![shipped.clone()];
    while let Some(id) = open.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let node = nodes.get(&id).context("a package that was not resolved")?;
        let of_tests = |kinds: &[cargo_metadata::DepKindInfo]| {
            kinds.iter().all(|kind| kind.kind == DependencyKind::Development)
        };
        let on: Vec<PackageId> = node
            .deps
            .iter()
            .filter(|dep| !of_tests(&dep.dep_kinds))
            .map(|dep| dep.pkg.clone())
            .collect();
        open.extend(on.iter().cloned());
        found.insert(id, on);
    }
    Ok(found)
}

fn url(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn package_url(id: &PackageId, metadata: &Metadata) -> anyhow::Result<String> {
    let package = metadata.packages.iter().find(|package| package.id == *id);
    package.map(url).context("a package of no name")
}

fn component(
    package: &Package,
    checksums: &BTreeMap<(String, String), String>,
    kind: &str,
) -> anyhow::Result<Value> {
    let (name, version) = (package.name.to_string(), package.version.to_string());
    let mut component = json!({
        "type": kind,
        "bom-ref": url(package),
        "name": name,
        "version": version,
        "purl": url(package),
    });
    if let Some(license) = &package.license {
        // `/` is an old way to write `OR`.
        component["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    if package.source.is_some() {
        let checksum = checksums.get(&(name, version));
        let checksum = checksum.with_context(|| format!("{} is not locked", url(package)))?;
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    Ok(component)
}

/// The SHA-256 of each crate's archive, by name and version, as Cargo.lock has them.
fn checksums(root: &Path) -> anyhow::Result<BTreeMap<(String, String), String>> {
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock")?;
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim_matches([' ', '=', '"']).to_owned())
    };
    let packages = lock.split("[[package]]").skip(1);
    let found: BTreeMap<_, _> = packages
        .filter_map(|package| {
            let key = (value(package, "name")?, value(package, "version")?);
            Some((key, value(package, "checksum")?))
        })
        .collect();
    ensure!(!found.is_empty(), "Cargo.lock has no checksum");
    Ok(found)
}

/// A date as JSON has it. The days are counted from March, when the leap day is a year's last:
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let from_march = days + 719_468;
    let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_767_225_600), "2026-01-01T00:00:00Z");
    }

    /// Whoever reads the document can follow every arrow in it, and check every crate.
    #[test]
    fn every_crate_of_the_binary_is_named_once_with_its_digest() {
        let root = crate::tidy::root();
        let metadata = crate::tidy::metadata(&root).unwrap();
        let checksums = checksums(&root).unwrap();
        let document = document(&metadata, &checksums, 0).unwrap();
        let components = document["components"].as_array().unwrap();
        let mut names: BTreeSet<&str> =
            components.iter().map(|component| component["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(names.len(), components.len(), "a crate twice");
        assert!(names.iter().any(|name| name.starts_with("pkg:cargo/libp2p@")));
        assert!(names.iter().all(|name| !name.starts_with("pkg:cargo/proptest@")), "of tests");
        for component in components {
            let digest = component["hashes"][0]["content"].as_str();
            let is_ours = component["name"].as_str().unwrap().starts_with("hive-");
            assert_eq!(digest.map(str::len), (!is_ours).then_some(64), "{component}");
        }
        names.insert(document["metadata"]["component"]["bom-ref"].as_str().unwrap());
        for dependency in document["dependencies"].as_array().unwrap() {
            assert!(names.contains(dependency["ref"].as_str().unwrap()));
            let on = dependency["dependsOn"].as_array().unwrap();
            assert!(on.iter().all(|name| names.contains(name.as_str().unwrap())), "{dependency}");
        }
    }
}
