#!/bin/sh
# Installs the tools that hive is measured beside, each pinned, into a directory of their own.
#
#   scripts/get-peers.sh [DIRECTORY]
#
# libtorrent, Lattica and xllamacpp (llama.cpp) come from PyPI into an environment in there; sendme
# and b3sum from the registry, built with this workspace's flags; aria2, nginx and curl from Debian,
# where they are not there already and this is root. No service is started. What cannot be had is
# said and left out: `hive-bench peers` then writes the reason into its table. Prints the directory.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
directory=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/hive-peers}
missing=

say() {
    echo "get-peers: $*" >&2
}

miss() {
    say "$*"
    missing=yes
}

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)

python=$directory/venv/bin/python
for package in libtorrent==2.1.1 lattica==1.0.21 xllamacpp==2026.10.11549; do
    name=${package%%==*}
    installed=$("$python" -c "from importlib.metadata import version; print(version('$name'))" \
        2>/dev/null || true)
    [ "$installed" != "${package##*==}" ] || continue
    say "installing $package"
    [ -x "$python" ] || python3 -m venv "$directory/venv" || {
        miss "python3 has no venv: install it (python3-venv)"
        break
    }
    "$python" -m pip install --quiet --disable-pip-version-check "$package" >&2 ||
        miss "pip could not install $package"
done

# In the workspace, so that its compiler flags hold; beside it, so that its target is left alone.
cd "$root"
for crate in b3sum@1.8.7 sendme@0.37.1; do
    name=${crate%%@*}
    if "$directory/bin/$name" --version 2>/dev/null | grep -q " ${crate##*@}\$"; then
        continue
    fi
    say "building $crate"
    CARGO_TARGET_DIR=$directory/target cargo install --quiet --locked --force \
        --root "$directory" "$crate" >&2 || miss "cargo could not install $crate"
done
rm -rf "$directory/target"

wanted=
for tool in aria2c:aria2 nginx:nginx curl:curl; do
    PATH=$PATH:/usr/sbin command -v "${tool%%:*}" >/dev/null || wanted="$wanted ${tool##*:}"
done
if [ -n "$wanted" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing$wanted"
        # invoke-rc.d asks this file whether it may start what was installed: it may not.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap 'rm -f "$policy"' EXIT
            trap 'exit 130' INT TERM
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 0755 "$policy"
        fi
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
            apt-get -qq install --no-install-recommends $wanted; } >&2 ||
            miss "apt-get could not install$wanted"
        # Nor is it started with the machine.
        if command -v systemctl >/dev/null; then
            systemctl --quiet disable nginx >&2 || say "nginx may start with the machine"
        fi
    else
        miss "not here, and only root can install them:$wanted"
    fi
fi

[ -z "$missing" ] || say "some are missing, as said above; the rest is ready"
echo "$directory"
