#!/usr/bin/env bash
# Runs every command that needs no network in a network namespace that has none, not even loopback.
# usage: scripts/offline.sh [path of the hive binary]
set -euo pipefail
hive=$(realpath "${1:-hive}")
if ! unshare --net --map-root-user true 2>/dev/null; then
    echo "this system does not let us make a network namespace; install util-linux or run as root" >&2
    exit 1
fi
repo=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HIVE_HOME="$work/home"
head -c 3000000 /dev/urandom >"$work/weights.bin"

alone() { unshare --net --map-root-user "$hive" "$@"; }
try() { echo "hive $*" && alone "$@" >"$work/out" || { cat "$work/out"; exit 1; }; }

try --version
try config
try add "$work/weights.bin" --name weights
cid=$(alone ls --json | grep -o 'bafyr[a-z0-9]*' | head -n 1)
try ls
try show weights
try show "$cid" --raw
try share weights
try share weights unlisted
try pin weights
try verify weights
try gc --dry-run
try id
try status
try rm weights
try run "$repo"/node/inference/assets/tiny-hive.gguf "Once" --max-tokens 4 --temperature 0
try completions bash
echo 'all local commands work without a network'
