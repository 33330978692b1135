#!/usr/bin/env bash
# The README's three commands, from a fresh home to the first text, against a stand-in hub:
# scripts/first-model.sh HIVE
set -euo pipefail
cd "$(dirname "$0")/.."
hive=${1:?usage: scripts/first-model.sh HIVE}

work=$(mktemp -d)
hub=
cleanup() {
    [ -z "$hub" ] || kill "$hub" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

mkdir -p "$work/files/bees/tiny"
cp node/inference/assets/tiny-hive.gguf "$work/files/bees/tiny/tiny-Q8_0.gguf"
cargo build --quiet -p hive-hub --example hub
"${CARGO_TARGET_DIR:-target}/debug/examples/hub" "$work/files" 0 >"$work/hub.log" 2>&1 &
hub=$!
# It says where it listens once it does.
for _ in $(seq 100); do
    endpoint=$(grep -o -m 1 'http://[0-9.]*:[0-9]*' "$work/hub.log") && break
    kill -0 "$hub" || { cat "$work/hub.log"; exit 1; }
    sleep 0.1
done
export HF_ENDPOINT=$endpoint HIVE_HOME="$work/home"

"$hive" add hf:bees/tiny
"$hive" ls
text=$("$hive" run tiny-Q8_0 --raw "The " --max-tokens 20)
printf '%s\n' "$text"
[ -n "$text" ]
