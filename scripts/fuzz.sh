#!/usr/bin/env bash
# Lets libFuzzer look for bytes that break a promise of a decoder (testnet/fuzz), on stable Rust.
#
#   scripts/fuzz.sh [--keep] [--doc FILE] [--build PARTS] [SECONDS] [TARGET…]     30 seconds each
#   scripts/fuzz.sh replay TARGET FILE                            one input, again
#
# Two targets run at a time. Ends with 1 if one of them broke, and says how to see it again; or if the
# bug that is planted in the target `canary` was not found, since then the others show nothing.
# --keep adds what was found to the corpora (testnet/fuzz/corpus), minimised; --doc writes the table of
# targets between the markers `hive-fuzz` of a document. --build says what to build beside
# hive-protocol: `node` as a rule, that is `local` (HTTP, the worker) and `models` (inference); or `swarm`
# (libp2p, larger than all the rest), several with commas between, or `none`.
# The build has a directory of its own beside cargo's, since all of it is instrumented.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target_dir=${CARGO_TARGET_DIR:-$root/target}-fuzz
corpus=$root/testnet/fuzz/corpus
work=$target_dir/work
host=$(rustc -vV | sed -n 's/^host: //p')
export HIVE_FUZZ_PROGRAM=$target_dir/$host/fuzz/hive-fuzz
# What a kept input may have: longer ones find little that short ones do not.
export HIVE_FUZZ_MAX_LEN=8192

build() {
    local flags= flag
    for flag in -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares; do
        flags="$flags'$flag',"
    done
    # Given this way they join those of .cargo/config.toml; with --target, build scripts go without.
    CARGO_TARGET_DIR=$target_dir cargo build --locked --quiet --profile fuzz --target "$host" \
        --package hive-fuzz --no-default-features --features "libfuzzer,$parts" --bin hive-fuzz \
        --config "target.'cfg(all())'.rustflags=[$flags]"
}

# Runs one target; its output goes to a file.
fuzz() { # seconds target
    local at=$HIVE_FUZZ_WORK/$2
    HIVE_FUZZ_TARGET=$2 "$HIVE_FUZZ_PROGRAM" -max_total_time="$1" -max_len="$HIVE_FUZZ_MAX_LEN" \
        -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -report_slow_units=1000 -artifact_prefix="$at/broken-" \
        "$at/found" "$at/seeds" >"$at/log" 2>&1 || echo "$2" >>"$HIVE_FUZZ_WORK/failed"
}
export -f fuzz

parts=node
if [ "${1:-}" = replay ]; then
    case ${2:-} in wire-*) parts=node,swarm ;; esac
    build
    HIVE_FUZZ_TARGET=${2:?which target} exec "$HIVE_FUZZ_PROGRAM" "${3:?which file}"
fi
keep= doc= seconds=30
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=yes && shift ;;
    --build) parts=${2:?--build takes none, local, models, node, swarm or several} && parts=${parts#none} && shift 2 ;;
    --doc) doc=${2:?--doc takes a file} && shift 2 ;;
    *[!0-9]*) break ;;
    *) seconds=$1 && shift ;;
    esac
done
build
if [ $# -eq 0 ]; then
    mapfile -t targets < <(HIVE_FUZZ_TARGET=list "$HIVE_FUZZ_PROGRAM" -runs=1 2>&1 | sed -n 's/^target: //p')
    set -- "${targets[@]}"
fi
rm -rf "$work" && mkdir -p "$work"
export HIVE_FUZZ_WORK=$work
for target in canary "$@"; do
    mkdir -p "$work/$target/found"
    python3 scripts/fuzz_corpus.py unpack "$corpus/$target.hex" "$work/$target/seeds"
done

fuzz 60 canary
if ! grep -qx canary "$work/failed" 2>/dev/null || ! ls "$work"/canary/broken-crash-* >/dev/null 2>&1; then
    tail -n 20 "$work/canary/log"
    echo 'fuzz: the planted bug was not found; whatever the other targets say means nothing' >&2
    exit 1
fi
echo "canary: the planted bug was found after $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/canary/log" | tail -n 1) inputs"
rm -f "$work/failed"

printf '%s\n' "$@" | xargs -P 2 -I{} bash -c "fuzz $seconds {}"
table() { python3 scripts/fuzz_corpus.py table "$work" "$@"; }
if [ -s "$work/failed" ]; then
    table "$seconds" "$@"
    while read -r target; do
        # Without the input itself, which stands in its file.
        grep -E -A4 'panicked at|ERROR: libFuzzer|SUMMARY' "$work/$target/log" | cut -c -200 | head -n 20 || true
        for file in "$work/$target"/broken-*; do
            echo "fuzz: $target broke; see it again with: scripts/fuzz.sh replay $target $file" >&2
        done
    done <"$work/failed"
    exit 1
fi
if [ -n "$keep" ]; then
    for target in "$@"; do
        mkdir "$work/$target/kept"
        HIVE_FUZZ_TARGET=$target "$HIVE_FUZZ_PROGRAM" -merge=1 -max_len="$HIVE_FUZZ_MAX_LEN" \
            "$work/$target/kept" "$work/$target/seeds" "$work/$target/found" >"$work/$target/merge" 2>&1 ||
            { tail -n 20 "$work/$target/merge" && exit 1; }
        python3 scripts/fuzz_corpus.py pack "$corpus/$target.hex" "$work/$target/kept"
    done
fi
table ${doc:+"$doc"} "$seconds" "$@"
