#!/bin/sh
# Starts one node of the compose testnet.
#
#   node.sh relay      the "VPS": says on /meeting under which address others join, then serves
#   node.sh join       everybody else: reads that address and joins through it
#
# Begins as root, because a laptop needs a route through its router and the address file is root's;
# hive itself gets user 4483 and no capability. Reads ADDRESS (on the internet), GATEWAY (behind a router),
# and HIVE_*.
set -eu
meeting=/meeting/bootstrap

hive() { setpriv --reuid=4483 --regid=4483 --clear-groups -- hive "$@"; }

case $1 in
relay)
    peer=$(hive id --json | sed 's/.*"peer":"\([^"]*\)".*/\1/')
    tcp=/ip4/$ADDRESS/tcp/4483
    quic=/ip4/$ADDRESS/udp/4483/quic-v1
    # Renamed into place: nobody reads half an address.
    echo "$tcp/p2p/$peer,$quic/p2p/$peer" >$meeting.new
    mv $meeting.new $meeting
    set -- relay --external-addr "$ADDRESS"
    ;;
join)
    # Without this a laptop would have the bridge of its home network as its way out.
    [ -z "${GATEWAY:-}" ] || ip route replace default via "$GATEWAY"
    HIVE_BOOTSTRAP=$(cat $meeting)
    export HIVE_BOOTSTRAP
    [ -z "${ADDRESS:-}" ] || set -- join --external "$ADDRESS"
    ;;
*)
    echo "node.sh: relay or join, not \`$1\`" >&2
    exit 2
    ;;
esac

exec setpriv --reuid=4483 --regid=4483 --clear-groups --no-new-privs -- \
    hive "$@" --listen /ip4/0.0.0.0/tcp/4483 /ip4/0.0.0.0/udp/4483/quic-v1
