#!/bin/sh
# Starts a node of its own, adds a model, and drives it with the unmodified `openai` package.
#
# Usage: scripts/openai-client.sh HIVE_BINARY MODEL_FILE [EMBEDDING_MODEL_FILE]
#
# Needs python3 with venv, and PyPI the first time. The node has a home of its own, no network and a
# free port; all of it is gone afterwards.
set -eu

if [ $# -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
hive=$1
model=$2
embedding=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
venv=${HIVE_OPENAI_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/hive-openai-venv}

if ! "$venv/bin/python" -c 'import openai, jsonschema' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'openai>=2,<4' 'jsonschema>=4,<5'
fi

HIVE_HOME=$(mktemp -d)
# A network of one: nobody has this name, and nobody is listened to.
HIVE_NETWORK="openai-client-$$"
HIVE_LISTEN=none
HIVE_MDNS=off
HIVE_API=127.0.0.1:0
export HIVE_HOME HIVE_NETWORK HIVE_LISTEN HIVE_MDNS HIVE_API
node=
finish() {
    if [ -n "$node" ]; then
        kill "$node" 2>/dev/null || true
        wait "$node" 2>/dev/null || true
    fi
    rm -rf "$HIVE_HOME"
}
trap finish EXIT INT TERM

"$hive" join >"$HIVE_HOME/log" 2>&1 &
node=$!
tries=0
while [ ! -s "$HIVE_HOME/api.addr" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ] || ! kill -0 "$node" 2>/dev/null; then
        echo "the node did not start:" >&2
        cat "$HIVE_HOME/log" >&2
        exit 1
    fi
    sleep 0.1
done
address=$(sed 's/.*"address":"\([^"]*\)".*/\1/' "$HIVE_HOME/api.addr")

"$hive" add --name checked "$model" >/dev/null
set -- checked
if [ -n "$embedding" ]; then
    "$hive" add --name embedding "$embedding" >/dev/null
    set -- checked embedding
fi
"$venv/bin/python" "$here/openai-client.py" "http://$address/v1" "$(cat "$HIVE_HOME/api.token")" "$@"
