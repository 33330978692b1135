#!/usr/bin/env bash
# Builds one program twice, from two clones in two directories with two build directories, and
# compares the SHA-256 of what comes out. Ends with 1 if they differ.
#
#   scripts/reproduce.sh                                       the published binary: `hive`, profile dist
#   scripts/reproduce.sh --profile release --package hive-store --test kill
#
# Whatever stands behind --profile NAME goes to `cargo build`. The second shows the same of what takes a
# tenth of the time: Rust, the C of SQLite and the assembly of BLAKE3. Both builds use one machine, one
# toolchain and one CARGO_HOME; that other machines give the same is not shown by this.
# What is built is the last commit, not what has been changed since.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
profile=dist
if [ "${1:-}" = --profile ]; then
    profile=${2:?--profile takes a name}
    shift 2
fi
[ $# -gt 0 ] || set -- --package hive-cli --bin hive
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

work=$(mktemp -d -p "${HIVE_REPRODUCE_DIR:-${TMPDIR:-/tmp}}")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
sum() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }

programs=()
# Paths of different lengths, so that a path that gets in moves everything behind it.
for name in one a-longer-name-for-the-second; do
    at=$work/$name
    git clone --quiet "$root" "$at/source"
    echo "building in $at"
    (
        cd "$at/source"
        # shellcheck source=scripts/remap.sh
        . scripts/remap.sh "$at/source" "$at/target"
        CARGO_TARGET_DIR=$at/target cargo build --locked --profile "$profile" "$@" \
            --config "$remap" --message-format json-render-diagnostics >"$at/messages"
    )
    program=$(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$at/messages" | tail -n 1)
    [ -f "$program" ] || { echo "reproduce: cargo made no program of: $*" >&2 && exit 1; }
    programs+=("$program")
    echo "$(sum "$program")  $(basename "$program"), $(wc -c <"$program") bytes"
done

# A path of the machine in it would be the same in two builds on one machine, where it is CARGO_HOME's.
for path in "$work" "${CARGO_HOME:-$HOME/.cargo}"; do
    if grep -qF -- "$path" "${programs[0]}"; then
        echo "reproduce: the path $path stands in the program" >&2
        exit 1
    fi
done
if ! cmp "${programs[@]}"; then
    echo "reproduce: two builds of one commit differ in $(cmp -l "${programs[@]}" | wc -l) bytes" >&2
    exit 1
fi
echo 'two builds, one hash'
