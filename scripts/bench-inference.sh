#!/bin/sh
# Runs the real Gemma in hive and in llama.cpp, one after another in the same minute, and prints
# both: tokens per second of wall time and of CPU time, and peak memory.
#
#   scripts/bench-inference.sh [TOKENS] [ROUNDS]
#
# llama.cpp comes as the Python wheel `xllamacpp` into an environment of its own beside the model.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${HIVE_TEST_CACHE:-$HOME/.cache/hive-test}
tokens=${1:-128}
rounds=${2:-3}

model=$("$root/scripts/get-gemma.sh")
if ! "$cache/llama/bin/python" -c 'import xllamacpp, psutil' 2>/dev/null; then
    echo "bench-inference: installing llama.cpp" >&2
    python3 -m venv "$cache/llama"
    "$cache/llama/bin/pip" install --quiet --disable-pip-version-check xllamacpp psutil
fi
cd "$root"
cargo build --quiet --release --package hive-inference --example generate
target=${CARGO_TARGET_DIR:-$root/target}
exec "$cache/llama/bin/python" scripts/bench_inference.py \
    "$target/release/examples/generate" "$model" "$tokens" "$rounds"
