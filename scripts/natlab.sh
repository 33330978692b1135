#!/usr/bin/env bash
# The NAT lab: networks with routers that translate addresses, in namespaces of this machine, and hive
# in them (docs/nat.md).
# usage: scripts/natlab.sh selftest|public|matrix|fetch|relayed-bulk|only443|lan-only|membership|
#                          restart-relay|sleep|roam|clean [--help] [options]
#        HIVE=/path/of/hive scripts/natlab.sh …     takes that program and builds none
#        PROFILE=release scripts/natlab.sh …        builds with optimisation
# It needs Linux, root (or sudo, which it then uses for the lab alone), iproute2 and nftables. It
# installs nothing and leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
PATH=$PATH:/usr/sbin:/sbin
command -v ip >/dev/null || missing+=(iproute2)
command -v nft >/dev/null || missing+=(nftables)
if [ "${#missing[@]}" -gt 0 ]; then
    echo "the lab needs packages that are not here: ${missing[*]}" >&2
    echo "Debian, Ubuntu: apt-get install ${missing[*]}" >&2
    exit 1
fi
if [ ! -c /dev/net/tun ]; then
    echo "the lab's lines need /dev/net/tun: modprobe tun, or give the container that device" >&2
    exit 1
fi
become=()
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "the lab makes network namespaces: run it as root" >&2
        exit 1
    fi
    become=(sudo --)
fi
if [ $# = 0 ]; then
    sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2
    exit 2
fi

profile=${PROFILE:-dev}
packages=(-p hive-natlab)
options=()
if [ -n "${HIVE:-}" ]; then
    options=(--hive "$HIVE")
elif [ "$1" != selftest ] && [ "$1" != clean ]; then
    packages+=(-p hive-cli)
fi
cargo build --quiet --profile "$profile" "${packages[@]}"
directory=$profile
[ "$profile" = dev ] && directory=debug
exec "${become[@]}" "${CARGO_TARGET_DIR:-target}/$directory/hive-natlab" "$@" "${options[@]}"
