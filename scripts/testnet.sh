#!/usr/bin/env bash
# An internet on one machine: a VPS, three providers, a reader, and two laptops behind NAT routers.
#
#   scripts/testnet.sh up                       makes the image, starts all, waits until every node has joined
#   scripts/testnet.sh fetch [--model FILE] [NODE…]    gives a model to the providers, fetches it elsewhere
#   scripts/testnet.sh partition [NODE…]        cuts these off from the rest; without names, half of the nodes
#   scripts/testnet.sh heal                     joins the halves again
#   scripts/testnet.sh status [--json]          who is there, who sees whom
#   scripts/testnet.sh exec NODE ARGUMENT…      runs `hive ARGUMENT…` on a node
#   scripts/testnet.sh down                     removes containers, networks, volumes and images
#   scripts/testnet.sh check                    all of that once, with a fetch cut in the middle; ends with `down`
#
# Needs Docker, docker-compose 1.29 or `docker compose`, and python3. Without a registry the base of the image is
# made here: from the programs of this system (nftables, iproute2, util-linux), or with debootstrap. Else:
#
#   HIVE=FILE             the binary; default: `cargo build --release`
#   HIVE_BUILD=source     compile inside Docker instead (a registry and BuildKit)
#   BASE_IMAGE=debian:stable-slim       a base with apt, or with nft, ip and setpriv in it
#   HIVE_TESTNET_NAT_1, _2     cone, remap or symmetric: what the two home routers do
#   HIVE_TESTNET_RATE          bytes a second that a node serves at most (8MB)
#   HIVE_TESTNET_SECONDS       how long to wait for a fact before giving up (120)
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
project="hive-testnet"
export HIVE_TESTNET_IMAGE=$project
base=$project-base
deadline=${HIVE_TESTNET_SECONDS:-120}
# What node.sh, router.sh and healthy.sh call.
programs=(sh cat chown ip mkdir mv nft sed setpriv sha256sum sleep)

work=
finish() { [ -z "$work" ] || rm -rf "$work"; }
trap finish EXIT
trap 'exit 130' INT TERM

say() { echo "testnet: $*" >&2; }
fail() { say "$*"; exit 1; }

need() {
    command -v python3 >/dev/null || fail "python3 is missing (Debian: python3)"
    command -v docker >/dev/null || fail "docker is missing (Debian: docker.io)"
    docker info >/dev/null 2>&1 || fail "the Docker engine does not answer: is it running, may this user use it?"
}

compose() {
    local file=$root/testnet/docker-compose.yml
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name "$project" --file "$file" "$@"
    elif command -v docker-compose >/dev/null; then
        docker-compose --project-name "$project" --file "$file" "$@"
    else
        fail "neither \`docker compose\` nor docker-compose is here (Debian: docker-compose)"
    fi
}

# Things of this testnet carry Compose's label, whichever Compose made them.
ours() { local what=$1; shift; docker "$what" ls --quiet --filter "label=com.docker.compose.project=$project" "$@"; }
remove() { # remove WHAT [OPTION…]: all of ours of that kind
    local what=$1 found
    if [ "$what" = container ]; then mapfile -t found < <(ours container --all); else mapfile -t found < <(ours "$what"); fi
    shift
    [ ${#found[@]} -eq 0 ] || docker "$what" rm "$@" "${found[@]}" >/dev/null
}
there() { docker image inspect "$1" >/dev/null 2>&1; }

# The binary on this machine: $hive.
find_binary() {
    if [ -n "${HIVE:-}" ]; then
        hive=$(realpath -e "$HIVE") || fail "HIVE=$HIVE is no file"
        return
    fi
    command -v cargo >/dev/null || fail "cargo is missing; name a binary with HIVE=FILE, or compile in Docker with HIVE_BUILD=source"
    say "building hive"
    cargo build --quiet --locked --release --package hive-cli --manifest-path "$root/Cargo.toml"
    hive=${CARGO_TARGET_DIR:-$root/target}/release/hive
}

# A base from the programs of this system and the libraries that these and hive are linked with.
collect_base() {
    local tree=$work/tree program path
    mkdir -p "$tree"/usr/{bin,sbin,lib,lib64} "$tree"/{etc,proc,sys,dev,tmp,testnet}
    chmod 1777 "$tree/tmp"
    for path in bin sbin lib lib64; do ln -s "usr/$path" "$tree/$path"; done
    echo 'root:x:0:0::/root:/bin/sh' >"$tree/etc/passwd"
    echo 'hive:x:4483:4483::/var/lib/hive:/bin/sh' >>"$tree/etc/passwd"
    for program in "${programs[@]}"; do
        path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")
        cp -L "$path" "$tree/usr/bin/$program"
        libraries "$path" >>"$work/libraries"
    done
    libraries "$hive" >>"$work/libraries"
    sort -u "$work/libraries" | while read -r path; do cp -L --parents "$path" "$tree"; done
    tar -C "$tree" -c . | import_base --change 'ENV PATH=/usr/local/bin:/usr/bin'
}
# What is built on it inherits the label, so that `down` finds it, half built ones too.
import_base() { docker import --change 'LABEL hive.testnet=base' "$@" - "$base" >/dev/null; }
libraries() { ldd "$1" 2>/dev/null | sed -n 's,^[^/]*\(/[^ ]*\) (0x.*,\1,p'; }

debootstrap_base() {
    [ "$(id -u)" -eq 0 ] || fail "debootstrap needs root; or name a base with BASE_IMAGE"
    say "making a base with debootstrap (about a minute)"
    debootstrap --variant=minbase --include=iproute2,nftables stable "$work/tree" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log" >&2; fail "debootstrap failed"; }
    rm -rf "$work/tree"/var/cache/apt/archives "$work/tree"/var/lib/apt/lists "$work/tree"/usr/share/{doc,man,locale}
    tar -C "$work/tree" -c . | import_base
}

# Sets $from to the image that the binary goes onto, and $packages to what it has to get besides.
choose_base() {
    packages=
    if [ -n "${BASE_IMAGE:-}" ]; then
        from=$BASE_IMAGE
        docker run --rm --entrypoint sh "$from" -c 'command -v ip && command -v nft && command -v setpriv' >/dev/null ||
            packages="iproute2 nftables"
        return
    fi
    from=$base
    local missing=() program
    for program in "${programs[@]}" ldd; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || missing+=("$program")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        collect_base
    elif command -v debootstrap >/dev/null; then
        there "$base" || debootstrap_base
    else
        fail "to make a base image this system lacks ${missing[*]} (Debian: iproute2 nftables util-linux); or install" \
            "debootstrap, or take one from a registry: BASE_IMAGE=debian:stable-slim"
    fi
}

make_image() {
    work=$(mktemp -d)
    if [ "${HIVE_BUILD:-}" = source ]; then
        say "compiling in Docker"
        build --target source --build-arg "PACKAGES=iproute2 nftables" \
            --build-arg "BASE_IMAGE=${BASE_IMAGE:-debian:stable-slim}" --file "$root/testnet/Dockerfile" "$root"
        return
    fi
    local hive from packages key
    find_binary
    key=$(cat "$hive" "$root/testnet/Dockerfile" "$0" - <<<"${BASE_IMAGE:-}" | sha256sum | cut -d' ' -f1)
    if [ "$(docker image inspect --format '{{index .Config.Labels "hive.testnet"}}' "$project" 2>/dev/null)" = "$key" ]; then
        return
    fi
    choose_base
    # Without what only a debugger reads a debug build is a third as large.
    mkdir "$work/context"
    strip --strip-debug -o "$work/context/hive" "$hive" 2>/dev/null || cp "$hive" "$work/context/hive"
    build --target binary --build-arg HIVE=hive --build-arg "BASE_IMAGE=$from" --build-arg "PACKAGES=$packages" \
        --label "hive.testnet=$key" --file "$root/testnet/Dockerfile" "$work/context"
}

build() {
    docker build --force-rm --tag "$project" "$@" >"$work/log" 2>&1 && return
    tail -n 20 "$work/log" >&2
    fail "the image could not be built; if it says GLIBC: hive was built on a newer system than the base"
}

up() {
    trap 'echo "testnet: interrupted; \`scripts/testnet.sh down\` removes what is there" >&2; exit 130' INT TERM
    need
    make_image
    say "starting"
    compose up --detach --no-build 2>"$work/up" || {
        cat "$work/up" >&2
        ! grep -q overlaps "$work/up" || say "another network of this machine has these addresses: \`docker network ls\`"
        for container in $(ours container --all --filter health=unhealthy); do
            docker inspect --format '{{.Name}}:' "$container" >&2
            docker logs --tail 10 "$container" >&2
        done
        fail "not everything started; \`scripts/testnet.sh down\` removes what did"
    }
    tell joined
}

down() {
    need
    local image left
    # Nothing of it is kept, so nothing has to end in good order.
    remove container --force --volumes
    remove network
    remove volume
    for image in "$project" "$base" $(docker image ls --quiet --filter dangling=true --filter label=hive.testnet); do
        ! there "$image" || docker image rm "$image" >/dev/null
    done
    left=$(ours container --all; ours network; ours volume; docker image ls --quiet --filter label=hive.testnet)
    [ -z "$left" ] || fail "still there: $left"
    say "nothing of it is left"
}

tell() { HIVE_TESTNET_SECONDS=$deadline python3 -B "$root/scripts/testnet.py" "$@"; }

check() {
    trap 'down; finish' EXIT
    up
    tell fetch "$@"
    tell fetch --cut "$@"
    trap finish EXIT
    down
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
up | down) "$command" ;;
check) check "$@" ;;
fetch | partition | heal | status | exec) need; tell "$command" "$@" ;;
*)
    sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
