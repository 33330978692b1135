//! What Cargo.lock holds: no version below a floor of deny.toml, no licence outside its list.

use std::path::Path;

use anyhow::Context;
use cargo_metadata::Metadata;
use cargo_metadata::semver::{Version, VersionReq};

/// A line of `[bans] deny`: a crate, and the versions that are refused (all without one).
#[derive(Debug)]
struct Ban {
    name: String,
    versions: VersionReq,
}

/// Checks floors and licences of every package in the lock file.
pub(super) fn check(metadata: &Metadata, root: &Path) -> anyhow::Result<Vec<String>> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let bans = bans(&text)?;
    let licenses = licenses(&text);
    anyhow::ensure!(!bans.is_empty() && !licenses.is_empty(), "deny.toml lists nothing");
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let (name, version) = (package.name.as_str(), &package.version);
        findings.extend(banned(&bans, name, version));
        if package.source.is_some() {
            let license = package.license.as_deref().unwrap_or("");
            let fine = license_fits(license, &licenses)
                || package.license_file.is_some() && license.is_empty();
            if !fine {
                findings.push(format!("{name} {version}: licence `{license}` is not on the list"));
            }
        }
    }
    Ok(findings)
}

fn banned(bans: &[Ban], name: &str, version: &Version) -> Option<String> {
    let ban = bans.iter().find(|ban| ban.name == name && ban.versions.matches(version))?;
    Some(format!("{name} {version}: deny.toml refuses {}", ban.versions))
}

fn bans(text: &str) -> anyhow::Result<Vec<Ban>> {
    let specs = text.split("crate = \"").skip(1).filter_map(|rest| rest.split('"').next());
    specs
        .map(|spec| {
            let (name, versions) = spec.split_once(':').unwrap_or((spec, "*"));
            anyhow::ensure!(
                !name.contains('@'),
                "`{spec}`: cargo-deny takes `@` and matches nothing"
            );
            Ok(Ban {
                name: name.to_owned(),
                versions: versions.parse().with_context(|| spec.to_owned())?,
            })
        })
        .collect()
}

fn licenses(text: &str) -> Vec<String> {
    let section = text.split("[licenses]").nth(1).unwrap_or("");
    section.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether one alternative of an SPDX expression needs only listed licences. `/` is an old `OR`.
fn license_fits(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace(['(', ')'], " ").replace('/', " OR ");
    expression.split(" OR ").any(|alternative| {
        alternative.split(" AND ").all(|license| allowed.iter().any(|fine| fine == license.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ban list that never bites looks like one that finds nothing.
    #[test]
    fn a_version_below_its_floor_is_found() {
        let bans =
            bans("deny = [{ crate = \"yamux:<0.13.10\" }, { crate = \"openssl\" }]").unwrap();
        let bites = |name, version: &str| banned(&bans, name, &version.parse().unwrap()).is_some();
        assert!(bites("yamux", "0.13.9"));
        assert!(!bites("yamux", "0.13.10"));
        assert!(bites("openssl", "1.2.3"));
    }

    #[test]
    fn a_licence_fits_by_one_of_its_alternatives() {
        let allowed = ["MIT".to_owned(), "ISC".to_owned()];
        assert!(license_fits("GPL-3.0 OR MIT", &allowed));
        assert!(license_fits("MIT AND ISC", &allowed));
        assert!(license_fits("MIT/Apache-2.0", &allowed));
        assert!(!license_fits("MIT AND GPL-3.0", &allowed));
    }
}
