#!/bin/sh
# A home router: everything that leaves the home has the router's address, and nothing comes in that
# nobody inside asked for.
#
# Reads INTERNET (the subnet outside) and NAT:
#   cone       a host keeps its port, the same one towards everybody
#   remap      it gets another port, the same one towards everybody
#   symmetric  it gets another port towards each destination: no hole can be punched between two of these
set -eu

# "3: eth1    inet 192.88.99.11/24 …"
# shellcheck disable=SC2046 # the words are wanted
set -- $(ip -o -4 address show to "$INTERNET")
wan=$2
address=${4%/*}
# Docker gives a way out through the home's bridge; this internet ends at its own subnet.
ip route del default 2>/dev/null || true
case ${NAT:-cone} in
cone) nat="snat to $address" ;;
remap) nat="meta l4proto { tcp, udp } snat to $address:20000-29999 persistent" ;;
symmetric) nat="masquerade fully-random" ;;
*)
    echo "router.sh: NAT is cone, remap or symmetric, not \`$NAT\`" >&2
    exit 2
    ;;
esac

# The two drops also keep a probe that comes too early from taking the port that the host inside is about to use.
nft -f - <<RULES
table ip home
delete table ip home
table ip home {
    chain input {
        type filter hook input priority filter
        iifname "$wan" ct state new drop
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname != "$wan" oifname "$wan" accept
    }
    chain prerouting {
        type nat hook prerouting priority dstnat
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "$wan" $nat
    }
}
RULES
echo "router: ${NAT:-cone} NAT as $address"
exec sleep infinity
