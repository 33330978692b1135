#!/usr/bin/env bash
# Builds what is published for this system: the binary, completions, manual pages and licences in one
# archive, a list of what it is made of (CycloneDX), in it and beside it, and the SHA-256 of both. The
# same commit and toolchain give the same archive.
#
#   scripts/release.sh [DIRECTORY]        default: dist/
#
# On Linux a static binary (musl) is built if the toolchain has that target (`rustup target add`)
# and `musl-gcc` is there for the C code inside; else one for the C library of this system.
# HIVE_TARGET names another target; SOURCE_DATE_EPOCH another date than that of the commit.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
out=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)

host=$(rustc -vV | sed -n 's/^host: //p')
target=${HIVE_TARGET:-$host}
if [ -z "${HIVE_TARGET:-}" ] && [[ $host == *-linux-gnu ]]; then
    static=${host%-gnu}-musl
    if command -v musl-gcc >/dev/null && [ -d "$(rustc --print sysroot)/lib/rustlib/$static" ]; then
        target=$static
        # For arm64 its usual name is another, which not every system has.
        export "CC_${static//-/_}=musl-gcc"
    fi
fi
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=hive-$version-$target
suffix=
case $target in *windows*) suffix=.exe ;; esac
tar=$(command -v gtar || command -v tar)
sum() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

target_dir=${CARGO_TARGET_DIR:-$root/target}
# shellcheck source=scripts/remap.sh
. scripts/remap.sh "$root" "$target_dir"
cargo build --locked --profile dist --package hive-cli --target "$target" --config "$remap"
binary=$target_dir/$target/dist/hive$suffix

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/$name
mkdir -p "$stage/completions" "$stage/man/man1"
cp "$binary" "$stage/hive$suffix"
cp README.md LICENSE-APACHE LICENSE-MIT "$stage"

# What the binary says of itself; one for another machine is asked by one for this.
teller=$stage/hive$suffix
if ! "$teller" --version >/dev/null 2>&1; then
    cargo build --locked --package hive-cli
    teller=$target_dir/debug/hive
fi
for shell in bash zsh fish elvish powershell; do
    "$teller" completions "$shell" >"$stage/completions/hive.$shell"
done
"$teller" --quiet man "$stage/man/man1"

# What it is made of, for whoever has to know; in the archive, and beside it.
cargo run --locked --quiet --package xtask -- sbom --target "$target" --out "$stage/sbom.cdx.json"
cp "$stage/sbom.cdx.json" "$out/$name.cdx.json"

archive=$out/$name.tar.gz
"$tar" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --mode='u+rwX,go+rX,go-w' -C "$work" -cf - "$name" | gzip -n -9 >"$archive"
(cd "$out" && sum hive-"$version"-*.tar.gz hive-"$version"-*.cdx.json >SHA256SUMS)
"$tar" -tzf "$archive" >/dev/null
echo "$archive"
