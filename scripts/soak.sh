#!/usr/bin/env bash
# Every fault in the numbers that the promises speak of: some hours on two cores, as root.
#
#   scripts/soak.sh [--seed N] [--doc] [SCENARIO…]
#
# Runs `hive-faults` in full, then, if no SCENARIO is named, the fuzzer with fifteen minutes for each
# of all targets and the simulation with several seeds. Seeds are printed, and replay what they are printed for.
# With --doc the results are written into docs/reliability.md. Ends with 1 if a promise was broken or
# a broken twin was not caught.
set -euo pipefail
cd "$(dirname "$0")/.."

seed=
doc=()
scenarios=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seed) seed=${2:?--seed needs a number}; shift ;;
        --doc) doc=(--doc docs/reliability.md) ;;
        -h | --help) sed -n 's/^# \{0,1\}//; 2,9p' "$0"; exit ;;
        -*) echo "there is no option $1; --help tells those that there are" >&2; exit 2 ;;
        *) scenarios+=("$1") ;;
    esac
    shift
done
seed=${seed:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
command -v mkfs.xfs >/dev/null || missing+=(xfsprogs)
command -v mkfs.ext4 >/dev/null || missing+=(e2fsprogs)
command -v strace >/dev/null || missing+=(strace)
command -v setpriv >/dev/null && command -v unshare >/dev/null || missing+=(util-linux)
command -v ip >/dev/null || missing+=(iproute2)
if [ "${#missing[@]}" -gt 0 ]; then
    echo "the faults need packages that are not here: ${missing[*]}" >&2
    echo "Debian, Ubuntu: apt-get install ${missing[*]}" >&2
    exit 1
fi
become=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "some faults are mounts that fail: run it as root" >&2
        exit 1
    fi
    become=(sudo --)
fi

failed=0
echo "seed $seed, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
cargo build --release --quiet --package hive-cli --package hive-faults
"${become[@]}" "${CARGO_TARGET_DIR:-target}/release/hive-faults" "${scenarios[@]:-all}" \
    --full --seed "$seed" "${doc[@]}" || failed=1

if [ "${#scenarios[@]}" = 0 ]; then
    # All targets, with HTTP, inference, the worker and libp2p built with the instrumentation.
    scripts/fuzz.sh "${doc[@]}" --build node,swarm 900 || failed=1
    # What the table of docs/performance.md has of the simulation, its own run writes: other seeds
    # show that it holds for them, too.
    cargo build --release --quiet --package hive-bench
    for n in 1 2 3; do
        echo "hive-bench scale --seed $((seed + n))"
        "${CARGO_TARGET_DIR:-target}/release/hive-bench" scale --no-doc --seed "$((seed + n))" || failed=1
    done
fi
exit "$failed"
