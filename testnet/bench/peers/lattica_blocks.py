"""Lattica, as a peer of hive-bench: keeps a file as blocks, provides them, or fetches them.

    lattica_blocks.py keep STORE PORT FILE SIZE LIST
    lattica_blocks.py provide STORE PORT
    lattica_blocks.py fetch STORE PORT LIST OUT PROVIDER...

Each says what it has to on stdout, a line of JSON at a time, and ends with its stdin. `fetch` begins
when it is told a line.

Lattica knows blocks and no files, and has every block whole in memory. So the file is cut into
blocks of 1 MiB (larger ones are slower), their ids go into LIST, and as many of them are asked for at
a time as keep it busy.
"""

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lattica import Lattica

BLOCK = 1 << 20
AT_ONCE = 8
CONNECT_SECONDS = 20


def say(**line):
    print(json.dumps(line), flush=True)


def start(store, port, providers=()):
    builder = (
        Lattica.builder()
        .with_listen_addrs([f"/ip4/127.0.0.1/tcp/{port}"])
        .with_mdns(False)
        .with_upnp(False)
        .with_storage_path(store)
        .with_key_path(store + ".key")
    )
    if providers:
        builder = builder.with_bootstraps(list(providers))
    return builder.build()


def keep(store, port, file, size, names):
    node = start(store, port)
    left = int(size)
    ids = []
    with open(file, "rb") as source:
        while left:
            data = source.read(min(BLOCK, left))
            ids.append(node.put_block(data))
            left -= len(data)
    with open(names, "w", encoding="ascii") as out:
        json.dump(ids, out)


def provide(store, port):
    node = start(store, port)
    say(address=f"/ip4/127.0.0.1/tcp/{port}/p2p/{node.peer_id()}")
    sys.stdin.read()


def connect(store, port, providers):
    """A node that is connected to all providers."""
    node = start(store, port, providers)
    deadline = time.monotonic() + CONNECT_SECONDS
    while len(node.get_all_peers()) < len(providers):
        if time.monotonic() > deadline:
            sys.exit(f"connected to {len(node.get_all_peers())} of {len(providers)} providers")
        time.sleep(0.02)
    return node


def fetch(store, port, names, out, providers):
    with open(names, encoding="ascii") as file:
        ids = json.load(file)
    node = connect(store, port, providers)
    say(ready=True)
    if not sys.stdin.readline():
        return
    start_at = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool, open(out, "wb") as target:
        first = None
        for _, data in pool.map(node.get_block, ids):
            first = first or time.monotonic() - start_at
            target.write(data)
    say(seconds=time.monotonic() - start_at, first_ms=first * 1e3)
    sys.stdin.read()


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "keep":
        keep(*args)
    elif command == "provide":
        provide(*args)
    else:
        fetch(args[0], args[1], args[2], args[3], args[4:])
    # Its threads outlive it otherwise.
    os._exit(0)
