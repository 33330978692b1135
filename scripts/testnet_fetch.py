"""A model is given to the providers of the compose testnet and fetched at other nodes."""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

from testnet_nodes import NODES, PAUSE, Failure, heal, partition, say, size, table, words

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROVIDERS = ["provider-1", "provider-2", "provider-3"]
READERS = ["reader", "laptop-1", "laptop-2"]
# How long `--cut` keeps readers and providers apart: longer than a peer may be silent (15 s).
CUT_SECONDS = 20
MADE_BYTES = 96 << 20


class Fetch(threading.Thread):
    """One `hive fetch` on one node, followed."""

    def __init__(self, net, node, cid):
        super().__init__(daemon=True)
        self.net, self.node, self.cid = net, node, cid
        self.bytes, self.size, self.rate, self.givers = 0, 0, 0.0, []
        self.done, self.error = None, None

    def run(self):
        command = self.net.command(self.node, "fetch", self.cid, "--wait", "--json")
        # A session of its own: a Ctrl-C is for us, who then cancel what the nodes do.
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "progress":
                    self.bytes, self.size = event["bytes"], event["size"]
                    self.rate = event["rate"]
                    self.givers = [peer.get("name") or peer["peer"][-8:] for peer in event["peers"] if peer["rate"]]
                elif event["event"] == "done":
                    self.done = event
            stderr = process.stderr.read()
        if self.done is None:
            self.error = words(stderr)

    def part(self):
        return 1.0 if self.done else self.bytes / self.size if self.size else 0.0

    def line(self):
        if self.error:
            return f"{self.node:<10}  {self.error}"
        full = round(24 * self.part())
        givers = ", ".join(self.givers) or "nobody"
        tail = "done" if self.done else f"{size(self.rate)}/s from {givers}" if self.size else "looking for it"
        return f"{self.node:<10}  {'█' * full}{'░' * (24 - full)} {100 * self.part():3.0f} %  {tail}"


class Cut(threading.Thread):
    """Cuts those who fetch off from everybody else in the middle, and heals."""

    def __init__(self, net, fetches):
        super().__init__(daemon=True)
        self.net, self.fetches = net, fetches
        self.error = None

    def run(self):
        try:
            self.cut()
        except Failure as failure:
            self.error = str(failure)

    def cut(self):
        nodes = [fetch.node for fetch in self.fetches]
        while sum(fetch.part() for fetch in self.fetches) * 2 < len(nodes):
            if not any(fetch.is_alive() for fetch in self.fetches):
                raise Failure("the fetch ended before its middle")
            time.sleep(PAUSE)
        partition(self.net, nodes)
        time.sleep(CUT_SECONDS)  # this is the fault, not a wait for something
        held = [fetch.node for fetch in self.fetches if not fetch.done]
        lost = heal(self.net)
        if not held or not lost:
            raise Failure(f"the cut held nothing up: {lost} packets lost, still fetching at its end: {held}")


def follow(fetches, live):
    """Shows the fetches until all have ended: drawn over and over, or a line at each quarter."""
    drawn, told = 0, {}
    while True:
        running = any(fetch.is_alive() for fetch in fetches)
        if live:
            sys.stdout.write(f"\x1b[{drawn}A" if drawn else "")
            for fetch in fetches:
                sys.stdout.write(f"\x1b[2K{fetch.line()}\n")
            drawn = len(fetches)
        else:
            for fetch in fetches:
                step = "end" if fetch.done or fetch.error else min(3, int(4 * fetch.part()))
                if told.setdefault(fetch.node, 0) != step:
                    told[fetch.node] = step
                    print(fetch.line())
        sys.stdout.flush()
        if not running:
            return
        time.sleep(0.2)


def find_model(path, scratch):
    """The file to fetch: the one named, else Gemma, else one made of random bytes of a fixed seed."""
    if path:
        return pathlib.Path(path).resolve(strict=True)
    got = subprocess.run([ROOT / "scripts/get-gemma.sh"], stdout=subprocess.PIPE, text=True)
    if got.returncode == 0:
        return pathlib.Path(got.stdout.strip())
    say("Gemma is not to be had here: fetching random bytes instead")
    made = pathlib.Path(scratch) / "made.bin"
    made.write_bytes(random.Random(4483).randbytes(MADE_BYTES))
    return made


def provide(net, model):
    """Puts the file before the providers, who add it where it is; returns its id and its SHA-256."""
    with open(model, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = model.stem.lower()
    there = f"/models/{digest[:12]}/{model.name}"
    first = net.ids[PROVIDERS[0]]
    with open(model, "rb") as file:
        # Renamed into place, so that what is there is whole.
        put = 'test -e "$1" || { mkdir -p "${1%/*}" && cat >"$1.part" && mv "$1.part" "$1"; }'
        command = ["docker", "exec", "--interactive", first, "sh", "-c", put, "sh", there]
        if subprocess.run(command, stdin=file).returncode != 0:
            raise Failure(f"{model} could not be put into the testnet")

    def add(provider):
        return net.hive(provider, "add", there, "--link", "--share", "--name", name)[-1]["cid"]

    with concurrent.futures.ThreadPoolExecutor(len(PROVIDERS)) as pool:
        [cid] = set(pool.map(add, PROVIDERS))
    return name, cid, digest


def forget(net, readers, cid):
    """What an earlier fetch left would make this one nothing."""
    for reader in readers:
        if any(model["cid"] == cid for model in net.hive(reader, "ls")[-1]):
            net.hive(reader, "rm", cid)
            say(f"{reader} had it already and has let go of it")


def verify(net, fetches, digest):
    for fetch in fetches:
        told = subprocess.run(
            ["docker", "exec", "--user", "4483:4483", net.ids[fetch.node], "sha256sum", fetch.done["path"]],
            capture_output=True, text=True,
        )
        if told.stdout.split(" ")[0] != digest:
            raise Failure(f"{fetch.node} has other bytes: {told.stdout or told.stderr}")


def report(fetches):
    rows = []
    for fetch in fetches:
        done = fetch.done
        givers = sorted((peer for peer in done["peers"] if peer["bytes"]), key=lambda peer: -peer["bytes"])
        got = sum(peer["bytes"] for peer in givers)
        shares = ", ".join(f"{peer.get('name') or peer['peer'][-8:]} {100 * peer['bytes'] / got:.0f} %" for peer in givers)
        router = NODES[fetch.node][1]
        where = f"behind {router}" if router else "internet"
        rate = f"{size(got / max(done['seconds'], 0.001))}/s"
        rows.append([fetch.node, where, size(got), f"{done['seconds']:.1f} s", rate, shares])
    print()
    table(["NODE", "WHERE", "FETCHED", "TIME", "RATE", "FROM"], rows)


def fetch(net, arguments):
    args = argparse.ArgumentParser(prog="scripts/testnet.sh fetch")
    args.add_argument("--model", metavar="FILE", help="default: Gemma, as scripts/get-gemma.sh gets it")
    args.add_argument("--cut", action="store_true", help=f"cut the readers off at half time, for {CUT_SECONDS} s")
    args.add_argument("nodes", metavar="NODE", nargs="*", help=f"who fetches (default: {' '.join(READERS)})")
    args = args.parse_args(arguments)
    readers = args.nodes or READERS
    if wrong := [name for name in readers if name not in NODES or name in PROVIDERS]:
        raise Failure(f"{', '.join(wrong)} cannot fetch: name nodes that are no providers")

    with tempfile.TemporaryDirectory() as scratch:
        model = find_model(args.model, scratch)
        name, cid, digest = provide(net, model)
        print(f"{name}  {size(model.stat().st_size)}  {cid}\n")
    forget(net, readers, cid)

    fetches = [Fetch(net, reader, cid) for reader in readers]
    cut = Cut(net, fetches) if args.cut else None
    try:
        for thread in [*fetches, *([cut] if cut else [])]:
            thread.start()
        follow(fetches, live=sys.stdout.isatty() and not cut)
        if cut:
            cut.join()
    except KeyboardInterrupt:
        say("interrupted: cancelling")
        for each in fetches:
            if not each.done:
                net.hive(each.node, "cancel", cid)
        raise
    errors = [f"{each.node}: {each.error}" for each in fetches if not each.done]
    if cut and cut.error:
        errors.append(cut.error)
    if errors:
        raise Failure("; ".join(errors))
    report(fetches)
    verify(net, fetches, digest)
    print(f"\nevery copy has the SHA-256 of the original, {digest[:16]}…")
